"""`SharedStreams` in virtual time, with any readers: who comes, how fast each reads and when each loses patience."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.domain.deadline import Deadline
from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.deduplicator import DeduplicationConfig, Deduplicator
from holdfast.domain.stream_outlet import Outlet, StreamingConfig
from holdfast.domain.stream_sharing import SharedStreams
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import BackendUnavailableError, SlowReaderError
from holdfast.ports.service import Priority
from holdfast.ports.statistics import StreamStatistics
from holdfast.testing import VirtualClock, virtual_backend

MAX_AHEAD_BYTES = 20
STALL_TIMEOUT_S = 7.0


@dataclass(frozen=True)
class Reader:
    """One caller: a stream, or one who waits for the whole; at its own pace, for as long as its patience lasts."""

    at_s: int
    key: int | None
    streams: bool
    pause_s: int
    patience_s: int


@dataclass(frozen=True)
class Story:
    """What a call says, and how it ends."""

    pieces: list[str]
    every_s: float
    fails: bool


@dataclass
class Run:
    """What readers heard of one story, and how each ended."""

    story: Story
    heard: dict[int, str] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)
    values: dict[int, str] = field(default_factory=dict)
    calling: int = 0

    async def call(self, _: Urgency, outlet: Outlet | None = None) -> str:
        self.calling += 1
        try:
            for piece in self.story.pieces:
                await anyio.sleep(self.story.every_s)
                if outlet is not None:
                    await outlet.deliver(piece)
            if self.story.fails:
                raise BackendUnavailableError("by chance", backend="b")
            return "".join(self.story.pieces)
        finally:
            self.calling -= 1


async def measured(readers: list[Reader], story: Story) -> tuple[Run, StreamStatistics, int]:
    clock = VirtualClock()
    run = Run(story)

    async def answer(number: int, reader: Reader) -> str:
        key = None if reader.key is None else DeduplicationKey(digest=bytes([reader.key]) * 32)
        urgency = Urgency(Priority.NORMAL, Deadline.after(1000.0, clock))
        if key is not None and not reader.streams:
            run.heard[number] = (await shared.run(key, run.call, urgency=urgency)).value
            return run.heard[number]
        with closing(streams.open(key, run.call, urgency=urgency)) as opened:
            while piece := await opened.next_piece():
                run.heard[number] += piece
                await anyio.sleep(reader.pause_s)
            return await opened.value()

    async def live(number: int, reader: Reader) -> None:
        run.heard[number] = ""
        run.ended[number] = "left"
        await anyio.sleep(reader.at_s)
        with anyio.move_on_after(reader.patience_s + 0.5):
            try:
                run.values[number] = await answer(number, reader)
                run.ended[number] = "completed"
            except (BackendUnavailableError, SlowReaderError) as error:
                run.ended[number] = type(error).__name__

    shared = Deduplicator[str](DeduplicationConfig(window_s=5.0), clock=clock, size_of=len)
    streams = SharedStreams[str](
        StreamingConfig(max_ahead_bytes=MAX_AHEAD_BYTES, stall_timeout_s=STALL_TIMEOUT_S),
        shared=shared,
        text_of=str,
        clock=clock,
    )
    async with shared, streams:
        async with anyio.create_task_group() as tasks:
            for number, reader in enumerate(readers):
                tasks.start_soon(live, number, reader)
        await anyio.wait_all_tasks_blocked()
        return run, streams.statistics(), shared.statistics().in_flight


crowds = st.lists(
    st.builds(
        Reader,
        at_s=st.integers(0, 12),
        key=st.sampled_from([0, 0, 1, None]),
        streams=st.sampled_from([True, True, False]),
        pause_s=st.sampled_from([0, 0, 1, 9]),
        patience_s=st.sampled_from([1, 5, 500, 500]),
    ),
    max_size=8,
)
stories = st.builds(
    Story,
    pieces=st.lists(st.text(alphabet="aé😀", max_size=6), max_size=12),
    every_s=st.sampled_from([0.0, 0.3, 1.3]),
    fails=st.booleans(),
)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(readers=crowds, story=stories)
@settings(max_examples=150)
def test_streams_of_any_readers_all_end_with_exact_copies_and_leave_nothing(
    backend: str, readers: list[Reader], story: Story
) -> None:
    text = "".join(story.pieces)
    name, options = virtual_backend(backend)

    run, s, in_flight = anyio.run(measured, readers, story, backend=name, backend_options=options)

    assert set(run.ended) == set(range(len(readers)))
    for number, end in run.ended.items():
        assert text.startswith(run.heard[number])
        if end == "completed":
            assert run.heard[number] == run.values[number] == text
            assert not story.fails
    assert (run.calling, in_flight) == (0, 0)
    assert s.opened == s.called + s.joined + s.cached == s.completed + s.failed + s.left
    assert (s.reading, s.logs, s.log_bytes) == (0, 0, 0)
