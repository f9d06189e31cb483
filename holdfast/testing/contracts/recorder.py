"""What every `Recorder` must do.

Responsibility: the contract of `holdfast.ports.telemetry`, as a pytest class to derive from.
Guarantees: a recorder that passes can follow any request: it changes nothing of it but its place in a trace, mixes up
    no two of them, and leaves nothing of one in the task that made it.
Not responsible for: what the recorder makes of what it follows.
"""

from __future__ import annotations

import contextvars
import logging
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Final

import pytest

from holdfast.ports.errors import BackendUnavailableError
from holdfast.ports.inference import Completion, Message, Parameters, Prompt, Role, Usage
from holdfast.ports.service import Disposition, Priority, Reply, Request
from holdfast.ports.telemetry import Recorder
from holdfast.ports.trace import TraceContext

__all__ = ["RecorderContract"]

_QUESTION: Final = (Message(role=Role.USER, content="Why?"),)
_PLACE: Final = TraceContext(trace_id="a" * 32, span_id="b" * 16, is_sampled=True, state="vendor=1")
_REQUESTS: Final = {
    "plain": Request(messages=_QUESTION),
    "empty": Request(messages=()),
    "everything": Request(
        messages=_QUESTION,
        tenant="alice",
        model="m",
        parameters=Parameters(temperature=0.5, top_p=0.5, max_tokens=1, seed=1, stop=("x",)),
        priority=Priority.BULK,
        session_id="s",
        persona="p",
        idempotency_key="k",
        request_id="r",
        trace=_PLACE,
    ),
    "odd names": Request(messages=_QUESTION, tenant="\x00\n\ud800", model="%s", session_id="", request_id="ä" * 10_000),
}
_REPLY: Final = Reply(
    text="Because.",
    backend="a",
    model="m",
    disposition=Disposition.CALLED,
    attempts=1,
    queue_s=0.0,
    backend_s=0.0,
    usage=Usage(),
    citations=(),
    request_id=None,
)
_COMPLETION: Final = Completion(text="Because.", model="m", usage=Usage(input_tokens=1, output_tokens=2))


class _CancelledError(BaseException):
    """Stands for the cancellation of any event loop."""


_ERRORS: Final = {
    "failure": BackendUnavailableError("is down", backend="a"),
    "error of the application": LookupError("x"),
    "cancellation": _CancelledError(),
}


def _prompt(request: Request) -> Prompt:
    return Prompt(messages=request.messages, model=request.model, parameters=request.parameters, trace=request.trace)


def _live(recorder: Recorder, request: Request, error: BaseException | None) -> None:
    record = recorder.begin_request(request)
    attempt = recorder.begin_attempt(_prompt(record.request), backend="a", number=1)
    attempt.end(completion=None if error else _COMPLETION, error=error)
    record.end(reply=None if error else _REPLY, error=error)


class RecorderContract(ABC):
    """Derive from it, name the class ``Test…`` and make your recorder; pytest does the rest.

    Example:
        >>> class TestMyRecorder(RecorderContract):
        ...     def make_recorder(self) -> Recorder:
        ...         return MyRecorder()
    """

    @abstractmethod
    def make_recorder(self) -> Recorder:
        """Return a new recorder that has followed nothing."""

    @pytest.mark.parametrize("request_", _REQUESTS.values(), ids=_REQUESTS)
    def test_begin_request_changes_nothing_but_its_place_in_a_trace(self, request_: Request) -> None:
        """What is asked is the caller's."""
        record = self.make_recorder().begin_request(request_)
        followed = record.request
        record.end(reply=_REPLY, error=None)

        assert replace(followed, trace=request_.trace) == request_

    @pytest.mark.parametrize("request_", _REQUESTS.values(), ids=_REQUESTS)
    def test_begin_attempt_changes_nothing_but_its_place_in_a_trace(self, request_: Request) -> None:
        """What is sent is what was assembled."""
        prompt = _prompt(request_)
        record = self.make_recorder().begin_attempt(prompt, backend="a", number=1)
        followed = record.prompt
        record.end(completion=_COMPLETION, error=None)

        assert replace(followed, trace=prompt.trace) == prompt

    def test_trace_that_a_request_came_with_is_the_one_that_its_attempts_go_out_with(self) -> None:
        """A trace that breaks off is of no use."""
        recorder = self.make_recorder()
        record = recorder.begin_request(_REQUESTS["everything"])
        attempt = recorder.begin_attempt(_prompt(record.request), backend="a", number=1)
        place = attempt.prompt.trace
        attempt.end(completion=_COMPLETION, error=None)
        record.end(reply=_REPLY, error=None)

        assert place is not None
        assert place.trace_id == _PLACE.trace_id
        assert TraceContext.from_headers(place.headers()) == place

    @pytest.mark.parametrize("error", [None, *_ERRORS.values()], ids=["success", *_ERRORS])
    @pytest.mark.parametrize("request_", _REQUESTS.values(), ids=_REQUESTS)
    def test_life_leaves_the_context_of_its_task_as_it_was(
        self, request_: Request, error: BaseException | None
    ) -> None:
        """The next request of the same task is another one."""
        recorder = self.make_recorder()
        _live(recorder, request_, error)
        before = dict(contextvars.copy_context().items())
        _live(recorder, request_, error)

        assert dict(contextvars.copy_context().items()) == before

    def test_end_of_a_request_whose_stream_was_left_takes_neither_reply_nor_error(self) -> None:
        """Whoever leaves a stream is no failure."""
        recorder = self.make_recorder()

        recorder.begin_request(_REQUESTS["plain"]).end(reply=None, error=None)
        _live(recorder, _REQUESTS["plain"], None)

    def test_attempt_without_a_request_is_followed_too(self) -> None:
        """A backend may be asked outside of the wired path."""
        record = self.make_recorder().begin_attempt(_prompt(_REQUESTS["plain"]), backend="a", number=1)

        record.end(completion=_COMPLETION, error=None)
        assert record.prompt.messages == _QUESTION

    def test_end_in_another_context_leaves_that_one_as_it_was_and_logs_nothing(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A stream may be left in another task than it was opened in, which works on a request of its own."""
        recorder = self.make_recorder()
        elsewhere = contextvars.copy_context()
        record = elsewhere.run(recorder.begin_request, _REQUESTS["plain"])
        attempt = elsewhere.run(recorder.begin_attempt, _prompt(record.request), backend="a", number=1)
        own = recorder.begin_request(_REQUESTS["everything"])
        before = dict(contextvars.copy_context().items())

        with caplog.at_level(logging.WARNING):
            attempt.end(completion=_COMPLETION, error=None)
            record.end(reply=None, error=None)
        after = dict(contextvars.copy_context().items())
        own.end(reply=_REPLY, error=None)

        assert after == before
        assert caplog.records == []

    def test_requests_of_tasks_at_once_do_not_end_each_other(self) -> None:
        """Each task has a context of its own, and they end in any order."""
        recorder = self.make_recorder()
        contexts = [contextvars.copy_context() for _ in range(3)]
        records = [context.run(recorder.begin_request, _REQUESTS["plain"]) for context in contexts]
        attempts = [
            context.run(recorder.begin_attempt, _prompt(record.request), backend="a", number=1)
            for context, record in zip(contexts, records, strict=True)
        ]

        for context, attempt in reversed(list(zip(contexts, attempts, strict=True))):
            context.run(attempt.end, completion=_COMPLETION, error=None)
        for context, record in zip(contexts, records, strict=True):
            context.run(record.end, reply=_REPLY, error=None)

        assert [replace(record.request, trace=None) for record in records] == [_REQUESTS["plain"]] * 3
