"""A cancel at every checkpoint of a call that draws on a budget: in its attempts, and while it sleeps."""

from __future__ import annotations

import random

import anyio
import pytest

from holdfast.domain.retry import Retry
from holdfast.domain.retry_budget import RetryBudget, RetryBudgetConfig
from holdfast.domain.retry_policy import Jitter, RetryPolicy
from holdfast.testing import VirtualClock, sweep_cancellation

pytestmark = pytest.mark.anyio

POLICY = RetryPolicy(jitter=Jitter.NONE, base_delay_s=1.0)


def assert_nothing_is_held(budget: RetryBudget) -> None:
    statistics = budget.statistics()
    assert (statistics.in_flight, statistics.retries_in_flight, statistics.waiting) == (0, 0, 0)
    ended = statistics.without_token + statistics.without_room + statistics.abandoned + statistics.retried
    assert statistics.asked == ended


async def test_call_cancelled_at_any_checkpoint_gives_back_its_place_and_a_token_it_has_not_used() -> None:
    budgets: list[RetryBudget] = []
    left: list[int] = []

    async def work() -> None:
        await anyio.sleep(0.5)
        raise ConnectionError

    async def scenario() -> None:
        budgets.append(RetryBudget(RetryBudgetConfig(min_retries=5), clock=VirtualClock()))
        retry = Retry(POLICY, clock=VirtualClock(), random=lambda: 0.5, budget=budgets[-1])
        with pytest.raises(ConnectionError):
            await retry.call(work)

    async def check() -> None:
        assert_nothing_is_held(budgets[-1])
        left.append(budgets[-1].statistics().tokens)

    checkpoints = await sweep_cancellation(scenario, check)

    assert checkpoints == 5
    assert left == [5, 5, 4, 4, 3, 3]  # a token is used when its retry begins, not before


@pytest.mark.parametrize("seed", range(3))
async def test_storm_of_failures_and_cancellations_leaves_nothing_and_keeps_to_the_budget(seed: int) -> None:
    chance = random.Random(seed)
    budget = RetryBudget(clock=VirtualClock())
    retry = Retry(RetryPolicy(), clock=VirtualClock(), random=chance.random, budget=budget)
    calls = 0

    async def work() -> None:
        nonlocal calls
        calls += 1
        await anyio.sleep(chance.uniform(0.0, 2.0))
        if chance.random() < 0.7:
            raise ConnectionError

    async def caller() -> None:
        await anyio.sleep(chance.uniform(0.0, 60.0))
        with anyio.move_on_after(chance.uniform(0.0, 3.0)):
            try:
                await retry.call(work)
            except ConnectionError:
                return

    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(caller)

    assert_nothing_is_held(budget)
    assert 1000 < calls <= 1250, f"seed {seed}"
