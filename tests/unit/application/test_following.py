"""Whoever follows requests and attempts sees each begin and end once, and finds them in one trace."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest
from dependency_injector import providers

from holdfast.adapters.inference.scripted import Fault, Pieces, ScriptedBackend, in_turn
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.recorders import Recorders
from holdfast.application.settings import GuardSettings, Settings
from holdfast.application.wiring import make_container, open_orchestrator
from holdfast.domain.hedge import HedgeConfig
from holdfast.domain.retry_policy import Jitter, RetryPolicy
from holdfast.ports.errors import (
    AttemptTimeoutError,
    BackendUnavailableError,
    ClosedError,
    DeadlineExceededError,
    RequestError,
    StreamInterruptedError,
)
from holdfast.ports.inference import Message, Prompt, Role
from holdfast.ports.service import Disposition, Request
from holdfast.ports.trace import TraceContext
from holdfast.testing import VirtualClock, sweep_cancellation
from tests.fakes.recorder import Following
from tests.fakes.service import ONCE, Answering, ask, ask_anew, assert_nothing_is_held, opened, unavailable

pytestmark = pytest.mark.anyio

PROMPT = Prompt(messages=(Message(role=Role.USER, content="?"),))
CALLER = TraceContext(trace_id="a" * 32, span_id="b" * 16, is_sampled=True)


def guarded(**guard: object) -> Settings:
    return Settings(guard=GuardSettings.model_validate(guard))


async def test_submit_that_is_answered_ends_its_record_with_the_reply() -> None:
    follower = Following()
    async with opened({"a": Answering()}, recorders=[follower]) as service:
        reply = await service.submit(ask())

    [record] = follower.requests
    assert record.endings == [(reply, None)]


async def test_submit_that_fails_ends_its_record_with_that_very_error() -> None:
    follower = Following()
    async with opened({"a": Answering(failing=unavailable)}, Settings(guard=ONCE), recorders=[follower]) as service:
        with pytest.raises(BackendUnavailableError) as caught:
            await service.submit(ask())

    [record] = follower.requests
    assert record.endings == [(None, caught.value)]


@pytest.mark.parametrize("is_drained", [False, True])
async def test_submit_that_is_not_let_in_is_followed_too(is_drained: bool) -> None:
    follower = Following()
    async with opened({"a": Answering()}, recorders=[follower]) as service:
        if is_drained:
            await service.drain(timeout_s=1.0)
        with pytest.raises(ClosedError if is_drained else RequestError) as caught:
            await service.submit(ask() if is_drained else Request(messages=()))

    [record] = follower.requests
    assert record.endings == [(None, caught.value)]
    assert follower.attempts == []


async def test_submit_that_is_too_late_ends_its_record_with_the_deadline() -> None:
    follower = Following()
    async with opened({"a": Answering(delay_s=60.0)}, recorders=[follower]) as service:
        with pytest.raises(DeadlineExceededError) as caught:
            await service.submit(ask(timeout_s=1.0))

    [record] = follower.requests
    assert record.endings == [(None, caught.value)]


async def test_each_attempt_is_followed_with_its_number_and_how_it_ended() -> None:
    follower = Following()
    backend = Answering(failing=lambda call: unavailable() if call == 1 else None)
    settings = guarded(retry=RetryPolicy(max_attempts=2, jitter=Jitter.NONE))
    async with opened({"a": backend}, settings, recorders=[follower]) as service:
        await service.submit(ask())

    first, second = follower.attempts
    assert [(first.backend, first.number), (second.backend, second.number)] == [("a", 1), ("a", 2)]
    assert [type(error) for _, error in first.endings] == [BackendUnavailableError]
    assert [completion and completion.text for completion, _ in second.endings] == ["42"]


async def test_attempt_at_the_backend_that_is_fallen_back_to_goes_on_counting() -> None:
    follower = Following()
    backends = {"a": Answering(failing=unavailable), "b": Answering()}
    async with opened(backends, Settings(guard=ONCE), recorders=[follower]) as service:
        await service.submit(ask())

    assert [(attempt.backend, attempt.number) for attempt in follower.attempts] == [("a", 1), ("b", 2)]


async def test_attempt_that_takes_too_long_ends_with_its_timeout() -> None:
    follower = Following()
    settings = guarded(retry=ONCE.retry, attempt_timeout_s=1.0)
    async with opened({"a": Answering(delay_s=5.0)}, settings, recorders=[follower]) as service:
        with pytest.raises(AttemptTimeoutError):
            await service.submit(ask())

    [attempt] = follower.attempts
    assert [type(error) for _, error in attempt.endings] == [AttemptTimeoutError]


async def test_both_attempts_of_a_hedged_call_are_followed_and_the_loser_ends_cancelled() -> None:
    follower = Following()
    backend = Answering(delay_s=lambda call: 20.0 if call == 101 else 0.1)
    settings = Settings(
        guard=GuardSettings(retry=ONCE.retry, hedge=HedgeConfig(min_samples=100)),
    )
    async with opened({"a": backend}, settings, recorders=[follower]) as service:
        for _ in range(101):
            await service.submit(ask_anew())

    loser, winner = follower.attempts[100:]
    assert [completion and completion.text for completion, _ in winner.endings] == ["42"]
    assert [isinstance(error, anyio.get_cancelled_exc_class()) for _, error in loser.endings] == [True]
    assert loser.within is winner.within is follower.requests[100]


async def test_backend_is_asked_in_the_trace_that_the_caller_stands_in() -> None:
    backend = Answering()
    follower = Following()
    async with opened({"a": backend}, recorders=[follower]) as service:
        await service.submit(ask(trace=CALLER))

    [request], [attempt], [prompt] = follower.requests, follower.attempts, backend.prompts
    assert request.request.trace == TraceContext(trace_id=CALLER.trace_id, span_id=f"{1:016x}")
    assert attempt.prompt.trace == TraceContext(trace_id=CALLER.trace_id, span_id=f"{2:016x}")
    assert prompt.trace == attempt.prompt.trace


async def test_backend_is_told_the_callers_own_place_where_nobody_follows() -> None:
    backend = Answering()
    async with opened({"a": backend}) as service:
        await service.submit(ask(trace=CALLER))

    assert [prompt.trace for prompt in backend.prompts] == [CALLER]


async def test_requests_that_differ_in_their_traces_alone_share_one_answer() -> None:
    backend = Answering()
    async with opened({"a": backend}) as service:
        await service.submit(ask())
        reply = await service.submit(ask(trace=CALLER))

    assert (reply.disposition, backend.calls) == (Disposition.CACHED, 1)


async def test_attempt_that_many_share_is_made_in_the_context_of_the_one_it_was_called_for() -> None:
    follower = Following()
    async with (
        opened({"a": Answering(delay_s=1.0)}, recorders=[follower]) as service,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(3):
            tasks.start_soon(service.submit, ask())

    [attempt] = follower.attempts
    called = [
        record
        for record in follower.requests
        for reply, _ in record.endings
        if reply and not reply.disposition.is_shared
    ]
    assert len(follower.requests) == 3
    assert [attempt.within] == called


async def test_stream_that_is_read_to_its_end_ends_its_records_with_reply_and_completion() -> None:
    follower = Following()
    backend = ScriptedBackend("a", in_turn(Pieces(pieces=("4", "2"))), clock=VirtualClock())
    async with opened({"a": backend}, recorders=[follower]) as service, service.stream(ask()) as stream:
        text = "".join([piece async for piece in stream])
        reply = await stream.reply()

    assert text == "42"
    [request], [attempt] = follower.requests, follower.attempts
    assert request.endings == [(reply, None)]
    assert [completion and completion.text for completion, _ in attempt.endings] == ["42"]


async def test_stream_that_is_left_ends_its_record_with_neither() -> None:
    follower = Following()
    async with opened({"a": Answering(delay_s=5.0)}, recorders=[follower]) as service, service.stream(ask()):
        pass

    [record] = follower.requests
    assert record.endings == [(None, None)]


async def test_stream_whose_reader_was_told_of_a_failure_ends_its_record_with_it() -> None:
    follower = Following()
    cut = Pieces(pieces=("4",), ending=Fault(error=unavailable()))
    backend = ScriptedBackend("a", in_turn(cut), clock=VirtualClock())
    async with (
        opened({"a": backend}, Settings(guard=ONCE), recorders=[follower]) as service,
        service.stream(ask()) as stream,
    ):
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.reply()

    [record] = follower.requests
    assert record.endings == [(None, caught.value)]


async def test_submit_cancelled_at_any_moment_ends_every_record_once() -> None:
    follower = Following()
    settings = guarded(retry=RetryPolicy(max_attempts=2, jitter=Jitter.NONE))
    backend = Answering(delay_s=1.0, failing=lambda call: unavailable() if call % 2 else None)
    async with opened({"a": backend}, settings, recorders=[follower]) as service:

        async def scenario() -> None:
            await service.submit(ask_anew())

        async def check() -> None:
            await service.submit(ask_anew())
            assert_nothing_is_held(service.health())

        assert await sweep_cancellation(scenario, check) > 0

    assert {len(record.endings) for record in follower.requests} == {1}
    assert {len(record.endings) for record in follower.attempts} == {1}


async def test_recorders_each_follow_what_the_one_before_made_of_it() -> None:
    outer, inner = Following(), Following()
    recorders = Recorders([outer, inner])

    request = recorders.begin_request(ask())
    attempt = recorders.begin_attempt(PROMPT, backend="a", number=1)

    assert outer.requests[0].request.trace == TraceContext(trace_id="f" * 32, span_id=f"{1:016x}")
    assert inner.requests[0].request == request.request
    assert inner.attempts[0].prompt == attempt.prompt


async def test_recorders_hear_of_the_end_in_reverse() -> None:
    outer, inner = Following(), Following()
    request = Recorders([outer, inner]).begin_request(ask())
    attempt = Recorders([outer, inner]).begin_attempt(PROMPT, backend="a", number=1)
    request.end(reply=None, error=None)
    attempt.end(completion=None, error=None)

    assert outer.requests[0].ended_at > inner.requests[0].ended_at
    assert outer.attempts[0].ended_at > inner.attempts[0].ended_at


@pytest.mark.real_time
async def test_open_orchestrator_takes_recorders_of_ones_own_after_those_of_the_settings() -> None:
    follower = Following()
    async with open_orchestrator(backends={"a": Answering()}, recorders=[follower]) as service:
        assert isinstance(service, Orchestrator)
        await service.submit(ask())

    assert (len(follower.requests), len(follower.attempts)) == (1, 1)


async def test_make_container_keeps_the_recorders_that_were_there() -> None:
    first, second = Following(), Following()
    container = make_container(recorders=[first])
    container.recorders.override(providers.Object((*container.recorders(), second)))

    assert list(container.recorders()) == [first, second]


async def test_request_that_is_followed_keeps_everything_else_as_it_was() -> None:
    follower = Following()
    request = ask(tenant="alice", request_id="r-1", session_id=None)
    async with opened({"a": Answering()}, recorders=[follower]) as service:
        await service.submit(request)

    assert replace(follower.requests[0].request, trace=None) == request
