"""What an error means for statistics and retries.

Responsibility: the one rule that turns an exception into a verdict.
Guarantees: a refusal of our own, the caller's mistake, the caller's own deadline and its slow reading are ignored;
    push-back is kept apart from failure; all else is a failure. Cancellation is a `BaseException` and never comes here.
Not responsible for: SLOW, which depends on a threshold: see `holdfast.domain.circuit_breaker`.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast.ports.errors import (
    BackendAuthenticationError,
    BackendRequestError,
    BackendThrottledError,
    ConfigurationError,
    DeadlineExceededError,
    RefusedError,
    RequestError,
    SlowReaderError,
    StreamInterruptedError,
)
from holdfast.ports.outcome import Outcome, Verdict

__all__ = ["SUCCEEDED", "Classifier", "classify"]

Classifier = Callable[[Exception], Verdict]
"""Turns an error into a verdict; give your own to a mechanism whose calls raise errors of their own."""

SUCCEEDED = Verdict(outcome=Outcome.SUCCESS)
_IGNORED = Verdict(outcome=Outcome.IGNORED, retry_allowed=False)
_FAILED = Verdict(outcome=Outcome.FAILURE)
_FAILED_FOR_GOOD = Verdict(outcome=Outcome.FAILURE, retry_allowed=False)


def classify(error: Exception) -> Verdict:
    """Return what `error` means.

    Example:
        >>> classify(ConnectionResetError()).outcome
        <Outcome.FAILURE: 'failure'>
    """
    match error:
        case BackendThrottledError():
            return Verdict(
                outcome=Outcome.REJECTED_BY_PEER,
                retry_after_s=error.retry_after_s,
                retry_allowed=error.retry_allowed,
            )
        case BackendAuthenticationError() | StreamInterruptedError():
            return _FAILED_FOR_GOOD
        case (
            RefusedError()
            | RequestError()
            | ConfigurationError()
            | BackendRequestError()
            | DeadlineExceededError()
            | SlowReaderError()
        ):
            return _IGNORED
        case _:
            return _FAILED
