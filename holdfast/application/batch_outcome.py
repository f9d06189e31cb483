"""What came of one item, fit to be recorded.

Responsibility: the kind and reason of a failure, and an answer whose texts can be written as UTF-8.
Guarantees: every error has a kind; a reason is one line of bounded length.
Not responsible for: whether a call is retried: that was decided before the error came here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from holdfast.ports.errors import (
    AttemptTimeoutError,
    BackendAuthenticationError,
    BackendError,
    BackendProtocolError,
    BackendRequestError,
    BackendThrottledError,
    BackendUnavailableError,
    DeadlineExceededError,
    HoldfastError,
    OutputError,
    RefusedError,
    RequestError,
    RetrievalError,
    SharedFailureError,
)
from holdfast.ports.inference import Citation
from holdfast.ports.journal import Failure, FailureKind
from holdfast.ports.service import Reply

__all__ = ["failure_of", "well_formed"]

_MAX_REASON_CHARS: Final = 500

# The first match counts, so a subclass stands before its base.
_KINDS: Final[tuple[tuple[type[Exception] | tuple[type[Exception], ...], FailureKind], ...]] = (
    ((RequestError, BackendRequestError), FailureKind.REQUEST),
    (RefusedError, FailureKind.REFUSED),
    ((DeadlineExceededError, AttemptTimeoutError), FailureKind.TIMEOUT),
    (BackendUnavailableError, FailureKind.UNAVAILABLE),
    (BackendThrottledError, FailureKind.THROTTLED),
    (BackendProtocolError, FailureKind.PROTOCOL),
    (BackendAuthenticationError, FailureKind.AUTHENTICATION),
    ((BackendError, SharedFailureError), FailureKind.BACKEND),
    (OutputError, FailureKind.OUTPUT),
    (RetrievalError, FailureKind.RETRIEVAL),
)


def failure_of(error: Exception) -> Failure:
    """Return what an error of the service means for the item.

    Example:
        >>> failure_of(DeadlineExceededError(timeout_s=2.0)).kind
        <FailureKind.TIMEOUT: 'timeout'>
    """
    kind = next((kind for types, kind in _KINDS if isinstance(error, types)), FailureKind.UNEXPECTED)
    told = str(error) if isinstance(error, HoldfastError) else f"{type(error).__name__}: {error}"
    one_line = " ".join(_encodable(told).split())
    return Failure(
        kind=kind,
        reason=one_line if len(one_line) <= _MAX_REASON_CHARS else f"{one_line[: _MAX_REASON_CHARS - 1]}…",
    )


def well_formed(reply: Reply) -> Reply:
    """Return the reply with every lone surrogate replaced: a backend's JSON may hold some, and UTF-8 cannot."""
    return replace(
        reply,
        text=_encodable(reply.text),
        backend=_encodable(reply.backend),
        model=_encodable(reply.model),
        citations=tuple(
            Citation(source=_encodable(citation.source), heading=_encodable(citation.heading))
            for citation in reply.citations
        ),
    )


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
