"""The admission queue under an adaptive limit, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from holdfast.domain.adaptive_limit import AdaptiveLimit, AdaptiveLimitConfig, LoadSignal
from holdfast.domain.admission import AdmissionConfig, AdmissionQueue
from holdfast.domain.concurrency_limit import ConcurrencyLimit, Permit
from holdfast.domain.deadline import Deadline
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import BackendThrottledError, BackendUnavailableError
from holdfast.ports.service import Priority
from holdfast.ports.statistics import LimitStatistics
from holdfast.testing import VirtualClock, sweep_cancellation

pytestmark = pytest.mark.anyio

CLOCK = VirtualClock()
DEFAULTS = AdaptiveLimitConfig()


def urgency(timeout_s: float = 1000.0) -> Urgency:
    return Urgency(Priority.NORMAL, Deadline.after(timeout_s, CLOCK))


def adaptive_queue(config: AdaptiveLimitConfig = DEFAULTS) -> AdmissionQueue:
    return AdmissionQueue(limit=ConcurrencyLimit(7), clock=CLOCK, adaptive=AdaptiveLimit(config))


class WatchedLimit(ConcurrencyLimit):
    """Counts the grants that went beyond the limit."""

    def __init__(self) -> None:
        super().__init__(1)
        self.grants = 0
        self.excesses = 0

    def try_acquire(self) -> Permit | None:
        permit = super().try_acquire()
        if permit is not None:
            counted = self.statistics()
            self.grants += 1
            self.excesses += counted.in_flight > counted.limit
        return permit


class Peer:
    """Takes as long as it is told to."""

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s

    async def work(self) -> None:
        await anyio.sleep(self.latency_s)


@asynccontextmanager
async def constant_load(
    queue: AdmissionQueue, work: Callable[[], Awaitable[None]], callers: int
) -> AsyncGenerator[None]:
    """Keep `callers` calling one after the other, until the body ends."""

    async def call_forever() -> None:
        while True:
            await queue.call(work, size_bytes=1, urgency=urgency())

    async with anyio.create_task_group() as tasks:
        for _ in range(callers):
            tasks.start_soon(call_forever)
        yield
        tasks.cancel_scope.cancel()


async def test_limit_begins_at_the_initial_one_of_the_adaptive_limit() -> None:
    queue = adaptive_queue(AdaptiveLimitConfig(initial_limit=3))

    assert queue.statistics().limit == LimitStatistics(limit=3, in_flight=0)


async def test_latency_ten_times_as_high_shrinks_the_limit_within_5_s_and_it_recovers_with_the_latency() -> None:
    queue = adaptive_queue(AdaptiveLimitConfig(max_limit=40))
    peer = Peer(0.1)
    async with constant_load(queue, peer.work, callers=40):
        await anyio.sleep(20.0)
        before = queue.statistics().limit.limit
        peer.latency_s = 1.0
        await anyio.sleep(5.0)
        under_load = queue.statistics().limit.limit
        peer.latency_s = 0.1
        await anyio.sleep(20.0)
        after = queue.statistics().limit.limit

    assert (before, after) == (40, 40)
    assert under_load <= 10


async def test_no_grant_exceeds_the_limit_while_it_moves_up_and_down() -> None:
    limit, peer = WatchedLimit(), Peer(0.1)
    queue = AdmissionQueue(
        AdmissionConfig(overload_timeout_s=1000.0),  # callers wait for as long as it takes
        limit=limit,
        clock=CLOCK,
        adaptive=AdaptiveLimit(AdaptiveLimitConfig(remeasure_s=5.0)),
    )
    seen: set[int] = set()
    async with constant_load(queue, peer.work, callers=40):
        for number in range(60):
            await anyio.sleep(0.5)
            seen.add(queue.statistics().limit.limit)
            peer.latency_s = 0.1 if number // 10 % 2 else 1.0

    assert len(seen) > 5
    assert limit.grants > 500
    assert limit.excesses == 0


async def test_storm_of_cancelled_calls_changes_the_limit_by_nothing() -> None:
    queue = adaptive_queue(AdaptiveLimitConfig(max_limit=20))
    async with constant_load(queue, Peer(0.1).work, callers=20):
        await anyio.sleep(5.0)
    before = queue.statistics().limit
    for _ in range(100):
        with anyio.move_on_after(0.9):
            async with constant_load(queue, anyio.sleep_forever, callers=40):
                await anyio.sleep_forever()

    assert queue.statistics().limit == before
    assert before.limit == 20
    assert before.baseline_s == pytest.approx(0.1)


async def test_calls_whose_deadline_was_lifted_teach_nothing_however_long_they_took() -> None:
    queue = adaptive_queue()

    async def call() -> None:
        its_own = urgency()

        async def work() -> None:
            its_own.deadline.lift()
            await anyio.sleep(30.0)

        await queue.call(work, size_bytes=1, urgency=its_own)

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(call)

    assert queue.statistics().limit == LimitStatistics(limit=20, in_flight=0)


async def test_calls_cut_at_their_deadline_shrink_the_limit() -> None:
    queue = adaptive_queue()
    for _ in range(2):
        with anyio.move_on_after(2.0):
            await queue.call(anyio.sleep_forever, size_bytes=1, urgency=urgency(2.0))

    assert queue.statistics().limit.limit == int(20 * 0.9 * 0.9)


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        (BackendThrottledError(backend="a", retry_after_s=None), 18),
        (BackendUnavailableError("refuses connections", backend="a"), 20),
    ],
)
async def test_failed_calls_shrink_the_limit_only_if_they_tell_of_load(error: Exception, limit: int) -> None:
    queue = adaptive_queue()

    async def work() -> None:
        await anyio.sleep(1.0)
        raise error

    with pytest.raises(type(error)) as raised:
        await queue.call(work, size_bytes=1, urgency=urgency())

    assert raised.value is error
    assert queue.statistics().limit == LimitStatistics(limit=limit, in_flight=0)


async def test_growth_gives_every_new_slot_to_those_who_wait_at_once() -> None:
    queue = adaptive_queue(AdaptiveLimitConfig(initial_limit=4, min_samples=1))
    granted: list[Permit] = []

    async def wait() -> None:
        granted.append(await queue.acquire(size_bytes=1, urgency=urgency()))

    async def one_round() -> None:
        held = [await queue.acquire(size_bytes=1, urgency=urgency()) for _ in range(queue.statistics().limit.limit)]
        await anyio.sleep(1.0)
        for permit in held:
            queue.release(permit, LoadSignal.COMPLETED)

    await one_round()
    await one_round()
    held = [await queue.acquire(size_bytes=1, urgency=urgency()) for _ in range(4)]
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(wait)
        await anyio.sleep(1.0)
        for permit in held:
            queue.release(permit, LoadSignal.COMPLETED)
        assert queue.statistics().limit.limit == queue.statistics().limit.in_flight == 6
        await anyio.sleep(0.0)
        tasks.cancel_scope.cancel()

    assert len(granted) == 6


async def test_shrinking_takes_no_permit_back_and_grants_none_until_there_is_room_again() -> None:
    queue = adaptive_queue(AdaptiveLimitConfig(initial_limit=10))
    held = [await queue.acquire(size_bytes=1, urgency=urgency()) for _ in range(10)]
    granted: list[Permit] = []

    async def wait() -> None:
        granted.append(await queue.acquire(size_bytes=1, urgency=urgency()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(1.0)
        queue.release(held.pop(), LoadSignal.OVERLOADED)
        await anyio.sleep(0.0)
        assert queue.statistics().limit == LimitStatistics(limit=9, in_flight=9)
        assert granted == []
        queue.release(held.pop())

    assert len(granted) == 1
    assert queue.statistics().limit.in_flight == 9


async def test_permit_released_without_a_word_about_load_teaches_nothing() -> None:
    queue = adaptive_queue()
    for _ in range(100):
        permit = await queue.acquire(size_bytes=1, urgency=urgency())
        await anyio.sleep(1.0)
        queue.release(permit)

    assert queue.statistics().limit == LimitStatistics(limit=20, in_flight=0)


async def test_calls_cancelled_at_every_checkpoint_leave_the_limit_as_it_was() -> None:
    queue = adaptive_queue(AdaptiveLimitConfig(initial_limit=2))

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        await anyio.sleep(1.0)
        raise BackendUnavailableError("down", backend="a")

    async def scenario() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(call)

    async def call() -> None:
        with pytest.raises(BackendUnavailableError):
            await queue.call(work, size_bytes=1, urgency=urgency())

    async def check() -> None:
        assert queue.statistics().limit == LimitStatistics(limit=2, in_flight=0)
        assert queue.statistics().waiting == 0

    assert await sweep_cancellation(scenario, check) >= 1
