"""A cancel at every checkpoint of a reader, alone and beside others, and of the engines."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing

import anyio
import pytest

from holdfast.domain.deadline import Deadline
from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.deduplicator import DeduplicationConfig, Deduplicator
from holdfast.domain.stream_outlet import Outlet, StreamingConfig
from holdfast.domain.stream_sharing import SharedStreams
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import ClosedError
from holdfast.ports.service import Priority
from holdfast.testing import VirtualClock, sweep_cancellation

pytestmark = pytest.mark.anyio

KEY = DeduplicationKey(digest=b"k" * 32)
PIECES = ("Once ", "upon ", "a ", "time")
TEXT = "".join(PIECES)


class Teller:
    """Tells a story, and counts how often it is at it."""

    def __init__(self) -> None:
        self.telling = 0

    async def __call__(self, urgency: Urgency, outlet: Outlet) -> str:
        self.telling += 1
        try:
            for piece in PIECES:
                await anyio.sleep(1.0)
                await outlet.deliver(piece)
            return TEXT
        finally:
            self.telling -= 1


class World:
    """Both engines, which keep no answer, and a bound that every piece reaches."""

    def __init__(self) -> None:
        clock = VirtualClock()
        self.teller = Teller()
        self.shared = Deduplicator[str](DeduplicationConfig(window_s=0.0), clock=clock, size_of=len)
        config = StreamingConfig(max_ahead_bytes=1, max_answer_bytes=100)
        self.streams = SharedStreams[str](config, shared=self.shared, text_of=str, clock=clock)

    async def read(self, key: DeduplicationKey | None = KEY) -> str:
        urgency = Urgency(Priority.NORMAL, Deadline.after(60.0, VirtualClock()))
        text = ""
        with closing(self.streams.open(key, self.teller, urgency=urgency)) as reader:
            while piece := await reader.next_piece():
                text += piece
                await anyio.sleep(0.1)
            assert await reader.value() == text
        return text

    async def wait(self) -> str:
        urgency = Urgency(Priority.NORMAL, Deadline.after(60.0, VirtualClock()))
        return (await self.shared.run(KEY, self._tell_at_once, urgency=urgency)).value

    async def _tell_at_once(self, urgency: Urgency) -> str:
        await anyio.sleep(4.0)
        return TEXT

    def assert_at_rest(self) -> None:
        s, flights = self.streams.statistics(), self.shared.statistics()
        assert s.opened == s.called + s.joined + s.cached == s.completed + s.failed + s.left
        assert (s.reading, s.logs, s.log_bytes) == (0, 0, 0)
        assert (flights.in_flight, self.teller.telling) == (0, 0)
        assert flights.called == flights.completed + flights.failed + flights.abandoned


@asynccontextmanager
async def opened() -> AsyncGenerator[World]:
    world = World()
    async with world.shared, world.streams:
        yield world


@pytest.mark.parametrize("key", [KEY, None], ids=["shared", "shared with nobody"])
async def test_only_reader_cancelled_anywhere_leaves_nothing(key: DeduplicationKey | None) -> None:
    async with opened() as world:

        async def check() -> None:
            await anyio.wait_all_tasks_blocked()
            world.assert_at_rest()

        checkpoints = await sweep_cancellation(lambda: world.read(key), check)
        s = world.streams.statistics()

    assert checkpoints >= 8  # a wait and a pause for each piece
    assert (s.completed, s.failed) == (1, 0)


@pytest.mark.parametrize("other", ["read", "wait"])
async def test_reader_cancelled_anywhere_costs_another_nothing(other: str) -> None:
    texts: list[str] = []
    begun = 0
    async with opened() as world, anyio.create_task_group() as tasks:

        async def follow() -> None:
            texts.append(await (world.read() if other == "read" else world.wait()))

        async def lead() -> None:
            nonlocal begun
            begun += 1
            tasks.start_soon(follow)
            await world.read()

        async def check() -> None:
            await anyio.sleep(20.0)
            assert len(texts) == begun
            world.assert_at_rest()

        checkpoints = await sweep_cancellation(lead, check)

    assert checkpoints >= 8
    assert set(texts) == {TEXT}


async def test_follower_cancelled_anywhere_costs_the_leader_nothing() -> None:
    texts: list[str] = []
    async with opened() as world, anyio.create_task_group() as tasks:

        async def lead() -> None:
            texts.append(await world.read())

        async def follow() -> None:
            tasks.start_soon(lead)
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1.5)
            await world.read()

        async def check() -> None:
            await anyio.sleep(20.0)
            assert texts.pop() == TEXT
            world.assert_at_rest()

        checkpoints = await sweep_cancellation(follow, check)

    assert checkpoints >= 6
    assert world.shared.statistics().abandoned == 0


async def test_engines_cancelled_anywhere_tell_every_reader() -> None:
    told: list[str] = []
    asked = 0
    worlds: list[World] = []
    async with anyio.create_task_group() as tasks:

        async def ask(world: World) -> None:
            try:
                told.append(await world.read())
            except ClosedError:
                told.append("closed")

        async def serve() -> None:
            nonlocal asked
            async with opened() as world:
                worlds.append(world)
                for _ in range(2):
                    asked += 1
                    tasks.start_soon(ask, world)
                    await anyio.sleep(0.7)
                await anyio.sleep(1.0)

        async def check() -> None:
            await anyio.sleep(1.0)
            assert len(told) == asked
            for world in worlds:
                world.assert_at_rest()

        checkpoints = await sweep_cancellation(serve, check)

    assert checkpoints >= 3
    assert set(told) == {"closed"}
