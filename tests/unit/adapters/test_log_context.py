"""Lines of the log say which request and attempt they belong to, as JSON, and nothing of a prompt unless asked."""

from __future__ import annotations

import io
import json
import logging
import logging.handlers
import queue
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anyio
import pytest

from holdfast.adapters.inference.scripted import Pieces, ScriptedBackend, in_turn
from holdfast.adapters.logging import JsonFormatter, LogContext, LoggingEventSink, current_context, json_log
from holdfast.application.settings import GuardSettings, Settings
from holdfast.domain.retry_policy import Jitter, RetryPolicy
from holdfast.ports.errors import BackendUnavailableError
from holdfast.ports.events import BreakerOpened
from holdfast.ports.inference import Completion, Message, Prompt, Role
from holdfast.ports.service import Request
from holdfast.ports.trace import TraceContext
from holdfast.testing import VirtualClock, sweep_cancellation
from tests.fakes.service import Answering, ask, ask_anew, opened, unavailable

pytestmark = pytest.mark.anyio

TRACE = TraceContext(trace_id="a" * 32, span_id="b" * 16)
PROMPT = Prompt(messages=(Message(role=Role.USER, content="the secret question"),))
LOGGER = f"{__name__}.lines"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    with json_log(stream, level=logging.DEBUG, logger_name=LOGGER):
        yield stream


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def log() -> logging.Logger:
    return logging.getLogger(LOGGER)


async def test_line_outside_of_any_request_belongs_to_nothing(stream: io.StringIO) -> None:
    log().warning("boiling")

    [line] = lines_of(stream)
    assert line == {"time": line["time"], "level": "warning", "logger": LOGGER, "message": "boiling"}


async def test_line_of_a_request_names_it_its_tenant_its_session_and_its_trace(stream: io.StringIO) -> None:
    request = ask(request_id="r-1", tenant="alice", session_id="s-1", trace=TRACE)
    record = LogContext().begin_request(request)
    log().info("inside")
    record.end(reply=None, error=None)
    log().info("outside")

    inside, outside = lines_of(stream)
    assert {name: inside[name] for name in inside if name not in outside} == {
        "request_id": "r-1",
        "tenant": "alice",
        "session_id": "s-1",
        "trace_id": "a" * 32,
        "span_id": "b" * 16,
    }


async def test_request_without_a_name_gets_one_of_its_own() -> None:
    context = LogContext()
    names: list[object] = []
    for _ in range(2):
        record = context.begin_request(ask())
        names.append(current_context()["request_id"])
        record.end(reply=None, error=None)

    assert len(set(names)) == 2
    assert all(names)


async def test_line_of_an_attempt_also_names_its_number_its_backend_and_its_span() -> None:
    context = LogContext()
    request = context.begin_request(ask(request_id="r-1", trace=TRACE))
    own = replace(TRACE, span_id="c" * 16)
    attempt = context.begin_attempt(replace(PROMPT, trace=own), backend="a", number=2)
    inside = dict(current_context())
    attempt.end(completion=None, error=None)
    behind = dict(current_context())
    request.end(reply=None, error=None)

    assert inside == {
        "request_id": "r-1",
        "tenant": "default",
        "trace_id": "a" * 32,
        "span_id": "c" * 16,
        "attempt": 2,
        "backend": "a",
    }
    assert (behind["span_id"], "attempt" in behind) == ("b" * 16, False)
    assert current_context() == {}


async def test_event_of_ones_own_values_wins_over_what_the_line_belongs_to(stream: io.StringIO) -> None:
    context = LogContext()
    record = context.begin_attempt(PROMPT, backend="a", number=2)
    LoggingEventSink(LOGGER).emit(BreakerOpened(breaker="b", open_s=float("inf")))
    record.end(completion=None, error=None)

    [line] = lines_of(stream)
    assert (line["event"], line["breaker"], line["open_s"]) == ("breaker_opened", "b", "inf")
    assert (line["backend"], line["attempt"], line["level"]) == ("a", 2, "warning")
    assert "message" not in line


async def test_line_that_is_queued_tells_what_it_belongs_to() -> None:
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(lines)
    handler.setFormatter(JsonFormatter())
    log().addHandler(handler)
    record = LogContext().begin_request(ask(request_id="r-1"))
    log().warning("late")
    record.end(reply=None, error=None)
    log().removeHandler(handler)

    line = json.loads(logging.Formatter().format(lines.get_nowait()))  # as a listener does, outside of any request

    assert (line["message"], line["request_id"]) == ("late", "r-1")


async def test_requests_at_once_each_log_their_own_name_along_the_whole_path(stream: io.StringIO) -> None:
    class Noting(Answering):
        async def complete(self, prompt: Prompt) -> Completion:
            log().info("asked %s", prompt.messages[-1].content)
            return await super().complete(prompt)

    async with (
        opened({"a": Noting(delay_s=1.0)}, recorders=[LogContext()]) as service,
        anyio.create_task_group() as tasks,
    ):
        for number in range(5):
            tasks.start_soon(service.submit, ask(f"question {number}", request_id=f"r-{number}", tenant=f"t-{number}"))

    lines = lines_of(stream)
    assert sorted((line["message"], line["request_id"], line["tenant"]) for line in lines) == [
        (f"asked question {number}", f"r-{number}", f"t-{number}") for number in range(5)
    ]
    assert {(line["attempt"], line["backend"]) for line in lines} == {(1, "a")}


