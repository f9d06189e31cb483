"""Many callers, a backend that fails, hangs and recovers, and callers that give up whenever they like."""

from __future__ import annotations

import random

import anyio
import pytest

from holdfast.domain.breaker_config import BreakerConfig
from holdfast.domain.circuit_breaker import CircuitBreaker
from holdfast.domain.deadline import Deadline
from holdfast.domain.timeout import Timeout
from holdfast.ports.errors import BackendThrottledError, BreakerOpenError
from holdfast.ports.statistics import BreakerState
from holdfast.testing import VirtualClock

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

OUTAGE_S = (20.0, 60.0)
CALLERS = 60


class Flaky:
    """Well, then out of order between two moments, then well again."""

    def __init__(self, clock: VirtualClock, chance: random.Random) -> None:
        self._clock = clock
        self._chance = chance
        self._since_s = clock.monotonic_s()
        self.running = 0

    def is_out(self) -> bool:
        return OUTAGE_S[0] <= self._clock.monotonic_s() - self._since_s < OUTAGE_S[1]

    async def __call__(self) -> str:
        self.running += 1
        try:
            await self._clock.sleep(self._chance.uniform(0.01, 0.3))
            if self.is_out():
                match self._chance.randrange(3):
                    case 0:
                        raise ConnectionResetError
                    case 1:
                        raise BackendThrottledError(backend="flaky", retry_after_s=self._chance.uniform(0.0, 3.0))
                    case _:
                        await anyio.sleep_forever()
            return "answer"
        finally:
            self.running -= 1


@pytest.mark.parametrize("seed", range(5))
async def test_breaker_many_callers_through_an_outage_ends_closed_with_every_count_in_place(seed: int) -> None:
    chance, clock = random.Random(seed), VirtualClock()
    backend = Flaky(clock, chance)
    breaker = CircuitBreaker("flaky", BreakerConfig(open_s=1.0, max_open_s=8.0), clock=clock, random=chance.random)
    states: set[BreakerState] = set()
    answered = refused = 0

    async def caller() -> None:
        nonlocal answered, refused
        for _ in range(40):
            await clock.sleep(chance.uniform(0.0, 5.0))
            states.add(breaker.statistics().state)
            timeout_s = chance.uniform(0.05, 4.0)
            deadline = Deadline.after(chance.choice([timeout_s, timeout_s + 100.0]), clock)
            with anyio.move_on_after(timeout_s):
                try:
                    await breaker.call(backend, deadline=deadline)
                    answered += 1
                except BreakerOpenError:
                    refused += 1
                except (ConnectionError, BackendThrottledError):
                    pass

    async with anyio.create_task_group() as tasks:
        for _ in range(CALLERS):
            tasks.start_soon(caller)

    counted = breaker.statistics()
    assert states == {BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN}
    assert (counted.state, counted.in_flight, backend.running) == (BreakerState.CLOSED, 0, 0)
    assert (counted.succeeded, counted.refused) == (answered, refused)
    assert counted.admitted + counted.refused == CALLERS * 40
    assert counted.admitted == sum(
        (counted.succeeded, counted.failed, counted.slow, counted.rejected_by_peer, counted.ignored)
    )


async def test_breaker_whole_group_cancelled_in_mid_call_leaves_nothing_in_flight() -> None:
    clock = VirtualClock()
    breaker = CircuitBreaker("hangs", clock=clock, random=lambda: 0.5)

    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(breaker.call, anyio.sleep_forever)
        await clock.sleep(1.0)
        assert breaker.statistics().in_flight == 1000
        tasks.cancel_scope.cancel()

    counted = breaker.statistics()
    assert (counted.in_flight, counted.ignored, counted.state) == (0, 1000, BreakerState.CLOSED)


async def test_breaker_backend_in_an_outage_meets_one_probe_at_a_time() -> None:
    clock, most = VirtualClock(), 0
    running = 0
    breaker = CircuitBreaker("down", BreakerConfig(failures_in_row=1), clock=clock, random=lambda: 0.5)

    async def down() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await anyio.sleep_forever()
        finally:
            running -= 1

    async def caller() -> None:
        for _ in range(100):
            with anyio.move_on_after(3.0):
                try:
                    await breaker.call(lambda: Timeout(1.0).call(down))
                except OSError:  # the breaker's refusal is a ConnectionError, the attempt's a TimeoutError
                    await clock.sleep(0.1)

    with pytest.raises(TimeoutError):
        await breaker.call(lambda: Timeout(1.0).call(down))
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(caller)

    assert most == 1
    assert breaker.statistics().opened > 1


@pytest.mark.parametrize(("tells_the_deadline", "calls"), [(True, 10), (False, 100)])
async def test_breaker_backend_hangs_is_asked_ten_times_if_the_deadline_counts_and_every_time_if_not(
    tells_the_deadline: bool, calls: int
) -> None:
    clock, asked = VirtualClock(), 0
    breaker = CircuitBreaker("hangs", clock=clock, random=lambda: 0.5)

    async def hang() -> None:
        nonlocal asked
        asked += 1
        await anyio.sleep_forever()

    for _ in range(100):
        deadline = Deadline.after(2.0, clock)
        with anyio.move_on_after(2.0):
            try:
                await breaker.call(hang, deadline=deadline if tells_the_deadline else None)
            except BreakerOpenError:
                await clock.sleep(2.0)

    assert asked == calls
