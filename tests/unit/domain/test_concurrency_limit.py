from __future__ import annotations

import anyio
import pytest

from holdfast.domain.concurrency_limit import ConcurrencyLimit, Permit
from holdfast.domain.outcomes import classify
from holdfast.ports.errors import BackpressureError, ConfigurationError
from holdfast.ports.outcome import Outcome
from holdfast.ports.statistics import LimitStatistics
from holdfast.testing import sweep_cancellation


def taken(limit: ConcurrencyLimit) -> Permit:
    permit = limit.try_acquire()
    assert permit is not None
    return permit


@pytest.mark.parametrize("max_in_flight", [0, -1])
def test_limit_below_one_is_refused(max_in_flight: int) -> None:
    with pytest.raises(ConfigurationError, match=r"limit\.max_in_flight"):
        ConcurrencyLimit(max_in_flight)


def test_try_acquire_up_to_the_limit_gives_permits_and_then_none() -> None:
    limit = ConcurrencyLimit(2)
    permits = [limit.try_acquire() for _ in range(3)]

    assert [permit is not None for permit in permits] == [True, True, False]
    assert limit.statistics() == LimitStatistics(limit=2, in_flight=2)


def test_release_makes_room_for_one_more() -> None:
    limit = ConcurrencyLimit(1)
    limit.release(taken(limit))

    assert limit.try_acquire() is not None
    assert limit.try_acquire() is None


def test_release_of_the_same_permit_twice_counts_once() -> None:
    limit = ConcurrencyLimit(2)
    first = taken(limit)
    taken(limit)
    limit.release(first)
    limit.release(first)

    assert limit.statistics().in_flight == 1


def test_release_of_a_permit_of_another_limit_changes_nothing() -> None:
    limit = ConcurrencyLimit(1)
    taken(limit)
    limit.release(taken(ConcurrencyLimit(1)))

    assert limit.statistics().in_flight == 1


@pytest.mark.anyio
async def test_call_below_the_limit_holds_a_permit_while_it_runs() -> None:
    limit = ConcurrencyLimit(1)

    async def work() -> int:
        return limit.statistics().in_flight

    assert await limit.call(work) == 1
    assert limit.statistics().in_flight == 0


@pytest.mark.anyio
async def test_call_at_the_limit_is_refused_at_once_without_calling_the_work() -> None:
    limit = ConcurrencyLimit(1)
    taken(limit)
    called: list[str] = []

    async def work() -> None:
        called.append("called")

    with pytest.raises(BackpressureError, match="1 calls are in flight") as raised:
        await limit.call(work)

    assert called == []
    assert (raised.value.depth, raised.value.capacity, raised.value.retry_after_s) == (0, 0, None)
    assert limit.statistics().in_flight == 1


@pytest.mark.anyio
async def test_call_at_the_limit_twice_raises_a_fresh_error_that_counts_against_nobody() -> None:
    limit = ConcurrencyLimit(1)
    taken(limit)
    errors: list[BackpressureError] = []
    for _ in range(2):
        with pytest.raises(BackpressureError) as raised:
            await limit.call(anyio.lowlevel.checkpoint)
        errors.append(raised.value)

    assert errors[0] is not errors[1]
    assert classify(errors[0]).outcome is Outcome.IGNORED


@pytest.mark.anyio
async def test_call_that_fails_gives_its_permit_back() -> None:
    limit = ConcurrencyLimit(1)
    error = RuntimeError("broken")

    async def work() -> None:
        raise error

    with pytest.raises(RuntimeError) as raised:
        await limit.call(work)

    assert raised.value is error
    assert limit.statistics().in_flight == 0


@pytest.mark.anyio
async def test_call_cancelled_at_every_checkpoint_gives_its_permit_back() -> None:
    limit = ConcurrencyLimit(1)

    async def check() -> None:
        assert limit.statistics().in_flight == 0

    async def scenario() -> None:
        await limit.call(anyio.lowlevel.checkpoint)

    assert await sweep_cancellation(scenario, check) >= 1


@pytest.mark.anyio
async def test_calls_from_many_tasks_never_exceed_the_limit() -> None:
    limit = ConcurrencyLimit(3)
    seen: list[int] = []
    refused: list[int] = []

    async def work() -> None:
        seen.append(limit.statistics().in_flight)
        await anyio.sleep(1.0)

    async def caller(number: int) -> None:
        try:
            await limit.call(work)
        except BackpressureError:
            refused.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(caller, number)

    assert (max(seen), len(seen), len(refused)) == (3, 3, 7)


def test_resize_upwards_makes_room_at_once() -> None:
    limit = ConcurrencyLimit(1)
    taken(limit)
    limit.resize(2)

    assert limit.try_acquire() is not None
    assert limit.try_acquire() is None


def test_resize_downwards_takes_no_permit_back_and_gives_none_until_enough_came_back() -> None:
    limit = ConcurrencyLimit(3)
    permits = [taken(limit) for _ in range(3)]
    limit.resize(1)

    assert limit.statistics() == LimitStatistics(limit=1, in_flight=3)
    for permit in permits:
        assert limit.try_acquire() is None
        limit.release(permit)
    assert limit.try_acquire() is not None
