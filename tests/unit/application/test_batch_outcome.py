from __future__ import annotations

import pytest

from holdfast.application.batch_outcome import failure_of, well_formed
from holdfast.ports import errors
from holdfast.ports.inference import Citation, Usage
from holdfast.ports.journal import FailureKind
from holdfast.ports.service import Disposition, Reply


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.RequestError("empty"), FailureKind.REQUEST),
        (errors.BackendRequestError("too long", backend="b"), FailureKind.REQUEST),
        (errors.BreakerOpenError(breaker="b", retry_after_s=1.0), FailureKind.REFUSED),
        (errors.PoolTimeoutError(pool="p", timeout_s=5.0), FailureKind.REFUSED),
        (errors.DeadlineExceededError(timeout_s=1.0), FailureKind.TIMEOUT),
        (errors.AttemptTimeoutError(timeout_s=1.0), FailureKind.TIMEOUT),
        (errors.BackendUnavailableError("down", backend="b"), FailureKind.UNAVAILABLE),
        (errors.BackendThrottledError(backend="b"), FailureKind.THROTTLED),
        (errors.BackendProtocolError("no JSON", backend="b"), FailureKind.PROTOCOL),
        (errors.BackendAuthenticationError("no key", backend="b"), FailureKind.AUTHENTICATION),
        (errors.BackendError("odd", backend="b"), FailureKind.BACKEND),
        (errors.SharedFailureError(OSError()), FailureKind.BACKEND),
        (errors.OutputRejectedError(validator="v", backend="b", problem="is no JSON"), FailureKind.OUTPUT),
        (errors.ValidatorError(validator="v"), FailureKind.OUTPUT),
        (errors.RetrievalError("no index", path="docs"), FailureKind.RETRIEVAL),
        (ZeroDivisionError("division by zero"), FailureKind.UNEXPECTED),
        (TimeoutError("not one of ours"), FailureKind.UNEXPECTED),
    ],
)
def test_failure_of_an_error_has_its_kind_and_its_message(error: Exception, kind: FailureKind) -> None:
    failure = failure_of(error)

    assert failure.kind is kind
    assert str(error) in failure.reason


def test_failure_of_a_foreign_error_names_its_type() -> None:
    assert failure_of(KeyError("x")).reason == "KeyError: 'x'"


def test_failure_reason_is_one_bounded_line_that_can_be_written() -> None:
    reason = failure_of(ValueError("a\nb\r\n\tc \ud800" + "x" * 10_000)).reason

    assert reason.startswith("ValueError: a b c ?x")
    assert len(reason) == 500
    reason.encode()


def test_reply_with_lone_surrogates_is_made_writable_and_otherwise_kept() -> None:
    reply = Reply(
        text="ok \ud800 ß\N{GRINNING FACE}",
        backend="b\udfff",
        model="m\ud801",
        disposition=Disposition.CALLED,
        attempts=2,
        queue_s=0.1,
        backend_s=0.2,
        usage=Usage(input_tokens=1, output_tokens=2),
        citations=(Citation(source="s\ud800", heading="h\ud800"),),
        request_id="q1",
    )

    mended = well_formed(reply)

    assert mended == Reply(
        text="ok ? ß\N{GRINNING FACE}",
        backend="b?",
        model="m?",
        disposition=Disposition.CALLED,
        attempts=2,
        queue_s=0.1,
        backend_s=0.2,
        usage=Usage(input_tokens=1, output_tokens=2),
        citations=(Citation(source="s?", heading="h?"),),
        request_id="q1",
    )
