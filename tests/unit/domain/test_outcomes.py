from __future__ import annotations

import pytest

from holdfast.domain.outcomes import SUCCEEDED, classify
from holdfast.ports.errors import (
    AttemptTimeoutError,
    BackendAuthenticationError,
    BackendError,
    BackendProtocolError,
    BackendRequestError,
    BackendThrottledError,
    BackendUnavailableError,
    BackpressureError,
    BreakerOpenError,
    BufferFullError,
    ClosedError,
    ConfigurationError,
    DeadlineExceededError,
    PoolExhaustedError,
    PoolTimeoutError,
    RequestError,
    RetrievalError,
    SharedFailureError,
    SlowReaderError,
    StreamInterruptedError,
)
from holdfast.ports.outcome import Outcome, Verdict


def test_succeeded_is_the_verdict_of_a_call_that_returned() -> None:
    assert Verdict(outcome=Outcome.SUCCESS) == SUCCEEDED


@pytest.mark.parametrize(
    "error",
    [
        BackpressureError(depth=1, capacity=1, retry_after_s=1.0, reason="full"),
        BreakerOpenError(breaker="b", retry_after_s=1.0),
        BufferFullError(items=1, size_bytes=1, item_bytes=1, max_bytes=1),
        ClosedError("pool"),
        PoolExhaustedError(pool="p", waiters=1),
        PoolTimeoutError(pool="p", timeout_s=1.0),
        RequestError("empty"),
        ConfigurationError("must be above 0", path="timeout_s"),
        BackendRequestError("too long", backend="b"),
        DeadlineExceededError(),
        SlowReaderError(stalled_s=10.0),
    ],
)
def test_refusal_of_ours_or_mistake_of_the_caller_is_ignored_and_not_retried(error: Exception) -> None:
    assert classify(error) == Verdict(outcome=Outcome.IGNORED, retry_allowed=False)


@pytest.mark.parametrize(
    "error",
    [
        AttemptTimeoutError(timeout_s=1.0),
        BackendError("failed", backend="b"),
        BackendProtocolError("no JSON", backend="b"),
        BackendUnavailableError("down", backend="b"),
        RetrievalError("no file", path="p"),
        SharedFailureError(OSError()),
        ConnectionResetError(),
        TimeoutError(),
        RuntimeError(),
    ],
)
def test_any_other_error_is_a_failure_that_may_be_retried(error: Exception) -> None:
    assert classify(error) == Verdict(outcome=Outcome.FAILURE)


def test_authentication_error_is_a_failure_that_no_retry_can_help() -> None:
    verdict = classify(BackendAuthenticationError("bad key", backend="b"))

    assert verdict == Verdict(outcome=Outcome.FAILURE, retry_allowed=False)


def test_stream_cut_after_its_first_piece_is_a_failure_that_is_never_retried() -> None:
    verdict = classify(StreamInterruptedError(backend="b", text_sent="half a sen"))

    assert verdict == Verdict(outcome=Outcome.FAILURE, retry_allowed=False)


@pytest.mark.parametrize(("retry_after_s", "retry_allowed"), [(None, True), (7.0, True), (None, False), (7.0, False)])
def test_push_back_is_apart_from_failure_and_keeps_what_the_peer_said(
    retry_after_s: float | None, retry_allowed: bool
) -> None:
    error = BackendThrottledError(backend="b", retry_after_s=retry_after_s, retry_allowed=retry_allowed)

    assert classify(error) == Verdict(
        outcome=Outcome.REJECTED_BY_PEER, retry_after_s=retry_after_s, retry_allowed=retry_allowed
    )
