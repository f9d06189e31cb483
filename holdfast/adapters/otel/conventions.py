"""Names that OpenTelemetry and Holdfast give to what is measured.

Responsibility: the attributes of a request, an attempt and an event.
Guarantees: names and numbers only, nothing of a prompt or an answer; what goes into metrics has few values, so that a
    tenant, a session or a key never makes a time series of its own.
Not responsible for: spans and instruments: see the modules beside it.
Source: OpenTelemetry's semantic conventions for generative AI, as of opentelemetry-semantic-conventions 0.66b2, where
    they are in development; ``tests/unit/adapters/test_otel.py`` compares the names with that package.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Final

from holdfast.ports.events import Event
from holdfast.ports.inference import Completion, Prompt, ResponseFormat
from holdfast.ports.service import Reply, Request

__all__ = [
    "CANCELLED",
    "DURATION_BUCKETS_S",
    "ERROR_TYPE",
    "OPERATION",
    "TOKEN_BUCKETS",
    "TOKEN_TYPE",
    "Attribute",
    "attempt_attributes",
    "counted_attributes",
    "error_type",
    "event_attributes",
    "reply_attributes",
    "request_attributes",
    "sampling_attributes",
    "usage_attributes",
]

Attribute = str | int | float | bool | tuple[str, ...]

OPERATION: Final = "chat"
ERROR_TYPE: Final = "error.type"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - tokens of a model
CANCELLED: Final = "cancelled"

DURATION_BUCKETS_S: Final = tuple(0.01 * 2**power for power in range(14))
"""As the conventions advise: 10 ms to 82 s."""

TOKEN_BUCKETS: Final = tuple(4**power for power in range(14))
"""Likewise: 1 to 67 million."""

_COUNTED: Final = frozenset(
    {
        *("backend", "breaker", "pool", "model", "validator", "operation", "strategy", "quantity"),
        *("reason", "error", "disposition", "priority", "failed", "following"),
    }
)
"""Fields of events that have few values."""


def request_attributes(request: Request) -> dict[str, Attribute]:
    """Return what is known of a request when it comes in."""
    return _known(
        {
            "gen_ai.operation.name": OPERATION,
            "gen_ai.request.model": request.model,
            "gen_ai.conversation.id": request.session_id,
            "holdfast.request.id": request.request_id,
            "holdfast.tenant": request.tenant,
            "holdfast.priority": _plain(request.priority),
        }
    )


def reply_attributes(reply: Reply) -> dict[str, Attribute]:
    """Return what became of it."""
    return {
        "gen_ai.response.model": reply.model,
        "holdfast.backend": reply.backend,
        "holdfast.disposition": reply.disposition.value,
        "holdfast.attempts": reply.attempts,
    }


def attempt_attributes(prompt: Prompt, *, backend: str) -> dict[str, Attribute]:
    """Return what an attempt has in common with many.

    The provider is the backend's name: which kind of server stands behind it, only its adapter knows.
    """
    return _known(
        {
            "gen_ai.operation.name": OPERATION,
            "gen_ai.provider.name": backend,
            "gen_ai.request.model": prompt.model,
        }
    )


def sampling_attributes(prompt: Prompt) -> dict[str, Attribute]:
    """Return how the answer shall be made."""
    parameters = prompt.parameters
    return _known(
        {
            "gen_ai.request.temperature": parameters.temperature,
            "gen_ai.request.top_p": parameters.top_p,
            "gen_ai.request.max_tokens": parameters.max_tokens,
            "gen_ai.request.seed": parameters.seed,
            "gen_ai.request.stop_sequences": parameters.stop or None,
            "gen_ai.output.type": "json" if parameters.response_format is ResponseFormat.JSON else "text",
        }
    )


def usage_attributes(completion: Completion) -> dict[str, Attribute]:
    """Return what an attempt gave and took."""
    reason = completion.finish_reason
    return _known(
        {
            "gen_ai.response.model": completion.model,
            "gen_ai.response.finish_reasons": None if reason is None else (reason.value,),
            "gen_ai.usage.input_tokens": completion.usage.input_tokens,
            "gen_ai.usage.output_tokens": completion.usage.output_tokens,
        }
    )


def event_attributes(event: Event) -> dict[str, Attribute]:
    """Return all that an event says."""
    return _known({f"holdfast.{field.name}": _plain(getattr(event, field.name)) for field in fields(event)})


def counted_attributes(event: Event) -> dict[str, Attribute]:
    """Return what an event says that has few values, and its name."""
    told = {
        f"holdfast.{field.name}": _plain(getattr(event, field.name))
        for field in fields(event)
        if field.name in _COUNTED
    }
    return {"holdfast.event": event.name} | _known(told)


def error_type(error: BaseException) -> str:
    """Return what an error is called; a cancellation is none, and is called ``cancelled``."""
    return type(error).__name__ if isinstance(error, Exception) else CANCELLED


def _plain(value: object) -> Attribute | None:
    match value:
        case enum.Enum():
            return value.name.lower()
        case float() if not math.isfinite(value):
            return str(value)
        case str() | int() | float() | None:
            return value
        case _:
            return str(value)


def _known(values: Mapping[str, Attribute | None]) -> dict[str, Attribute]:
    return {name: value for name, value in values.items() if value is not None}