async def test_events_of_a_request_carry_its_name(stream: io.StringIO) -> None:
    settings = Settings(guard=GuardSettings(retry=RetryPolicy(max_attempts=2, jitter=Jitter.NONE)))
    backend = Answering(failing=lambda call: unavailable() if call == 1 else None)
    async with opened(
        {"a": backend}, settings, recorders=[LogContext()], event_sinks=(LoggingEventSink(LOGGER),)
    ) as service:
        await service.submit(ask(request_id="r-1"))

    told = [(line["event"], line.get("request_id")) for line in lines_of(stream)]
    assert ("retry_scheduled", "r-1") in told
    assert ("request_answered", "r-1") in told


async def test_block_of_a_stream_is_part_of_its_request() -> None:
    backend = ScriptedBackend("a", in_turn(Pieces(pieces=("4", "2"))), clock=VirtualClock())
    async with opened({"a": backend}, recorders=[LogContext()]) as service:
        async with service.stream(ask(request_id="r-1")) as stream:
            inside = current_context().get("request_id")
            await stream.reply()
        outside = current_context()

    assert inside == "r-1"
    assert outside == {}


async def test_submit_cancelled_at_any_moment_leaves_no_context_behind() -> None:
    async with opened({"a": Answering(delay_s=1.0)}, recorders=[LogContext()]) as service:
        left: list[object] = []

        async def scenario() -> None:
            try:
                await service.submit(ask_anew())
            finally:
                left.append(current_context())

        async def check() -> None:
            assert current_context() == {}

        assert await sweep_cancellation(scenario, check) > 0

    assert all(context == {} for context in left)


@pytest.mark.parametrize("with_prompts", [False, True])
async def test_prompt_and_answer_are_logged_only_where_that_is_asked_for(
    stream: io.StringIO, with_prompts: bool
) -> None:
    context = LogContext(with_prompts=with_prompts, logger_name=LOGGER)
    async with opened(
        {"a": Answering(text="the secret answer")},
        recorders=[context],
        event_sinks=(LoggingEventSink(LOGGER),),
    ) as service:
        await service.submit(ask("the secret question"))

    text = stream.getvalue()
    assert ("the secret question" in text) is with_prompts
    assert ("the secret answer" in text) is with_prompts


async def test_prompt_of_an_attempt_that_failed_is_logged_with_its_error(stream: io.StringIO) -> None:
    record = LogContext(with_prompts=True, logger_name=LOGGER).begin_attempt(PROMPT, backend="a", number=1)
    record.end(completion=None, error=BackendUnavailableError("is down", backend="a"))

    [line] = lines_of(stream)
    assert (line["event"], line["answer"], line["error"]) == ("attempt_made", None, "BackendUnavailableError")
    assert line["messages"] == [{"role": "user", "content": "the secret question"}]


async def test_exception_of_the_application_is_logged_with_its_type_and_stack(stream: io.StringIO) -> None:
    try:
        int("no number")
    except ValueError:
        log().exception("failed")

    [line] = lines_of(stream)
    assert (line["message"], line["error"], line["level"]) == ("failed", "ValueError", "error")
    assert line["stack"].startswith("Traceback")


@pytest.mark.parametrize("name", ["two\nlines", 'say "x"', "\x00\x1b[31m", "\ud800", "%s {0}"])
async def test_line_is_one_line_of_json_whatever_a_tenant_is_called(stream: io.StringIO, name: str) -> None:
    record = LogContext().begin_request(Request(messages=(), tenant=name))
    log().info("inside")
    record.end(reply=None, error=None)

    [line] = lines_of(stream)
    assert line["tenant"] == name


async def test_time_is_that_of_the_record_in_utc() -> None:
    record = logging.makeLogRecord({"created": 0.25, "msg": "x", "name": "n", "levelname": "INFO"})

    assert json.loads(JsonFormatter().format(record))["time"] == "1970-01-01T00:00:00.250+00:00"


async def test_json_log_leaves_the_logging_as_it_was() -> None:
    logger = logging.getLogger(f"{__name__}.other")
    logger.setLevel(logging.ERROR)
    stream = io.StringIO()
    with json_log(stream, level=logging.INFO, logger_name=logger.name):
        logger.info("inside")
    logger.info("outside")

    assert [line["message"] for line in lines_of(stream)] == ["inside"]
    assert (logger.level, logger.handlers) == (logging.ERROR, [])


async def test_json_log_leaves_out_what_is_below_its_level() -> None:
    stream = io.StringIO()
    with json_log(stream, level=logging.WARNING, logger_name=f"{__name__}.quiet"):
        logging.getLogger(f"{__name__}.quiet.below").info("too quiet")
        logging.getLogger(f"{__name__}.quiet.below").warning("loud enough")

    assert [line["message"] for line in lines_of(stream)] == ["loud enough"]
