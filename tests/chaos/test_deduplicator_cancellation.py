"""A cancel at every checkpoint of a leader, of a follower, of the only caller, and of the whole engine."""

from __future__ import annotations

import anyio
import pytest

from holdfast.domain.deadline import Deadline
from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.deduplicator import DeduplicationConfig, Deduplicator, Shared
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import ClosedError
from holdfast.ports.service import Priority
from holdfast.testing import VirtualClock, sweep_cancellation

pytestmark = pytest.mark.anyio

KEY = DeduplicationKey(digest=b"k" * 32)
KEEPS_NOTHING = DeduplicationConfig(window_s=0.0)


class Calls:
    """Calls with several checkpoints, counted while they run."""

    def __init__(self) -> None:
        self.running = 0

    async def __call__(self, urgency: Urgency) -> str:
        self.running += 1
        try:
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            await anyio.sleep(1.0)
            return "answer"
        finally:
            self.running -= 1


def engine() -> Deduplicator[str]:
    return Deduplicator(KEEPS_NOTHING, clock=VirtualClock(), size_of=len)


async def run(shared: Deduplicator[str], calls: Calls) -> Shared[str]:
    return await shared.run(KEY, calls, urgency=Urgency(Priority.NORMAL, Deadline.after(30.0, VirtualClock())))


def assert_at_rest(shared: Deduplicator[str], calls: Calls) -> None:
    s = shared.statistics()
    assert (s.in_flight, calls.running) == (0, 0)
    assert s.called == s.completed + s.failed + s.abandoned
    assert s.failed == 0


async def test_only_caller_cancelled_anywhere_leaves_nothing() -> None:
    calls = Calls()
    async with engine() as shared:

        async def check() -> None:
            await anyio.wait_all_tasks_blocked()
            assert_at_rest(shared, calls)

        checkpoints = await sweep_cancellation(lambda: run(shared, calls), check)

    assert checkpoints >= 1
    assert shared.statistics().completed == 1


async def test_follower_cancelled_anywhere_costs_the_leader_nothing() -> None:
    calls = Calls()
    answers: list[str] = []

    async def lead(shared: Deduplicator[str]) -> None:
        answers.append((await run(shared, calls)).value)

    async with engine() as shared, anyio.create_task_group() as tasks:

        async def follow() -> None:
            tasks.start_soon(lead, shared)
            with anyio.CancelScope(shield=True):
                while shared.statistics().in_flight == 0:
                    await anyio.lowlevel.checkpoint()
            await run(shared, calls)

        async def check() -> None:
            await anyio.sleep(2.0)
            assert answers.pop() == "answer"
            assert_at_rest(shared, calls)

        checkpoints = await sweep_cancellation(follow, check)

    assert checkpoints >= 2
    assert shared.statistics().abandoned == 0


async def test_leader_cancelled_anywhere_costs_the_follower_nothing() -> None:
    calls = Calls()
    answers: list[str] = []
    begun = 0

    async with engine() as shared, anyio.create_task_group() as tasks:

        async def follow() -> None:
            answers.append((await run(shared, calls)).value)

        async def lead() -> None:
            nonlocal begun
            begun += 1
            tasks.start_soon(follow)
            await run(shared, calls)

        async def check() -> None:
            await anyio.sleep(3.0)
            assert len(answers) == begun
            assert_at_rest(shared, calls)

        checkpoints = await sweep_cancellation(lead, check)

    assert checkpoints >= 1
    assert set(answers) == {"answer"}


async def test_engine_cancelled_anywhere_tells_every_caller() -> None:
    calls = Calls()
    told: list[str] = []
    asked = 0
    engines: list[Deduplicator[str]] = []

    async with anyio.create_task_group() as tasks:

        async def ask(shared: Deduplicator[str]) -> None:
            try:
                told.append((await run(shared, calls)).value)
            except ClosedError:
                told.append("closed")

        async def serve() -> None:
            nonlocal asked
            async with engine() as shared:
                engines.append(shared)
                for _ in range(2):
                    asked += 1
                    tasks.start_soon(ask, shared)
                    await anyio.lowlevel.checkpoint()
                await anyio.sleep(0.5)

        async def check() -> None:
            await anyio.wait_all_tasks_blocked()
            assert len(told) == asked
            if engines:
                s = engines[-1].statistics()
                assert (s.in_flight, calls.running) == (0, 0)

        checkpoints = await sweep_cancellation(serve, check)

    assert checkpoints >= 3
    assert set(told) == {"closed"}
