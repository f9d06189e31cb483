"""What a value that crosses a port costs: made once, made again on the other side, or validated.

The pydantic rows say why validation stands at the edges only; the mapping row, why a port's values are shared rather
than translated into a twin on each side.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from harness import Row, measure, report
from pydantic import BaseModel, ConfigDict

from holdfast.ports.inference import Message, Parameters, Prompt, Role

_TEXT = "why does pybreaker not own the breaker state?"
_MESSAGES = (Message(role=Role.USER, content=_TEXT),) * 3
_PROMPT = Prompt(messages=_MESSAGES, idempotency_key="key")


@dataclass(frozen=True, slots=True, kw_only=True)
class _OwnMessage:
    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _OwnPrompt:
    messages: tuple[_OwnMessage, ...]
    model: str | None
    parameters: Parameters
    idempotency_key: str | None


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)

    role: Role
    content: str


def _mapped() -> _OwnPrompt:
    return _OwnPrompt(
        messages=tuple(_OwnMessage(role=message.role.value, content=message.content) for message in _PROMPT.messages),
        model=_PROMPT.model,
        parameters=_PROMPT.parameters,
        idempotency_key=_PROMPT.idempotency_key,
    )


def _rows() -> list[Row]:
    raw = {"role": "user", "content": _TEXT}
    return [
        measure("Message: frozen slotted dataclass", lambda: Message(role=Role.USER, content=_TEXT)),
        measure("the same as a pydantic model, validated", lambda: _Model.model_validate(raw)),
        measure("the same, model_construct", lambda: _Model.model_construct(role=Role.USER, content=_TEXT)),
        measure("Prompt of three messages", lambda: Prompt(messages=_MESSAGES, idempotency_key="key")),
        measure("that Prompt mapped to a twin of its own", _mapped),
    ]


def main() -> bool:
    """Print the table and return whether every budget is kept."""
    return report("Values", _rows(), packages=("pydantic",))


if __name__ == "__main__":
    sys.exit(not main())
