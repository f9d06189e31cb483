"""Which failures another process is told, and what it makes of them."""

from __future__ import annotations

import pytest

from holdfast.domain.failure_copy import copy_failure
from holdfast.domain.outcomes import classify
from holdfast.domain.plain_fields import PlainFields
from holdfast.domain.told_failure import read_failure, write_failure
from holdfast.ports.errors import (
    AttemptTimeoutError,
    BackendAuthenticationError,
    BackendError,
    BackendProtocolError,
    BackendRequestError,
    BackendThrottledError,
    BackendTimeoutError,
    BackendUnavailableError,
    ClosedError,
    DeadlineExceededError,
    OutputRejectedError,
    RetrievalError,
    SessionNotFoundError,
    SharedFailureError,
    SlowReaderError,
    StreamInterruptedError,
    ValidatorError,
)

TOLD = [
    BackendError("is odd", backend="a"),
    BackendUnavailableError("is down", backend="a"),
    BackendProtocolError("is not JSON", backend="backend 'a': "),
    BackendRequestError("is too long", backend="a"),
    BackendAuthenticationError("is not known", backend="a"),
    BackendThrottledError(backend="a"),
    BackendThrottledError(backend="a", retry_after_s=2.5),
    BackendThrottledError(backend="a", retry_allowed=False),
    BackendTimeoutError(backend="a", phase="connect", timeout_s=1.5),
    AttemptTimeoutError(timeout_s=30.0),
    OutputRejectedError(validator="v", backend="a", problem="is no JSON"),
]


def told(error: BaseException) -> Exception:
    written = write_failure(error)
    assert written is not None
    return read_failure(PlainFields(written))


@pytest.mark.parametrize("error", TOLD, ids=repr)
def test_failure_that_is_told_comes_back_as_it_was(error: Exception) -> None:
    copied = told(error)

    assert (type(copied), str(copied)) == (type(error), str(error))
    assert {**vars(copied), "__notes__": None} == {**vars(error), "__notes__": None}
    assert classify(copied) == classify(error)


def test_failure_that_is_told_says_where_the_call_was_made() -> None:
    assert told(TOLD[0]).__notes__ == ["holdfast: another process made the call, for all who asked the same"]


def test_failure_that_was_told_can_be_shared_further() -> None:
    copied = copy_failure(told(TOLD[1]))

    assert (type(copied), str(copied)) == (BackendUnavailableError, "backend 'a': is down")


def test_every_failure_of_a_backend_is_told_as_its_own_type() -> None:
    kinds = [BackendError]
    for kind in kinds:
        kinds += [each for each in kind.__subclasses__() if each.__module__ == "holdfast.ports.errors"]

    assert set(kinds) <= {type(error) for error in TOLD}


def test_failure_of_a_type_of_ones_own_is_told_as_the_nearest_one() -> None:
    class MeltedError(BackendUnavailableError):
        pass

    assert type(told(MeltedError("is warm", backend="a"))) is BackendUnavailableError


@pytest.mark.parametrize(
    "error",
    [
        ClosedError("the door"),
        DeadlineExceededError(timeout_s=1.0),
        RetrievalError("is gone", path="docs"),
        SessionNotFoundError(session_id="s"),
        SharedFailureError(ValueError()),
        SlowReaderError(stalled_s=1.0),
        ValidatorError(validator="v"),
        ValueError("a bug"),
        KeyboardInterrupt(),
        StreamInterruptedError(backend="a", text_sent="half of a secret"),
    ],
    ids=repr,
)
def test_failure_of_the_process_itself_is_not_told(error: BaseException) -> None:
    assert write_failure(error) is None


def test_stream_that_was_cut_is_told_as_what_cut_it_and_without_its_text() -> None:
    error = StreamInterruptedError(backend="a", text_sent="half of a secret")
    error.__cause__ = TOLD[1]

    assert write_failure(error) == {"kind": "unavailable", "backend": "a", "message": "is down"}


def test_message_of_any_length_is_cut() -> None:
    error = told(BackendUnavailableError("x" * 100_000, backend="a"))

    assert len(str(error)) < 3000
    rejected = told(OutputRejectedError(validator="v", backend="a", problem="x" * 100_000))
    assert len(str(rejected)) < 3000


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kind": "SystemExit"},
        {"kind": 1},
        {"kind": "unavailable", "backend": "a"},
        {"kind": "unavailable", "backend": "a", "message": None},
        {"kind": "unavailable", "backend": "a", "message": "x", "text_sent": "y"},
        {"kind": "throttled", "backend": "a", "retry_after_s": "soon", "retry_allowed": True},
        {"kind": "throttled", "backend": "a", "retry_after_s": None, "retry_allowed": 1},
        {"kind": "throttled", "backend": "a", "retry_after_s": -1.0, "retry_allowed": True},
        {"kind": "attempt_timeout", "timeout_s": None},
    ],
)
def test_failure_that_was_made_up_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r" is | of no kind|not known"):
        read_failure(PlainFields(fields))
