"""A cancel at every checkpoint of a hedged call, and a storm of cancellations, failures and slow answers."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import anyio
import pytest

from holdfast.domain.circuit_breaker import BreakerConfig, CircuitBreaker
from holdfast.domain.compose import compose
from holdfast.domain.hedge import Hedge, HedgeConfig
from holdfast.domain.retry import Retry
from holdfast.domain.retry_budget import RetryBudget, RetryBudgetConfig
from holdfast.ports.errors import BreakerOpenError
from holdfast.testing import VirtualClock, sweep_cancellation

pytestmark = pytest.mark.anyio


class Backend:
    """Counts what runs in it."""

    def __init__(self, script: Callable[[int], Awaitable[object]]) -> None:
        self._script = script
        self.calls = 0
        self.running = 0

    async def __call__(self) -> object:
        self.calls += 1
        self.running += 1
        try:
            return await self._script(self.calls)
        finally:
            self.running -= 1


def roomy() -> RetryBudget:
    return RetryBudget(RetryBudgetConfig(min_retries=1_000_000), clock=VirtualClock())


def breaker() -> CircuitBreaker:
    return CircuitBreaker("a", BreakerConfig(failures_in_row=None), clock=VirtualClock(), random=lambda: 0.5)


def assert_nothing_is_held(hedge: Hedge, budget: RetryBudget, guard: CircuitBreaker, backend: Backend) -> None:
    hedged, spent, admitted = hedge.statistics(), budget.statistics(), guard.statistics()
    assert hedged.running == backend.running == admitted.in_flight == 0
    assert hedged.hedged == hedged.won + hedged.lost + hedged.failed + hedged.abandoned
    assert (spent.in_flight, spent.retries_in_flight, spent.waiting) == (0, 0, 0)
    settled = admitted.succeeded + admitted.failed + admitted.slow + admitted.rejected_by_peer + admitted.ignored
    assert admitted.admitted == settled


async def first_wins(call: int) -> str:
    await anyio.sleep(1.5 if call == 1 else 60.0)
    return "first"


async def second_wins(call: int) -> str:
    await anyio.sleep(60.0 if call == 1 else 0.5)
    return "second"


async def loser_cleans_up(call: int) -> str:
    try:
        return await second_wins(call)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.1)


async def both_fail(call: int) -> str:
    await anyio.sleep(2.0 if call == 1 else 5.0)
    raise ConnectionError


@pytest.mark.parametrize("script", [first_wins, second_wins, loser_cleans_up, both_fail])
async def test_call_cancelled_at_any_checkpoint_leaves_nothing_behind(
    script: Callable[[int], Awaitable[object]],
) -> None:
    made: list[tuple[Hedge, RetryBudget, CircuitBreaker, Backend]] = []

    async def scenario() -> None:
        budget, guard, backend = roomy(), breaker(), Backend(script)
        hedge = Hedge("a", HedgeConfig(min_samples=1, max_ratio=1.0), budget=budget, clock=VirtualClock())
        made.append((hedge, budget, guard, backend))
        await hedge.call(lambda: anyio.sleep(1.0))  # from now on, what takes longer than that is hedged
        try:
            await compose(hedge, guard).call(backend)
        except ConnectionError:
            assert script is both_fail

    async def check() -> None:
        assert_nothing_is_held(*made[-1])

    checkpoints = await sweep_cancellation(scenario, check)

    assert checkpoints >= 2
    assert made[-1][3].calls == 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_storm_of_slow_answers_failures_and_cancellations_leaves_nothing_and_keeps_to_the_share(
    seed: int,
) -> None:
    chance = random.Random(seed)
    budget, guard = RetryBudget(clock=VirtualClock()), breaker()
    hedge = Hedge("a", HedgeConfig(), budget=budget, clock=VirtualClock())
    retry = Retry(clock=VirtualClock(), random=chance.random, budget=budget)

    async def answer(_: int) -> None:
        await anyio.sleep(chance.choice([0.1, 0.2, 0.3, chance.expovariate(0.5)]))
        if chance.random() < 0.1:
            raise ConnectionError

    backend = Backend(answer)

    async def caller() -> None:
        await anyio.sleep(chance.uniform(0.0, 60.0))
        with anyio.move_on_after(chance.uniform(0.0, 5.0) if chance.random() < 0.2 else 1000.0):
            try:
                await compose(retry, hedge, guard).call(backend)
            except (ConnectionError, BreakerOpenError):
                return

    async with anyio.create_task_group() as tasks:
        for _ in range(1500):
            tasks.start_soon(caller)

    statistics = hedge.statistics()
    assert_nothing_is_held(hedge, budget, guard, backend)
    assert 0 < statistics.won < statistics.hedged, f"seed {seed}"
    assert statistics.hedged * 20 <= statistics.calls, f"seed {seed}"
