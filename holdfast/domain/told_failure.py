"""A failure that one process tells to others.

Responsibility: which failures are told, and each of them as plain fields and back.
Guarantees: what is told says nothing of this process and holds no answer; what comes back is of the type that a caller
    would have met here, new each time, and with a note that says where the call was made.
Not responsible for: the bytes that travel: see `holdfast.domain.answer_codec`.

What speaks of the request or of a backend is told: a backend that fails for one process fails for all who asked the
same at the same time, and each of them asking for itself would be the herd that sharing is there to prevent. What
speaks of one process (its queue, its limits, its memory, its documents, its sessions, its code) is not: another one may
well have the room, and finds out by taking the call over, one process at a time.
"""

from __future__ import annotations

from typing import Final

from holdfast.domain.plain_fields import PlainFields
from holdfast.ports.errors import (
    AttemptTimeoutError,
    BackendAuthenticationError,
    BackendError,
    BackendProtocolError,
    BackendRequestError,
    BackendThrottledError,
    BackendTimeoutError,
    BackendUnavailableError,
    HoldfastError,
    OutputRejectedError,
    StreamInterruptedError,
)

__all__ = ["read_failure", "write_failure"]

_NOTE: Final = "holdfast: another process made the call, for all who asked the same"
_MAX_CHARS: Final = 2000  # of a text that others wrote

_PLAIN: Final[dict[str, type[BackendError]]] = {
    "unavailable": BackendUnavailableError,
    "protocol": BackendProtocolError,
    "request": BackendRequestError,
    "authentication": BackendAuthenticationError,
    "backend": BackendError,  # the last, because all others are some of these
}
"""Those that are made of a message and the name of the backend."""


def write_failure(error: BaseException) -> dict[str, object] | None:  # noqa: PLR0911 - one for each kind
    """Return what is told of `error`; None for nothing.

    Example:
        >>> write_failure(BackendUnavailableError("is down", backend="a"))
        {'kind': 'unavailable', 'backend': 'a', 'message': 'is down'}
    """
    match error:
        case StreamInterruptedError():
            # To those who have read nothing, it is what cut the stream.
            return None if error.__cause__ is None else write_failure(error.__cause__)
        case AttemptTimeoutError():
            return {"kind": "attempt_timeout", "timeout_s": error.timeout_s}
        case OutputRejectedError():
            return {
                "kind": "rejected",
                "validator": error.validator,
                "backend": error.backend,
                "problem": error.problem[:_MAX_CHARS],
            }
        case BackendThrottledError():
            return {
                "kind": "throttled",
                "backend": error.backend,
                "retry_after_s": error.retry_after_s,
                "retry_allowed": error.retry_allowed,
            }
        case BackendTimeoutError():
            return {
                "kind": "backend_timeout",
                "backend": error.backend,
                "phase": error.phase,
                "timeout_s": error.timeout_s,
            }
        case BackendError():
            kind = next(kind for kind, known in _PLAIN.items() if isinstance(error, known))
            message = str(error).removeprefix(f"backend {error.backend!r}: ")
            return {"kind": kind, "backend": error.backend, "message": message[:_MAX_CHARS]}
        case _:
            return None


def read_failure(fields: PlainFields) -> HoldfastError:
    """Return the failure that was told.

    Raises:
        ValueError: if it is none that can be told.
    """
    error = _read(fields)
    fields.end()
    error.add_note(_NOTE)
    return error


def _read(fields: PlainFields) -> HoldfastError:
    match kind := fields.text("kind"):
        case "attempt_timeout":
            return AttemptTimeoutError(timeout_s=fields.number("timeout_s"))
        case "rejected":
            return OutputRejectedError(
                validator=fields.text("validator"), backend=fields.text("backend"), problem=fields.text("problem")
            )
        case "throttled":
            return BackendThrottledError(
                backend=fields.text("backend"),
                retry_after_s=None if fields.is_null("retry_after_s") else fields.number("retry_after_s"),
                retry_allowed=fields.truth("retry_allowed"),
            )
        case "backend_timeout":
            return BackendTimeoutError(
                backend=fields.text("backend"), phase=fields.text("phase"), timeout_s=fields.number("timeout_s")
            )
        case _ if kind in _PLAIN:
            return _PLAIN[kind](fields.text("message"), backend=fields.text("backend"))
        case _:
            raise ValueError("a failure of no kind that is told")
