"""Many callers over few keys, with random failures, cancels and slow endings."""

from __future__ import annotations

import random
from collections import Counter

import anyio
import pytest

from holdfast.domain.deadline import Deadline
from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.deduplicator import DeduplicationConfig, Deduplicator
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import ClosedError
from holdfast.ports.service import Priority
from holdfast.testing import VirtualClock

pytestmark = pytest.mark.anyio

CALLERS = 200
KEYS = 20


class World:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.clock = VirtualClock()
        self.shared = Deduplicator[int](
            DeduplicationConfig(window_s=2.0, max_entries=10, max_bytes=60), clock=self.clock, size_of=lambda key: key
        )
        self.running = 0
        self.begun = 0
        self.asked = 0
        self.endings: Counter[str] = Counter()

    async def call(self, key: int) -> int:
        self.begun += 1
        self.running += 1
        try:
            await anyio.sleep(self.chance.expovariate(2.0))
            if self.chance.random() < 0.3:
                raise ValueError(key)
            return key
        finally:
            if self.chance.random() < 0.2:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(self.chance.expovariate(2.0))
            self.running -= 1

    async def caller(self) -> None:
        key = self.chance.randrange(KEYS)
        await anyio.sleep(self.chance.expovariate(0.3))
        with anyio.move_on_after(self.chance.expovariate(1.0)) as scope:
            self.asked += 1
            try:
                answer = await self.shared.run(
                    DeduplicationKey(digest=bytes([key])),
                    lambda _: self.call(key),
                    urgency=Urgency(self.chance.choice(list(Priority)), Deadline.after(60.0, self.clock)),
                )
            except ValueError as error:
                self.endings["failed" if error.args == (key,) else "failed with another's error"] += 1
            else:
                assert answer.value == key
                self.endings[answer.disposition] += 1
        if scope.cancelled_caught:
            self.endings["cancelled"] += 1


@pytest.mark.parametrize("seed", range(5))
async def test_callers_with_random_cancels_and_failures_all_end_and_leave_nothing(seed: int) -> None:
    print(f"{seed=}")
    world = World(seed)

    async with world.shared:
        async with anyio.create_task_group() as tasks:
            for _ in range(CALLERS):
                tasks.start_soon(world.caller)
        await anyio.sleep(60.0)

        s = world.shared.statistics()
        assert world.running == 0

    assert (s.in_flight, world.asked, world.endings.total()) == (0, CALLERS, CALLERS)
    assert s.requests == s.called + s.joined + s.cached == CALLERS
    assert s.called == s.completed + s.failed + s.abandoned
    assert s.completed == s.entries + s.expired + s.evicted + s.oversized + s.unkept
    assert world.begun <= s.called
    assert set(world.endings) == {"called", "joined", "cached", "failed", "cancelled"}


@pytest.mark.parametrize("seed", range(5))
async def test_engine_left_in_the_midst_of_it_leaves_nobody_waiting(seed: int) -> None:
    print(f"{seed=}")
    world = World(seed)
    ended = 0

    async def caller() -> None:
        nonlocal ended
        try:
            await world.caller()
        except ClosedError:
            world.endings["closed"] += 1
        ended += 1

    async with anyio.create_task_group() as tasks:
        async with world.shared:
            for _ in range(CALLERS):
                tasks.start_soon(caller)
            await anyio.sleep(2.0)

        assert (world.running, world.shared.statistics().in_flight) == (0, 0)

    assert ended == CALLERS
    assert world.endings["closed"] > 0
