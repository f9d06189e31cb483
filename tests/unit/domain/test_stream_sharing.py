"""`SharedStreams`: who gets what of a shared answer, and when its call goes on, waits and ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, closing

import anyio
import pytest

from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.deduplicator import Deduplicator
from holdfast.domain.stream_outlet import Outlet, StreamingConfig
from holdfast.domain.stream_reader import StreamReader
from holdfast.domain.stream_sharing import SharedStreams
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import (
    BackendUnavailableError,
    ClosedError,
    SlowReaderError,
    StreamInterruptedError,
)
from holdfast.ports.events import Event, StreamCut, StreamReaderDropped
from holdfast.ports.service import Disposition, Priority
from holdfast.ports.statistics import StreamStatistics
from holdfast.testing import VirtualClock
from tests.fakes.deduplication import KEY, OTHER, Backend, settle, urgency

pytestmark = pytest.mark.anyio

PIECES = ("Once ", "upon ", "a ", "time")
TEXT = "".join(PIECES)


class Teller:
    """Tells a story, one piece a second, and counts."""

    def __init__(self, *pieces: str, failing: Exception | None = None, fail_after: int = 0) -> None:
        self.pieces = pieces or PIECES
        self.failing = failing
        self.fail_after = fail_after
        self.calls = 0
        self.cancelled = 0
        self.sent = 0
        self.urgencies: list[Urgency] = []

    async def __call__(self, flight: Urgency, outlet: Outlet) -> str:
        self.calls += 1
        self.urgencies.append(flight)
        try:
            for number, piece in enumerate(self.pieces):
                if self.failing is not None and number == self.fail_after:
                    raise self.failing
                await anyio.sleep(1.0)
                await outlet.deliver(piece)
                self.sent += 1
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        return "".join(self.pieces)


class Sink:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


class Streams:
    """Both engines, as the application opens them."""

    def __init__(self, config: StreamingConfig, sink: Sink | None = None) -> None:
        self.deduplicator = Deduplicator[str](clock=VirtualClock(), size_of=len)
        self.shared = SharedStreams[str](
            config, shared=self.deduplicator, text_of=str, clock=VirtualClock(), events=sink
        )

    def open(
        self,
        work: Callable[[Urgency, Outlet], Awaitable[str]],
        key: DeduplicationKey | None = KEY,
        asked: Urgency | None = None,
    ) -> StreamReader[str]:
        return self.shared.open(key, work, urgency=asked or urgency())

    async def read(
        self, work: Callable[[Urgency, Outlet], Awaitable[str]], key: DeduplicationKey | None = KEY
    ) -> list[str]:
        pieces: list[str] = []
        with closing(self.open(work, key)) as reader:
            while piece := await reader.next_piece():
                pieces.append(piece)
        return pieces


@asynccontextmanager
async def opened(sink: Sink | None = None, **config: float) -> AsyncGenerator[Streams]:
    streams = Streams(StreamingConfig(**config), sink)  # type: ignore[arg-type] # numbers of both kinds
    async with streams.deduplicator, streams.shared:
        yield streams


def assert_conserved(streams: Streams) -> StreamStatistics:
    s = streams.shared.statistics()
    assert s.opened == s.called + s.joined + s.cached
    assert s.opened == s.reading + s.completed + s.failed + s.left
    if s.reading == 0 and streams.deduplicator.statistics().in_flight == 0:
        assert (s.logs, s.log_bytes) == (0, 0)
    return s


async def test_reader_gets_each_piece_as_it_comes_and_then_the_answer() -> None:
    async with opened() as streams:
        pieces: list[tuple[float, str]] = []
        began_s = anyio.current_time()
        with closing(streams.open(Teller())) as reader:
            while piece := await reader.next_piece():
                pieces.append((anyio.current_time() - began_s, piece))
            value = await reader.value()

        assert [piece for _, piece in pieces] == list(PIECES)
        assert [at_s for at_s, _ in pieces] == pytest.approx([1.0, 2.0, 3.0, 4.0])
        assert (value, reader.disposition) == (TEXT, Disposition.CALLED)
        assert assert_conserved(streams).completed == 1


@pytest.mark.parametrize("key", [KEY, None], ids=["shared", "shared with nobody"])
async def test_next_piece_after_the_end_gives_nothing(key: DeduplicationKey | None) -> None:
    async with opened() as streams:
        reader = streams.open(Teller(), key)
        await reader.value()
        reader.close()

        assert await reader.next_piece() == ""
        assert await reader.value() == TEXT


async def test_20_identical_streams_make_one_call_and_each_gets_all_of_it() -> None:
    teller, texts = Teller(), list[str]()
    async with opened() as streams:

        async def read() -> None:
            texts.append("".join(await streams.read(teller)))

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(read)
        s = assert_conserved(streams)

    assert texts == [TEXT] * 20
    assert teller.calls == 1
    assert (s.called, s.joined, s.completed) == (1, 19, 20)


async def test_streams_without_a_key_share_with_nobody_and_are_not_kept() -> None:
    teller, texts = Teller(), list[str]()
    async with opened() as streams:

        async def read() -> None:
            texts.append("".join(await streams.read(teller, None)))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(read)
        await read()

        assert texts == [TEXT] * 4
        assert teller.calls == 4
        assert assert_conserved(streams).called == 4
        assert streams.deduplicator.statistics().requests == 0


async def test_late_follower_replays_what_was_sent_and_then_follows_live() -> None:
    teller, early, late = Teller(), list[str](), list[str]()
    async with opened() as streams:

        async def read() -> None:
            early.extend(await streams.read(teller))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await anyio.sleep(2.5)
            late.extend(await streams.read(teller))

    assert early == list(PIECES)
    assert late == ["Once upon ", "a ", "time"]
    assert teller.calls == 1


async def test_stream_after_the_end_is_cached_and_comes_as_one_piece() -> None:
    teller = Teller()
    async with opened() as streams:
        await streams.read(teller)
        with closing(streams.open(teller)) as reader:
            pieces = [await reader.next_piece(), await reader.next_piece()]

        assert pieces == [TEXT, ""]
        assert reader.disposition is Disposition.CACHED
        assert teller.calls == 1
        assert assert_conserved(streams).cached == 1


async def test_answer_of_which_nothing_was_delivered_comes_as_one_piece() -> None:
    async def answer(flight: Urgency, outlet: Outlet) -> str:
        return TEXT

    async with opened() as streams:
        assert await streams.read(answer) == [TEXT]


async def test_answer_without_text_has_no_piece() -> None:
    async def answer(flight: Urgency, outlet: Outlet) -> str:
        await outlet.deliver("")
        return ""

    async with opened() as streams:
        assert await streams.read(answer) == []
        assert assert_conserved(streams).completed == 1


async def test_stream_joins_a_call_that_does_not_stream_and_gets_its_answer_as_one_piece() -> None:
    backend, pieces = Backend(), list[str]()
    async with opened() as streams:

        async def follow() -> None:
            pieces.extend(await streams.read(Teller()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: streams.deduplicator.run(KEY, backend, urgency=urgency()))
            await settle()
            tasks.start_soon(follow)

        assert pieces == ["answer 1"]
        assert assert_conserved(streams).joined == 1


async def test_stream_that_joined_a_call_goes_on_with_it_when_its_caller_leaves() -> None:
    backend, pieces = Backend(), list[str]()
    async with opened() as streams, anyio.create_task_group() as tasks:

        async def follow() -> None:
            pieces.extend(await streams.read(Teller()))

        with anyio.move_on_after(0.5):
            tasks.start_soon(follow)
            await streams.deduplicator.run(KEY, backend, urgency=urgency())

    assert pieces == ["answer 1"]
    assert (backend.calls, backend.cancelled) == (1, 0)


async def test_caller_who_does_not_stream_joins_a_stream_and_gets_the_whole() -> None:
    teller = Teller()
    async with opened() as streams, anyio.create_task_group() as tasks:
        tasks.start_soon(streams.read, teller)
        await anyio.sleep(1.5)
        answer = await streams.deduplicator.run(KEY, Backend(), urgency=urgency())

    assert (answer.value, answer.disposition) == (TEXT, Disposition.JOINED)


async def test_slow_reader_alone_holds_the_call_back() -> None:
    teller = Teller(*["x" * 10] * 20)
    async with opened(max_ahead_bytes=50, stall_timeout_s=1000.0) as streams:
        with closing(streams.open(teller)) as reader:
            await anyio.sleep(100.0)
            assert (teller.sent, streams.shared.statistics().log_bytes) == (5, 50)

            assert await reader.next_piece() == "x" * 50
            await anyio.sleep(100.0)
            assert (teller.sent, streams.shared.statistics().log_bytes) == (10, 100)

            assert await reader.value() == "x" * 200


async def test_slow_reader_beside_a_fast_one_holds_nobody_back_and_still_gets_all() -> None:
    teller = Teller(*["x" * 10] * 20)
    async with opened(max_ahead_bytes=50) as streams:
        with closing(streams.open(teller)) as slow:
            began_s = anyio.current_time()
            fast = await streams.read(teller)
            took_s = anyio.current_time() - began_s
            await anyio.sleep(1000.0)
            slowly = [await slow.next_piece() for _ in range(5)]

    assert fast == ["x" * 10] * 20
    assert took_s == pytest.approx(20.0)
    assert slowly == ["x" * 50] * 4 + [""]


async def test_slow_reader_beside_one_who_waits_for_the_whole_holds_nobody_back() -> None:
    teller = Teller(*["x" * 10] * 20)
    async with opened(max_ahead_bytes=50) as streams:
        with closing(streams.open(teller)) as slow:
            await anyio.sleep(7.0)
            began_s = anyio.current_time()
            answer = await streams.deduplicator.run(KEY, Backend(), urgency=urgency())
            took_s = anyio.current_time() - began_s
            assert await slow.value() == answer.value

    assert took_s == pytest.approx(14.0)


async def test_one_who_waited_for_the_whole_and_left_no_longer_hurries_the_call() -> None:
    teller = Teller(*["x" * 10] * 20)
    async with opened(max_ahead_bytes=50, stall_timeout_s=1000.0) as streams:
        with closing(streams.open(teller)):
            with anyio.move_on_after(2.5):
                await streams.deduplicator.run(KEY, Backend(), urgency=urgency())
            await anyio.sleep(100.0)

            assert teller.sent == 5


async def test_reader_who_stops_reading_is_told_after_the_stall_timeout_and_what_came_before_is_not_lost() -> None:
    teller, sink = Teller(*["x" * 10] * 20), Sink()
    async with opened(sink, max_ahead_bytes=50, stall_timeout_s=10.0) as streams:
        with closing(streams.open(teller)) as reader:
            await anyio.sleep(100.0)
            first = await reader.next_piece()
            with pytest.raises(SlowReaderError) as caught:
                await reader.next_piece()
        s = assert_conserved(streams)

    assert first == "x" * 50
    assert caught.value.stalled_s == 10.0
    assert (s.stalled, s.failed, s.interrupted) == (1, 1, 0)
    assert sink.events == [StreamReaderDropped(stalled_s=10.0)]


async def test_failure_before_the_first_piece_reaches_each_reader_as_its_own_and_is_not_kept() -> None:
    teller = Teller(failing=BackendUnavailableError("down", backend="b"))
    caught: list[BackendUnavailableError] = []
    sink = Sink()
    async with opened(sink) as streams:

        async def read() -> None:
            with pytest.raises(BackendUnavailableError) as info:
                await streams.read(teller)
            caught.append(info.value)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(read)
        s = assert_conserved(streams)
        teller.failing = None

        assert "".join(await streams.read(teller)) == TEXT

    assert len({id(error) for error in caught}) == 3
    assert (s.failed, s.interrupted) == (3, 0)
    assert teller.calls == 2
    assert sink.events == []


async def test_cut_after_some_pieces_gives_them_out_first_and_then_raises_as_often_as_asked() -> None:
    cut = StreamInterruptedError(backend="b", text_sent="Once upon ")
    teller, sink = Teller(failing=cut, fail_after=2), Sink()
    async with opened(sink) as streams:
        with closing(streams.open(teller)) as reader:
            await anyio.sleep(10.0)
            piece = await reader.next_piece()
            errors: list[StreamInterruptedError] = []
            for _ in range(2):
                with pytest.raises(StreamInterruptedError) as caught:
                    await reader.next_piece()
                errors.append(caught.value)
            with pytest.raises(StreamInterruptedError):
                await reader.value()
        s = assert_conserved(streams)

    assert piece == errors[0].text_sent == "Once upon "
    assert errors[0] is not errors[1]
    assert (s.failed, s.interrupted) == (1, 1)
    assert sink.events == [StreamCut(backend="b", sent_bytes=10, error="StreamInterruptedError")]


@pytest.mark.parametrize(
    ("error", "fail_after"),
    [(StreamInterruptedError(backend="b", text_sent="Once "), 1), (SlowReaderError(stalled_s=1.0), 1)],
)
async def test_stream_that_ends_early_with_nobody_told_of_events_is_counted_all_the_same(
    error: Exception, fail_after: int
) -> None:
    async with opened() as streams:
        with (
            closing(streams.open(Teller(failing=error, fail_after=fail_after))) as reader,
            pytest.raises(type(error)),
        ):
            await reader.value()
        s = assert_conserved(streams)

    assert s.interrupted + s.stalled == 1


async def test_reader_who_leaves_before_the_first_piece_alone_ends_the_call() -> None:
    teller = Teller()
    async with opened() as streams:
        with closing(streams.open(teller)):
            await anyio.sleep(0.5)
        await settle()

        assert (teller.calls, teller.cancelled) == (1, 1)
        assert streams.deduplicator.statistics().abandoned == 1
        assert assert_conserved(streams).left == 1


@pytest.mark.parametrize("key", [KEY, None], ids=["shared", "shared with nobody"])
async def test_reader_who_leaves_at_once_never_begins_the_call_or_ends_it(key: DeduplicationKey | None) -> None:
    teller = Teller()
    async with opened() as streams:
        streams.open(teller, key).close()
        await settle()

        assert teller.calls == teller.cancelled
        assert assert_conserved(streams).left == 1


@pytest.mark.parametrize("key", [KEY, None], ids=["shared", "shared with nobody"])
async def test_reader_who_leaves_ends_even_a_call_that_waits_for_nothing_else(key: DeduplicationKey | None) -> None:
    ended: list[str] = []

    async def babble(flight: Urgency, outlet: Outlet) -> str:
        try:
            while True:
                await outlet.deliver("bla ")
        finally:
            ended.append("babbling")

    async with opened() as streams:
        with closing(streams.open(babble, key)) as reader:
            await reader.next_piece()
            await settle()
        await settle()

        assert ended == ["babbling"]
        assert assert_conserved(streams).left == 1


async def test_reader_who_leaves_while_others_read_costs_them_nothing() -> None:
    teller, texts = Teller(), list[str]()
    async with opened() as streams:

        async def read() -> None:
            texts.append("".join(await streams.read(teller)))

        async with anyio.create_task_group() as tasks:
            with closing(streams.open(teller)) as first:
                await first.next_piece()
                tasks.start_soon(read)
                await settle()
        s = assert_conserved(streams)

    assert texts == [TEXT]
    assert (teller.calls, teller.cancelled) == (1, 0)
    assert (s.left, s.completed) == (1, 1)


async def test_reader_whose_wait_is_cut_short_can_go_on() -> None:
    async with opened() as streams:
        with closing(streams.open(Teller())) as reader:
            pieces: list[str] = []
            while True:
                with anyio.move_on_after(0.3):
                    if not (piece := await reader.next_piece()):
                        break
                    pieces.append(piece)

    assert "".join(pieces) == TEXT


async def test_reader_of_a_call_that_does_not_stream_keeps_its_place_when_its_wait_is_cut_short() -> None:
    backend = Backend()
    async with opened() as streams, anyio.create_task_group() as tasks:
        leader = anyio.CancelScope()

        async def lead() -> None:
            with leader:
                await streams.deduplicator.run(KEY, backend, urgency=urgency())

        tasks.start_soon(lead)
        await settle()
        with closing(streams.open(Teller())) as reader:
            leader.cancel()
            with anyio.move_on_after(0.5):
                await reader.next_piece()

            assert await reader.next_piece() == "answer 1"
    assert backend.cancelled == 0


async def test_reader_that_was_closed_gives_nothing_more() -> None:
    async with opened() as streams:
        reader = streams.open(Teller())
        reader.close()

        with pytest.raises(ClosedError, match="the stream"):
            await reader.next_piece()


async def test_joiner_who_is_more_urgent_moves_the_call_up() -> None:
    teller = Teller()
    async with opened() as streams:
        with closing(streams.open(teller, asked=urgency(Priority.BULK, timeout_s=5.0))):
            await settle()
            with closing(streams.open(teller, asked=urgency(Priority.HIGH, timeout_s=50.0))):
                assert teller.urgencies[0].priority is Priority.HIGH
                assert teller.urgencies[0].deadline.remaining_s() == pytest.approx(50.0)


async def test_different_keys_are_different_streams() -> None:
    teller = Teller()
    async with opened() as streams:
        with closing(streams.open(teller)), closing(streams.open(teller, OTHER)):
            await settle()

            assert teller.calls == 2
            assert streams.shared.statistics().logs == 2


@pytest.mark.parametrize("key", [KEY, None], ids=["shared", "shared with nobody"])
async def test_engine_that_closes_tells_those_who_read(key: DeduplicationKey | None) -> None:
    teller, told = Teller(), list[str]()
    async with anyio.create_task_group() as tasks, opened() as streams:

        async def read() -> None:
            try:
                await streams.read(teller, key)
            except ClosedError:
                told.append("closed")

        tasks.start_soon(read)
        await anyio.sleep(1.5)

    assert told == ["closed"]
    assert teller.cancelled == 1
    assert assert_conserved(streams).failed == 1


@pytest.mark.parametrize("key", [None, KEY])
async def test_engine_that_was_left_refuses_streams(key: DeduplicationKey | None) -> None:
    async with opened() as streams:
        pass

    with pytest.raises(ClosedError):
        streams.open(Teller(), key)
    assert assert_conserved(streams).opened == 0
