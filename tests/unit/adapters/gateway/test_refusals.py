"""Which status each error of the tree has."""

from __future__ import annotations

import copy

import pytest

from holdfast.adapters.gateway.refusals import refusal_of
from holdfast.ports.errors import ClosedError, HoldfastError, RateLimitedError, SessionStoreError
from tests.unit.ports.test_errors import EXAMPLES

STATUSES = {
    "RequestError": 400,
    "BackendRequestError": 400,
    "SessionNotFoundError": 404,
    "SlowReaderError": 408,
    "SessionConflictError": 409,
    "SessionTooLargeError": 413,
    "RateLimitedError": 429,
    "OutputRejectedError": 502,
    "SharedFailureError": 502,
    "StreamInterruptedError": 502,
    "BackendAuthenticationError": 502,
    "BackendProtocolError": 502,
    "BackendUnavailableError": 502,
    "BackendThrottledError": 503,
    "BackpressureError": 503,
    "BreakerOpenError": 503,
    "BufferFullError": 503,
    "ClosedError": 503,
    "HostMemoryError": 503,
    "MemoryCeilingError": 503,
    "PoolExhaustedError": 503,
    "PoolTimeoutError": 503,
    "RetrievalError": 503,
    "SessionStoreError": 503,
    "StoreUnavailableError": 503,
    "AttemptTimeoutError": 504,
    "BackendTimeoutError": 504,
    "DeadlineExceededError": 504,
    "ValidatorError": 500,
    "StoreRefusedError": 500,
}

OWN_WORDS: dict[type[HoldfastError], str] = {
    ClosedError: "this instance is ending; ask again",
    SessionStoreError: "sessions cannot be read or written now; ask again",
}


def examples() -> list[HoldfastError]:
    """Return one of each; what is too large for a limit, for which no waiting helps, has a test of its own."""
    return [copy.copy(example) for example, _ in EXAMPLES if getattr(example, "most", None) is None]


@pytest.mark.parametrize("error", examples(), ids=lambda error: type(error).__name__)
def test_refusal_of_an_error_has_the_status_that_says_whose_fault_it_is(error: HoldfastError) -> None:
    refusal = refusal_of(error)

    assert refusal.status == STATUSES.get(type(error).__name__, refusal.status)
    assert 400 <= refusal.status < 600
    assert refusal.message == OWN_WORDS.get(type(error), str(error))
    assert (refusal.retry_after_s is not None) == (refusal.status in {429, 503})


def test_every_status_of_the_table_is_that_of_an_error_that_there_is() -> None:
    assert set(STATUSES) <= {type(error).__name__ for error in examples()}


def test_refusal_says_when_to_come_back_in_whole_seconds_rounded_up() -> None:
    error = RateLimitedError(scope="tenant 'a'", quantity="requests", retry_after_s=2.01)

    assert refusal_of(error).headers == {"retry-after": "3"}


def test_refusal_of_what_is_too_large_for_ever_asks_nobody_to_come_back() -> None:
    error = RateLimitedError(scope="tenant 'a'", quantity="tokens", retry_after_s=None, most=100)

    assert refusal_of(error).status == 400
    assert refusal_of(error).headers == {}


def test_refusal_is_the_error_object_of_openai() -> None:
    error = RateLimitedError(scope="tenant 'a'", quantity="requests", retry_after_s=2.0)

    assert refusal_of(error).document == {
        "error": {"message": str(error), "type": "rate_limit_error", "param": None, "code": "rate_limited"}
    }
