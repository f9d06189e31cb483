"""Prompts for models that are asked in words alone.

Responsibility: say in words what such a model has no field for, and refuse what cannot be said.
Guarantees: a prompt is said in the same words to every such model.
Not responsible for: who said what: see the adapters.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from holdfast.ports.errors import BackendRequestError
from holdfast.ports.inference import Message, Prompt, ResponseFormat, Role, ToolChoice

__all__ = ["instructions_of", "refuse_calls_of_tools", "system_text"]

_JSON_ONLY: Final = "Answer with one JSON object and nothing else."


def system_text(messages: Iterable[Message]) -> str:
    """Return all that system messages say, as one text.

    Example:
        >>> system_text([Message(role=Role.SYSTEM, content="Be brief."), Message(role=Role.USER, content="Why?")])
        'Be brief.'
    """
    return "\n\n".join(message.content for message in messages if message.role is Role.SYSTEM)


def instructions_of(prompt: Prompt) -> str:
    """Return all that system messages say, and that the answer shall be JSON where it shall."""
    told = [system_text(prompt.messages)]
    if prompt.parameters.response_format is ResponseFormat.JSON:
        schema = prompt.parameters.json_schema
        told.append(_JSON_ONLY if schema is None else f"{_JSON_ONLY} It has to match this JSON schema:\n{schema}")
    return "\n\n".join(filter(None, told))


def refuse_calls_of_tools(prompt: Prompt, *, backend: str) -> None:
    """Let a prompt pass that a model can answer which calls no tools; those that it may call are passed over.

    Raises:
        BackendRequestError: it must call one, or calls are part of the conversation.
    """
    if prompt.parameters.tool_choice is ToolChoice.REQUIRED or any(
        message.role is Role.TOOL or message.tool_calls for message in prompt.messages
    ):
        raise BackendRequestError("calls no tools; ask another backend", backend=backend)
