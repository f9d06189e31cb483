"""What a request says in its headers.

Responsibility: the part of a request that OpenAI's bodies have no room for.
Guarantees: a header that is not understood is refused by its name; texts are bounded by the door of the service, which
    counts them.
Not responsible for: who the client is: see `holdfast.adapters.gateway.api_keys`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from holdfast.adapters.gateway.body_reading import RefusedRequestError
from holdfast.adapters.gateway.refusals import bad_request
from holdfast.ports.service import Priority
from holdfast.ports.trace import TraceContext

__all__ = ["HEADERS", "RequestHeaders"]

HEADERS: Final = {
    "x-holdfast-priority": "critical, high, normal, low or bulk; normal if it is left out",
    "x-holdfast-timeout-s": "seconds until the deadline",
    "x-holdfast-session": "id of the conversation that the messages go on with",
    "x-holdfast-persona": "who answers",
    "idempotency-key": "handed to the backend with every attempt",
    "x-request-id": "what the request is called; repeated in the reply",
    "cache-control": "no-cache asks a backend anew, and shares the answer with nobody",
    "traceparent": "where the client stands in a trace",
    "tracestate": "what else is known there",
}
"""What each header says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHeaders:
    """What the headers said; None where they said nothing."""

    priority: Priority
    timeout_s: float | None
    session_id: str | None
    persona: str | None
    idempotency_key: str | None
    request_id: str | None
    no_cache: bool
    trace: TraceContext | None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Self:
        """Return what `headers` say.

        Args:
            headers: found whatever the case of the name.

        Raises:
            RefusedRequestError: a value is none of those that are known, or no number.
        """
        return cls(
            priority=_priority(headers.get("x-holdfast-priority")),
            timeout_s=_timeout_s(headers.get("x-holdfast-timeout-s")),
            session_id=headers.get("x-holdfast-session"),
            persona=headers.get("x-holdfast-persona"),
            idempotency_key=headers.get("idempotency-key"),
            request_id=headers.get("x-request-id"),
            no_cache="no-cache" in headers.get("cache-control", "").lower(),
            trace=TraceContext.from_headers(headers),
        )


_PRIORITIES: Final = {priority.name.lower(): priority for priority in Priority}


def _priority(name: str | None) -> Priority:
    if name is None:
        return Priority.NORMAL
    if name.lower() not in _PRIORITIES:
        raise _refused("x-holdfast-priority", f"must be one of {', '.join(_PRIORITIES)}")
    return _PRIORITIES[name.lower()]


def _timeout_s(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(text)  # whether it is finite and above 0 is the door's to say
    except ValueError:
        raise _refused("x-holdfast-timeout-s", "must be a number of seconds") from None


def _refused(header: str, problem: str) -> RefusedRequestError:
    return RefusedRequestError(bad_request(f"{header}: {problem}", param=header, code="invalid_header"))
