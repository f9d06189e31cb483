"""The wired path, met by a request that goes through `Orchestrator.stream`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import anyio
import pytest

from holdfast.adapters.inference.scripted import Answer, Fault, Hang, Pieces, ScriptedBackend, Step, in_turn
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import GuardSettings, Settings
from holdfast.domain.circuit_breaker import BreakerConfig
from holdfast.domain.retry_policy import RetryPolicy
from holdfast.domain.route_choice import RoutingConfig, RoutingStrategy
from holdfast.domain.stream_outlet import StreamingConfig
from holdfast.ports.errors import (
    AttemptTimeoutError,
    BackendProtocolError,
    BackendRequestError,
    BackendUnavailableError,
    BreakerOpenError,
    ClosedError,
    DeadlineExceededError,
    RequestError,
    SlowReaderError,
    StreamInterruptedError,
)
from holdfast.ports.events import (
    FellBack,
    RequestAnswered,
    RequestFailed,
    RetryScheduled,
    StreamCut,
    StreamReaderDropped,
)
from holdfast.ports.inference import (
    Completion,
    Parameters,
    Prompt,
    ResponseFormat,
    Usage,
)
from holdfast.ports.service import Disposition, Reply, Request
from holdfast.ports.statistics import BreakerState
from holdfast.testing import VirtualClock
from tests.fakes.service import ONCE, ask, assert_nothing_is_held, opened, told

pytestmark = pytest.mark.anyio

WORDS = ("It ", "is ", "42", ".")
TEXT = "".join(WORDS)
USAGE = Usage(input_tokens=7, output_tokens=4)
SPOKEN = Pieces(pieces=WORDS, delay_s=1.0, between_s=1.0, usage=USAGE)
CUT = Pieces(
    pieces=WORDS[:2], delay_s=1.0, between_s=1.0, ending=Fault(error=BackendUnavailableError("gone", backend="a"))
)
DOWN = Fault(error=BackendUnavailableError("is down", backend="a"))


def scripted(*steps: Step, name: str = "a") -> ScriptedBackend:
    return ScriptedBackend(name, in_turn(*steps), clock=VirtualClock())


async def read(orchestrator: Orchestrator, request: Request | None = None) -> tuple[list[str], Reply]:
    pieces: list[str] = []
    return pieces, await read_into(pieces, orchestrator, request)


async def read_into(pieces: list[str], orchestrator: Orchestrator, request: Request | None = None) -> Reply:
    """Read a stream; what came before it failed is in `pieces`."""
    async with orchestrator.stream(request or ask()) as stream:
        async for piece in stream:
            pieces.append(piece)  # noqa: PERF401 - one by one, so that they are there when it fails
        return await stream.reply()


async def read_and_stop(orchestrator: Orchestrator, request: Request, *, pause_s: float) -> None:
    """Read one piece, nothing for a while, and then all of it."""
    async with orchestrator.stream(request) as stream:
        await anext(aiter(stream))
        await anyio.sleep(pause_s)
        await stream.reply()


async def test_stream_plain_question_takes_the_whole_path_and_tells_what_happened() -> None:
    async with opened({"a": scripted(SPOKEN)}) as orchestrator:
        began_s = anyio.current_time()
        async with orchestrator.stream(replace(ask(), request_id="r-1")) as stream:
            heard = [(anyio.current_time() - began_s, piece) async for piece in stream]
            reply = await stream.reply()
        health = orchestrator.health()

    assert [piece for _, piece in heard] == list(WORDS)
    assert [at_s for at_s, _ in heard] == pytest.approx([1.0, 2.0, 3.0, 4.0])
    assert (reply.text, reply.backend, reply.usage, reply.request_id) == (TEXT, "a", USAGE, "r-1")
    assert (reply.disposition, reply.attempts) == (Disposition.CALLED, 1)
    assert reply.backend_s == pytest.approx(4.0)
    assert health.latency.p50_s == pytest.approx(4.0)
    assert (health.requests.answered, health.admission.granted, health.deduplication.called) == (1, 1, 1)
    assert (health.backends[0].breaker.succeeded, health.backends[0].pool.leases) == (1, 1)
    assert_nothing_is_held(health)


async def test_stream_is_held_by_the_admission_slot_as_long_as_the_backend_speaks() -> None:
    async with opened({"a": scripted(SPOKEN)}) as orchestrator, orchestrator.stream(ask()) as stream:
        await anext(aiter(stream))

        assert orchestrator.health().admission.limit.in_flight == 1
        assert orchestrator.health().backends[0].pool.leased == 1


async def test_stream_of_a_backend_that_cannot_stream_comes_as_one_piece() -> None:
    class Plain:
        async def complete(self, prompt: Prompt) -> Completion:
            return Completion(text=TEXT, model="m")

    async with opened({"a": Plain()}) as orchestrator:
        pieces, reply = await read(orchestrator)

    assert (pieces, reply.text) == ([TEXT], TEXT)


async def test_stream_json_asked_for_comes_as_one_piece_without_its_fences() -> None:
    fenced = Pieces(pieces=("```json\n", '{"answer"', ": 42}", "\n```"))
    request = replace(ask(), parameters=Parameters(response_format=ResponseFormat.JSON))
    async with opened({"a": scripted(fenced)}) as orchestrator:
        pieces, reply = await read(orchestrator, request)

    assert pieces == ['{"answer": 42}']
    assert reply.text == '{"answer": 42}'


async def test_stream_20_identical_at_once_make_one_call_and_each_is_complete() -> None:
    backend = scripted(SPOKEN)
    ends: list[tuple[str, Disposition]] = []
    async with opened({"a": backend}) as orchestrator:

        async def stream() -> None:
            pieces, reply = await read(orchestrator)
            ends.append(("".join(pieces), reply.disposition))

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(stream)
        health = orchestrator.health()

    assert backend.calls == 1
    assert [text for text, _ in ends] == [TEXT] * 20
    assert sorted(disposition for _, disposition in ends) == [Disposition.CALLED] + [Disposition.JOINED] * 19
    assert (health.admission.granted, health.streams.completed) == (1, 20)
    assert_nothing_is_held(health)


async def test_stream_late_follower_replays_what_was_sent_and_then_follows() -> None:
    backend, early = scripted(SPOKEN), list[str]()
    async with opened({"a": backend}) as orchestrator, anyio.create_task_group() as tasks:

        async def lead() -> None:
            early.extend((await read(orchestrator))[0])

        tasks.start_soon(lead)
        await anyio.sleep(2.5)
        late, reply = await read(orchestrator)

    assert (early, late) == (list(WORDS), ["It is ", "42", "."])
    assert reply.disposition is Disposition.JOINED
    assert backend.calls == 1


@pytest.mark.parametrize("first", ["stream", "submit"])
async def test_stream_and_submit_of_the_same_request_share_one_call(first: str) -> None:
    backend, texts = scripted(SPOKEN), dict[str, str]()
    async with opened({"a": backend}) as orchestrator, anyio.create_task_group() as tasks:

        async def stream() -> None:
            texts["stream"] = "".join((await read(orchestrator))[0])

        async def submit() -> None:
            texts["submit"] = (await orchestrator.submit(ask())).text

        for work in (stream, submit) if first == "stream" else (submit, stream):
            tasks.start_soon(work)
            await anyio.sleep(0.5)

    assert texts == {"stream": TEXT, "submit": TEXT}
    assert backend.calls == 1


async def test_stream_answer_is_kept_for_identical_streams_and_submits() -> None:
    backend = scripted(SPOKEN)
    async with opened({"a": backend}) as orchestrator:
        await read(orchestrator)
        pieces, reply = await read(orchestrator)
        submitted = await orchestrator.submit(ask())

    assert pieces == [TEXT]
    assert [reply.disposition, submitted.disposition] == [Disposition.CACHED, Disposition.CACHED]
    assert backend.calls == 1


async def test_stream_that_opts_out_is_called_for_itself() -> None:
    backend = scripted(SPOKEN)
    async with opened({"a": backend}) as orchestrator:
        await read(orchestrator)
        pieces, reply = await read(orchestrator, replace(ask(), no_cache=True))
        health = orchestrator.health()

    assert pieces == list(WORDS)
    assert reply.disposition is Disposition.CALLED
    assert backend.calls == 2
    assert health.deduplication.requests == 1
    assert_nothing_is_held(health)


async def test_stream_failure_before_the_first_piece_is_retried_on_the_same_backend() -> None:
    backend = scripted(DOWN, SPOKEN)
    async with opened({"a": backend}) as orchestrator:
        pieces, reply = await read(orchestrator)
        events = [recorded.event for recorded in orchestrator.events]

    assert (pieces, reply.attempts) == (list(WORDS), 2)
    assert any(isinstance(event, RetryScheduled) for event in events)


async def test_stream_failure_before_the_first_piece_falls_back_to_the_next_backend() -> None:
    backends = {"a": scripted(DOWN), "b": scripted(SPOKEN, name="b")}
    async with opened(backends, Settings(guard=ONCE)) as orchestrator:
        pieces, reply = await read(orchestrator)
        events = [recorded.event for recorded in orchestrator.events]

    assert (pieces, reply.backend, reply.attempts) == (list(WORDS), "b", 2)
    assert FellBack(failed="a", following="b", error="BackendUnavailableError") in events


async def test_stream_cut_after_a_piece_is_told_with_what_was_sent_and_tried_nowhere_else() -> None:
    cut, spare = scripted(CUT), scripted(SPOKEN, name="b")
    pieces: list[str] = []
    async with opened({"a": cut, "b": spare}) as orchestrator:
        with pytest.raises(StreamInterruptedError) as caught:
            await read_into(pieces, orchestrator)
        await anyio.sleep(1.0)
        health = orchestrator.health()
        events = [recorded.event for recorded in orchestrator.events]

    assert pieces == list(WORDS[:2])
    assert (caught.value.backend, caught.value.text_sent) == ("a", "It is ")
    assert isinstance(caught.value.__cause__, StreamInterruptedError)
    assert isinstance(caught.value.__cause__.__cause__, BackendUnavailableError)
    assert (cut.calls, spare.calls) == (1, 0)
    assert (health.backends[0].breaker.failed, health.streams.interrupted, health.requests.failed) == (1, 1, 1)
    assert StreamCut(backend="a", sent_bytes=6, error="BackendUnavailableError") in events
    assert [event.error for event in events if isinstance(event, RequestFailed)] == ["StreamInterruptedError"]
    assert_nothing_is_held(health)


async def test_stream_cuts_open_the_breaker_as_any_other_failure() -> None:
    guard = GuardSettings(breaker=BreakerConfig(failures_in_row=2))
    async with opened({"a": scripted(CUT)}, Settings(guard=guard)) as orchestrator:
        for number in range(2):
            with pytest.raises(StreamInterruptedError):
                await read(orchestrator, ask(f"question {number}"))
        with pytest.raises(BreakerOpenError):
            await read(orchestrator, ask("one more"))


async def test_stream_cut_is_not_kept_so_that_asking_again_calls_again() -> None:
    backend = scripted(CUT, SPOKEN)
    async with opened({"a": backend}) as orchestrator:
        with pytest.raises(StreamInterruptedError):
            await read(orchestrator)
        pieces, _ = await read(orchestrator)

    assert pieces == list(WORDS)


async def test_stream_callers_mistake_is_raised_as_it_is() -> None:
    strict = scripted(Fault(error=BackendRequestError("too long", backend="a")))
    async with opened({"a": strict, "b": scripted(SPOKEN)}) as orchestrator:
        with pytest.raises(BackendRequestError, match="too long"):
            await read(orchestrator)

    assert strict.calls == 1


async def test_stream_first_piece_that_takes_too_long_is_an_attempt_that_timed_out() -> None:
    guard = GuardSettings(attempt_timeout_s=2.0, retry=RetryPolicy(max_attempts=1))
    async with opened({"a": scripted(Hang())}, Settings(guard=guard)) as orchestrator:
        with pytest.raises(AttemptTimeoutError):
            await read(orchestrator)

        assert orchestrator.health().backends[0].breaker.failed == 1


async def test_stream_that_goes_silent_is_cut_after_the_idle_timeout() -> None:
    guard = GuardSettings(stream_idle_timeout_s=2.0)
    silent = scripted(Pieces(pieces=WORDS[:2], ending=Hang()))
    async with opened({"a": silent}, Settings(guard=guard)) as orchestrator:
        with pytest.raises(StreamInterruptedError) as caught:
            await read(orchestrator)

    assert caught.value.text_sent == "It is "
    assert silent.in_flight == 0


async def test_stream_longer_than_an_answer_may_be_is_cut() -> None:
    settings = Settings(streaming=StreamingConfig(max_ahead_bytes=4, max_answer_bytes=5))
    async with opened({"a": scripted(SPOKEN)}, settings) as orchestrator:
        with pytest.raises(StreamInterruptedError) as caught:
            await read(orchestrator)

    assert caught.value.text_sent == "It "
    cause = caught.value.__cause__
    assert cause is not None
    assert isinstance(cause.__cause__, BackendProtocolError)
    assert "streaming.max_answer_bytes" in str(cause.__cause__)


async def test_stream_slow_reader_holds_the_backend_back_within_the_bound() -> None:
    long = Pieces(pieces=("x" * 1000,) * 200)
    settings = Settings(streaming=StreamingConfig(stall_timeout_s=50.0))
    async with opened({"a": scripted(long)}, settings) as orchestrator:
        async with orchestrator.stream(ask()) as stream:
            most_bytes = read_bytes = 0
            async for piece in stream:
                read_bytes += len(piece)
                await anyio.sleep(0.25)
                most_bytes = max(most_bytes, orchestrator.health().streams.log_bytes - read_bytes)
        health = orchestrator.health()

    assert read_bytes == 200_000
    assert 3_000 < most_bytes <= 4 * 1024
    assert_nothing_is_held(health)


async def test_stream_slow_reader_does_not_hold_up_a_fast_one() -> None:
    long = Pieces(pieces=("x" * 1000,) * 200, between_s=0.01)
    async with opened({"a": scripted(long)}) as orchestrator, orchestrator.stream(ask()) as slow:
        began_s = anyio.current_time()
        pieces, _ = await read(orchestrator)
        took_s = anyio.current_time() - began_s
        await anyio.sleep(30.0)
        slowly = "".join([piece async for piece in slow])

    assert "".join(pieces) == slowly == "x" * 200_000
    assert took_s == pytest.approx(1.99)


async def test_stream_reader_who_stops_is_told_and_gives_the_slot_back() -> None:
    long = Pieces(pieces=("x" * 1000,) * 200)
    async with opened({"a": scripted(long), "b": scripted(SPOKEN)}) as orchestrator:
        with pytest.raises(SlowReaderError):
            await read_and_stop(orchestrator, ask(), pause_s=11.0)
        health = orchestrator.health()

    assert health.streams.stalled == 1
    assert told(orchestrator, StreamReaderDropped) == [StreamReaderDropped(stalled_s=10.0)]
    assert (health.backends[0].breaker.ignored, health.backends[0].breaker.failed) == (1, 0)
    assert_nothing_is_held(health)


async def test_stream_reader_who_stops_holds_the_slot_no_longer_than_the_stall_timeout() -> None:
    long = Pieces(pieces=("x" * 1000,) * 200)
    async with opened({"a": scripted(long)}) as orchestrator, orchestrator.stream(ask()):
        await anyio.sleep(9.0)
        before = orchestrator.health().admission.limit.in_flight
        await anyio.sleep(2.0)
        after = orchestrator.health().admission.limit.in_flight

    assert (before, after) == (1, 0)


async def test_stream_slow_readers_whose_deadlines_pass_do_not_open_the_breaker() -> None:
    long = Pieces(pieces=("x" * 1000,) * 200)
    async with opened({"a": scripted(long)}) as orchestrator:
        for number in range(10):
            with pytest.raises(DeadlineExceededError):
                await read_and_stop(orchestrator, replace(ask(f"question {number}"), timeout_s=2.0), pause_s=5.0)
        await anyio.sleep(1.0)
        health = orchestrator.health()

    assert health.backends[0].breaker.state is BreakerState.CLOSED
    assert (health.backends[0].breaker.failed, health.backends[0].breaker.ignored) == (0, 10)
    assert health.requests.expired == 10
    assert_nothing_is_held(health)


async def test_stream_slow_reader_makes_no_backend_slow_to_the_breaker_or_to_routing() -> None:
    long = Pieces(pieces=("x" * 1000,) * 200, delay_s=0.5)
    settings = Settings(
        guard=GuardSettings(breaker=BreakerConfig(slow_after_s=1.0)),
        routing=RoutingConfig(strategy=RoutingStrategy.FASTEST),
    )
    async with opened({"a": scripted(long)}, settings) as orchestrator:
        await read(orchestrator, ask("read at once"))
        await read_and_stop(orchestrator, ask("read slowly"), pause_s=9.0)
        health = orchestrator.health().backends[0]

    assert health.latency_s is not None
    assert health.latency_s <= 0.5
    assert (health.breaker.succeeded, health.breaker.slow) == (2, 0)


async def test_stream_backend_that_is_too_slow_for_the_deadline_counts_as_failed() -> None:
    silent = Pieces(pieces=WORDS[:1], ending=Hang())
    async with opened({"a": scripted(silent)}) as orchestrator:
        with pytest.raises(DeadlineExceededError, match="2 s"):
            await read(orchestrator, replace(ask(), timeout_s=2.0))
        await anyio.sleep(1.0)

        assert orchestrator.health().backends[0].breaker.failed == 1


@pytest.mark.parametrize("no_cache", [False, True])
async def test_stream_left_before_the_first_piece_cancels_the_call_and_every_count_is_back(no_cache: bool) -> None:
    backend = scripted(Hang())
    async with opened({"a": backend}) as orchestrator:
        async with orchestrator.stream(replace(ask(), no_cache=no_cache)):
            await anyio.sleep(1.0)
            during = backend.in_flight
        await anyio.sleep(1.0)
        health = orchestrator.health()

    assert (during, backend.in_flight) == (1, 0)
    assert (health.streams.left, health.requests.cancelled) == (1, 1)
    assert (health.backends[0].breaker.failed, health.backends[0].breaker.ignored) == (0, 1)
    assert_nothing_is_held(health)


async def test_stream_left_in_the_middle_cancels_the_call() -> None:
    backend = scripted(SPOKEN)
    async with opened({"a": backend}) as orchestrator:
        async with orchestrator.stream(ask()) as stream:
            async for _ in stream:
                break
        await anyio.sleep(1.0)

        assert backend.in_flight == 0
        assert_nothing_is_held(orchestrator.health())


async def test_stream_left_while_another_reads_costs_it_nothing() -> None:
    backend, texts = scripted(SPOKEN), list[str]()
    async with opened({"a": backend}) as orchestrator, anyio.create_task_group() as tasks:

        async def follow() -> None:
            texts.append("".join((await read(orchestrator))[0]))

        async with orchestrator.stream(ask()) as stream:
            await anext(aiter(stream))
            tasks.start_soon(follow)
            await anyio.sleep(0.5)

    assert texts == [TEXT]
    assert backend.calls == 1


@pytest.mark.parametrize("script", [CUT, SPOKEN], ids=["cut", "left"])
async def test_stream_that_does_not_reach_its_end_is_not_saved_in_its_session(script: Step) -> None:
    async with opened({"a": scripted(script)}) as orchestrator:
        session_id = await orchestrator.sessions.create(tenant="default")
        with anyio.move_on_after(2.5), suppress(StreamInterruptedError):
            await read(orchestrator, replace(ask(), session_id=session_id))
        await anyio.sleep(1.0)
        session = await orchestrator.sessions.open(session_id, tenant="default")

    assert session.messages == ()


@pytest.mark.parametrize("as_json", [False, True], ids=["as it comes", "whole"])
async def test_stream_left_once_its_answer_is_complete_but_not_read_is_not_saved_in_its_session(as_json: bool) -> None:
    at_once = scripted(Pieces(pieces=('{"a": ', "42}")))
    parameters = Parameters(response_format=ResponseFormat.JSON if as_json else ResponseFormat.TEXT)
    async with opened({"a": at_once}) as orchestrator:
        session_id = await orchestrator.sessions.create(tenant="default")
        async with orchestrator.stream(replace(ask(), session_id=session_id, parameters=parameters)) as stream:
            await anext(aiter(stream))
            await anyio.sleep(5.0)
            slots = orchestrator.health().admission.limit.in_flight
        await anyio.sleep(1.0)
        session = await orchestrator.sessions.open(session_id, tenant="default")

        assert session.messages == ()
        assert slots == 0  # nothing is held for a reader who takes its time
        assert_nothing_is_held(orchestrator.health())


@pytest.mark.parametrize("as_json", [False, True], ids=["as it comes", "whole"])
async def test_stream_read_slowly_to_its_end_is_saved_in_its_session(as_json: bool) -> None:
    text = '{"a": 42}'
    parameters = Parameters(response_format=ResponseFormat.JSON if as_json else ResponseFormat.TEXT)
    async with opened({"a": scripted(Pieces(pieces=(text[:4], text[4:])))}) as orchestrator:
        session_id = await orchestrator.sessions.create(tenant="default")
        async with orchestrator.stream(replace(ask(), session_id=session_id, parameters=parameters)) as stream:
            async for _ in stream:
                await anyio.sleep(12.0)
        session = await orchestrator.sessions.open(session_id, tenant="default")

    assert [message.content for message in session.messages] == [ask().messages[0].content, text]


async def test_stream_left_unread_is_saved_in_its_session_for_who_waits_for_the_whole_of_it() -> None:
    async with opened({"a": scripted(SPOKEN)}) as orchestrator, anyio.create_task_group() as tasks:
        session_id = await orchestrator.sessions.create(tenant="default")
        request = replace(ask(), session_id=session_id)
        async with orchestrator.stream(request) as stream:
            await anext(aiter(stream))
            tasks.start_soon(orchestrator.submit, request)
            await anyio.sleep(10.0)
        session = await orchestrator.sessions.open(session_id, tenant="default")

    assert [message.content for message in session.messages] == [ask().messages[0].content, TEXT]


async def test_stream_callers_own_error_passes_through_and_is_no_failure_of_the_service() -> None:
    error = ConnectionResetError("the browser went away")
    async with opened({"a": scripted(SPOKEN)}) as orchestrator:

        async def read_and_fail() -> None:
            async with orchestrator.stream(ask()) as stream:
                await anext(aiter(stream))
                raise error

        with pytest.raises(ConnectionResetError) as caught:
            await read_and_fail()
        await anyio.sleep(1.0)
        health = orchestrator.health()

    assert caught.value is error
    assert (health.requests.cancelled, health.requests.failed) == (1, 0)
    assert_nothing_is_held(health)


async def test_stream_failure_that_its_caller_handles_counts_as_failed_all_the_same() -> None:
    async with opened({"a": scripted(DOWN)}, Settings(guard=ONCE)) as orchestrator:
        async with orchestrator.stream(ask()) as stream:
            with pytest.raises(BackendUnavailableError):
                await stream.reply()
        health = orchestrator.health()

    assert (health.requests.failed, health.requests.cancelled) == (1, 0)


async def test_stream_that_is_complete_is_not_cut_at_its_deadline_and_its_latency_ends_there() -> None:
    async with opened({"a": scripted(SPOKEN)}) as orchestrator:
        async with orchestrator.stream(replace(ask(), timeout_s=5.0)) as stream:
            reply = await stream.reply()
            await anyio.sleep(100.0)
        health = orchestrator.health()
        events = [recorded.event for recorded in orchestrator.events]

    assert reply.text == TEXT
    assert health.latency.p50_s == pytest.approx(4.0)
    assert [event.latency_s for event in events if isinstance(event, RequestAnswered)] == [pytest.approx(4.0)]
    assert health.requests.answered == 1


async def test_stream_that_is_complete_is_not_waited_for_by_drain_nor_cut() -> None:
    async with opened({"a": scripted(SPOKEN)}) as orchestrator, orchestrator.stream(ask()) as stream:
        reply = await stream.reply()
        began_s = anyio.current_time()
        await orchestrator.drain(60.0)

        assert anyio.current_time() == began_s
        assert (await stream.reply()) is reply
    assert orchestrator.health().requests.answered == 1


async def test_stream_counts_under_the_ceiling_of_the_process_while_it_is_read() -> None:
    async with opened({"a": scripted(SPOKEN)}) as orchestrator:
        async with orchestrator.stream(replace(ask(), no_cache=True)) as stream:
            await anyio.sleep(2.5)
            during = orchestrator.health().memory.kept_bytes["streams"]
            await stream.reply()
        after = orchestrator.health().memory.kept_bytes["streams"]

    assert (during, after) == (len("It is "), 0)


async def test_stream_reply_drops_what_was_not_read() -> None:
    async with opened({"a": scripted(SPOKEN)}) as orchestrator, orchestrator.stream(ask()) as stream:
        first = await anext(aiter(stream))
        reply = await stream.reply()

        assert (first, reply.text) == ("It ", TEXT)
        assert await stream.reply() is reply
        assert [piece async for piece in stream] == []


async def test_stream_block_that_outlasts_the_deadline_is_cut() -> None:
    backend = scripted(SPOKEN)
    async with opened({"a": backend}) as orchestrator:
        with pytest.raises(DeadlineExceededError, match="2 s"):
            async with orchestrator.stream(replace(ask(), timeout_s=2.0)):
                await anyio.sleep(100.0)
        await anyio.sleep(1.0)

        assert backend.in_flight == 0
        assert_nothing_is_held(orchestrator.health())


@pytest.mark.parametrize("request_", [Request(messages=()), replace(ask(), timeout_s=-1.0)])
async def test_stream_wrong_request_is_refused_on_entering(request_: Request) -> None:
    backend = scripted(SPOKEN)
    async with opened({"a": backend}) as orchestrator:
        with pytest.raises(RequestError):
            async with orchestrator.stream(request_):
                pytest.fail("it came in")

        assert orchestrator.health().requests.invalid == 1
    assert backend.calls == 0


async def test_drain_lets_a_stream_finish_within_the_bound() -> None:
    texts: list[str] = []
    async with opened({"a": scripted(SPOKEN)}) as orchestrator, anyio.create_task_group() as tasks:

        async def stream() -> None:
            texts.append("".join((await read(orchestrator))[0]))

        tasks.start_soon(stream)
        await anyio.sleep(1.5)
        await orchestrator.drain(60.0)

        assert texts == [TEXT]
        with pytest.raises(ClosedError):
            await read(orchestrator)


async def test_drain_tells_a_stream_that_takes_longer() -> None:
    told: list[str] = []
    backend = scripted(SPOKEN)
    async with opened({"a": backend}) as orchestrator, anyio.create_task_group() as tasks:

        async def stream() -> None:
            pieces: list[str] = []
            try:
                await read_into(pieces, orchestrator)
            except ClosedError:
                told.extend(pieces)

        tasks.start_soon(stream)
        await anyio.sleep(1.5)
        await orchestrator.drain(1.0)
        await anyio.sleep(1.0)

        assert told == ["It ", "is "]
        assert backend.in_flight == 0
        assert_nothing_is_held(orchestrator.health())


async def test_orchestrator_that_closes_tells_those_who_still_read() -> None:
    backend, pieces, told = scripted(SPOKEN), list[str](), list[str]()
    async with anyio.create_task_group() as tasks, opened({"a": backend}) as orchestrator:

        async def stream() -> None:
            try:
                await read_into(pieces, orchestrator)
            except ClosedError:
                told.append("closed")

        tasks.start_soon(stream)
        await anyio.sleep(1.5)

    assert (pieces, told) == (["It "], ["closed"])
    assert backend.in_flight == 0
    assert_nothing_is_held(orchestrator.health())


class SteppingBack:
    """A monotonic clock, as broken as one can be: after a while it is an hour earlier."""

    def __init__(self) -> None:
        self.back_s = 0.0

    def monotonic_s(self) -> float:
        return anyio.current_time() - self.back_s

    async def sleep(self, delay_s: float) -> None:
        await anyio.sleep(delay_s)


async def test_stream_clock_steps_back_an_hour_every_stream_ends_and_every_count_is_back() -> None:
    clock = SteppingBack()
    backend = scripted(SPOKEN, Answer(text="again"))
    async with opened({"a": backend}, clock=clock) as orchestrator:
        async with orchestrator.stream(ask()) as stream:
            await anext(aiter(stream))
            clock.back_s = 3600.0
            rest = [piece async for piece in stream]
        pieces, _ = await read(orchestrator, replace(ask(), no_cache=True))
        health = orchestrator.health()

    assert (rest, pieces) == (list(WORDS[1:]), ["again"])
    assert_nothing_is_held(health)
