"""A cancel at every moment of an admission: nothing is lost, nothing is kept."""

from __future__ import annotations

import anyio
import pytest

from holdfast.domain.admission import AdmissionQueue
from holdfast.domain.concurrency_limit import ConcurrencyLimit
from holdfast.domain.deadline import Deadline
from holdfast.domain.urgency import Urgency
from holdfast.ports.service import Priority
from holdfast.testing import VirtualClock, sweep_cancellation

pytestmark = pytest.mark.anyio

CLOCK = VirtualClock()


def urgency(*, timeout_s: float = 60.0) -> Urgency:
    return Urgency(Priority.NORMAL, Deadline.after(timeout_s, CLOCK))


async def until_waiting(queue: AdmissionQueue, count: int) -> None:
    while queue.statistics().waiting < count:
        await anyio.lowlevel.checkpoint()


def assert_counts_add_up(queue: AdmissionQueue) -> None:
    counted = queue.statistics()
    assert counted.offered == (
        counted.waiting + counted.granted + counted.refused + counted.shed + counted.expired + counted.cancelled
    )


async def test_call_cancelled_at_every_checkpoint_leaves_no_slot_taken_and_nobody_in_line() -> None:
    queue = AdmissionQueue(limit=ConcurrencyLimit(1), clock=CLOCK)

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        await anyio.sleep(1.0)

    async def scenario() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(lambda: queue.call(work, size_bytes=5, urgency=urgency()))

    async def check() -> None:
        counted = queue.statistics()
        assert (counted.limit.in_flight, counted.waiting, counted.waiting_bytes) == (0, 0, 0)
        assert_counts_add_up(queue)

    assert await sweep_cancellation(scenario, check) >= 1


async def test_waiter_cancelled_at_every_checkpoint_leaves_the_slot_to_its_holder() -> None:
    queue = AdmissionQueue(limit=ConcurrencyLimit(1), clock=CLOCK)
    held = await queue.acquire(size_bytes=1, urgency=urgency())

    async def scenario() -> None:
        with anyio.move_on_after(1.0):
            await queue.acquire(size_bytes=1, urgency=urgency())

    async def check() -> None:
        assert (queue.statistics().limit.in_flight, queue.statistics().waiting) == (1, 0)
        assert_counts_add_up(queue)

    assert await sweep_cancellation(scenario, check) >= 1
    queue.release(held)
    assert queue.statistics().limit.in_flight == 0


@pytest.mark.parametrize("release_first", [True, False])
async def test_cancel_in_the_same_step_as_the_grant_gives_the_slot_to_the_next_in_line(release_first: bool) -> None:
    queue = AdmissionQueue(limit=ConcurrencyLimit(1), clock=CLOCK)
    held = await queue.acquire(size_bytes=1, urgency=urgency())
    served: list[str] = []
    scopes = {name: anyio.CancelScope() for name in ("first", "second")}

    async def caller(name: str) -> None:
        with scopes[name]:
            permit = await queue.acquire(size_bytes=1, urgency=urgency())
            try:
                await anyio.lowlevel.checkpoint()
                served.append(name)
            finally:
                queue.release(permit)

    async with anyio.create_task_group() as tasks:
        for place, name in enumerate(scopes, start=1):
            tasks.start_soon(caller, name)
            await until_waiting(queue, place)
        if release_first:
            queue.release(held)
            scopes["first"].cancel()
        else:
            scopes["first"].cancel()
            queue.release(held)

    assert served == ["second"]
    assert queue.statistics().limit.in_flight == 0
    assert_counts_add_up(queue)


async def test_cancel_of_every_waiter_at_once_with_the_release_frees_the_slot() -> None:
    queue = AdmissionQueue(limit=ConcurrencyLimit(1), clock=CLOCK)
    held = await queue.acquire(size_bytes=1, urgency=urgency())

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(lambda: queue.call(anyio.sleep_forever, size_bytes=1, urgency=urgency()))
        await until_waiting(queue, 20)
        queue.release(held)
        tasks.cancel_scope.cancel()

    counted = queue.statistics()
    assert (counted.limit.in_flight, counted.waiting, counted.waiting_bytes) == (0, 0, 0)
    assert_counts_add_up(queue)


async def test_scope_of_the_door_that_ends_the_wait_at_the_deadline_counts_as_expired() -> None:
    queue = AdmissionQueue(limit=ConcurrencyLimit(1), clock=CLOCK)
    await queue.acquire(size_bytes=1, urgency=urgency())
    own = urgency(timeout_s=2.0)
    with anyio.CancelScope(deadline=anyio.current_time() + 2.0) as scope:
        await queue.acquire(size_bytes=1, urgency=own)

    assert scope.cancelled_caught
    assert (queue.statistics().expired, queue.statistics().cancelled) == (1, 0)


async def test_cancel_before_the_deadline_counts_as_cancelled() -> None:
    queue = AdmissionQueue(limit=ConcurrencyLimit(1), clock=CLOCK)
    await queue.acquire(size_bytes=1, urgency=urgency())
    with anyio.move_on_after(1.0):
        await queue.acquire(size_bytes=1, urgency=urgency())

    assert (queue.statistics().expired, queue.statistics().cancelled) == (0, 1)
