"""What a retried call costs when nothing fails, and what a decision costs when something does."""

from __future__ import annotations

import random
import sys

import anyio
import tenacity
from harness import Row, measure, measure_async, report
from tenacity import AsyncRetrying, stop_after_attempt, wait_none, wait_random_exponential

from holdfast.adapters.system.clock import SystemClock
from holdfast.adapters.tenacity import TenacityStrategy
from holdfast.domain.retry import Retry
from holdfast.domain.retry_budget import RetryBudget, RetryBudgetConfig
from holdfast.domain.retry_policy import RetryPolicy
from holdfast.ports.outcome import Outcome, Verdict
from holdfast.ports.retry import FailedAttempt

# What a retry may add to the bare call, and what one decision may take.
_BUDGET_P50_US = 1.0
_BUDGET_P99_US = 5.0


async def _successful_calls() -> list[Row]:
    clock = SystemClock()
    native = Retry(clock=clock, random=random.random)
    budgeted = Retry(clock=clock, random=random.random, budget=RetryBudget(clock=clock))
    shared = AsyncRetrying(stop=stop_after_attempt(3), wait=wait_random_exponential(multiplier=0.05, max=20))

    async def work() -> int:
        return 1

    async def by_hand() -> int:
        for attempt in range(3):
            try:
                return await work()
            except ConnectionError:
                if attempt == 2:
                    raise
                await anyio.sleep(0.05)
        raise AssertionError

    async def iterated() -> int:
        async for attempt in AsyncRetrying(stop=stop_after_attempt(3)):
            with attempt:
                return await work()
        raise AssertionError

    bare = await measure_async("bare await work()", work)
    return [
        bare,
        await measure_async("hand-written loop", by_hand),
        await measure_async(
            "Retry.call",
            lambda: native.call(work),
            budget_p50_us=bare.p50_us + _BUDGET_P50_US,
            budget_p99_us=bare.p99_us + _BUDGET_P99_US,
        ),
        await measure_async(
            "Retry.call, with a retry budget",
            lambda: budgeted.call(work),
            budget_p50_us=bare.p50_us + _BUDGET_P50_US,
            budget_p99_us=bare.p99_us + _BUDGET_P99_US,
        ),
        await measure_async("tenacity: one AsyncRetrying, called", lambda: shared(work)),
        await measure_async("tenacity: @retry", tenacity.retry(stop=stop_after_attempt(3))(work)),
        await measure_async("tenacity: async for over a new AsyncRetrying", iterated),
    ]


async def _calls_that_fail_once() -> list[Row]:
    clock = SystemClock()
    native = Retry(RetryPolicy(base_delay_s=0.0), clock=clock, random=random.random)
    ample = RetryBudget(RetryBudgetConfig(token_ratio=1.0), clock=clock)
    budgeted = Retry(RetryPolicy(base_delay_s=0.0), clock=clock, random=random.random, budget=ample)
    adapted = Retry(TenacityStrategy(stop=stop_after_attempt(3), wait=wait_none()), clock=clock, random=random.random)
    shared = AsyncRetrying(stop=stop_after_attempt(3), wait=wait_none())
    failing = False

    async def work() -> int:
        nonlocal failing
        failing = not failing
        if failing:
            raise ConnectionError
        return 1

    async def yielding() -> None:
        await clock.sleep(0.0)

    return [
        await measure_async("the sleep of no time that each holds", yielding),
        await measure_async("Retry with RetryPolicy", lambda: native.call(work)),
        await measure_async("Retry with RetryPolicy and a retry budget", lambda: budgeted.call(work)),
        await measure_async("Retry with TenacityStrategy", lambda: adapted.call(work)),
        await measure_async("tenacity: one AsyncRetrying, called", lambda: shared(work)),
    ]


def _decisions() -> list[Row]:
    policy = RetryPolicy()
    adapted = TenacityStrategy(stop=stop_after_attempt(3), wait=wait_random_exponential(multiplier=0.05, max=20))
    failed = FailedAttempt(
        number=1,
        error=ConnectionError(),
        verdict=Verdict(outcome=Outcome.FAILURE),
        elapsed_s=0.1,
        previous_delay_s=0.0,
        slept_s=0.0,
        uniform=0.5,
    )
    return [
        measure(
            "RetryPolicy",
            lambda: policy.delay_before_next_s(failed),
            budget_p50_us=_BUDGET_P50_US,
            budget_p99_us=_BUDGET_P99_US,
        ),
        measure("TenacityStrategy", lambda: adapted.delay_before_next_s(failed)),
    ]


def main() -> bool:
    """Print the tables and return whether the budgets are kept."""
    packages = ("anyio", "tenacity")
    return all(
        [
            report("Retry, calls that succeed", anyio.run(_successful_calls), packages=packages),
            report("Retry, calls that fail once", anyio.run(_calls_that_fail_once), packages=packages),
            report("Retry, one decision", _decisions(), packages=packages),
        ]
    )


if __name__ == "__main__":
    sys.exit(not main())
