"""What a retry budget keeps from a backend and from its callers; in virtual time, so that every run counts the same.

Two attempts are allowed, so that a budget with one of its two rules opened wide has the other one alone.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from holdfast.domain.retry import Retry
from holdfast.domain.retry_budget import RetryBudget, RetryBudgetConfig
from holdfast.domain.retry_policy import RetryPolicy
from holdfast.ports.errors import BackendError, BackendThrottledError, BackendUnavailableError
from holdfast.testing import VirtualClock, virtual_backend

_REQUESTS = 1000
_MOST_CALLS_FOR_EACH_REQUEST = 1.25

_BUDGETS = {
    "attempts alone": None,
    "share alone": RetryBudgetConfig(token_ratio=1.0),
    "tokens alone": RetryBudgetConfig(in_flight_ratio=1.0),
    "both": RetryBudgetConfig(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
    """A thousand requests, evenly over `spread_s`, to a backend that takes `attempt_s` and then may fail."""

    name: str
    spread_s: float
    attempt_s: float
    failing_ratio: float
    error: Callable[[], BackendError] = lambda: BackendUnavailableError("is down", backend="a")


_LOADS = (
    _Load(name="down, fails at once", spread_s=100.0, attempt_s=0.001, failing_ratio=1.0),
    _Load(name="down, fails slowly", spread_s=100.0, attempt_s=5.0, failing_ratio=1.0),
    _Load(
        name="pushes all back for 30 s",
        spread_s=1.0,
        attempt_s=1.0,
        failing_ratio=1.0,
        error=lambda: BackendThrottledError(backend="a", retry_after_s=30.0),
    ),
    _Load(name="one in ten fails", spread_s=100.0, attempt_s=1.0, failing_ratio=0.1),
)


@dataclass(slots=True)
class _Tally:
    calls: int = 0
    answered: int = 0
    retries_in_flight: int = 0
    most_retries_in_flight: int = 0


async def _put_on(load: _Load, config: RetryBudgetConfig | None) -> _Tally:
    clock, chance, tally = VirtualClock(), random.Random(1), _Tally()
    budget = None if config is None else RetryBudget(config, clock=clock)
    retry = Retry(RetryPolicy(max_attempts=2), clock=clock, random=chance.random, budget=budget)

    async def request(number: int) -> None:
        await anyio.sleep(load.spread_s * number / _REQUESTS)
        attempts = 0

        async def attempt() -> None:
            nonlocal attempts
            attempts += 1
            tally.calls += 1
            is_retry = attempts > 1
            tally.retries_in_flight += is_retry
            tally.most_retries_in_flight = max(tally.most_retries_in_flight, tally.retries_in_flight)
            await anyio.sleep(load.attempt_s)
            tally.retries_in_flight -= is_retry
            if chance.random() < load.failing_ratio:
                raise load.error()

        try:
            await retry.call(attempt)
        except BackendError:
            return
        tally.answered += 1

    async with anyio.create_task_group() as tasks:
        for number in range(_REQUESTS):
            tasks.start_soon(request, number)
    return tally


def main() -> bool:
    """Print the table and return whether the whole budget keeps every load within its bound."""
    print(f"\nRetry budget, {_REQUESTS} requests, 2 attempts allowed, virtual time")
    print(f"{'load':<26} {'budget':<16} {'calls/request':>13} {'most retries at once':>21} {'answered':>9}")
    kept = True
    name, options = virtual_backend("asyncio")
    for load in _LOADS:
        for budget, config in _BUDGETS.items():
            tally = anyio.run(_put_on, load, config, backend=name, backend_options=options)
            ratio = tally.calls / _REQUESTS
            kept = kept and (budget != "both" or ratio <= _MOST_CALLS_FOR_EACH_REQUEST)
            print(f"{load.name:<26} {budget:<16} {ratio:>13.3f} {tally.most_retries_in_flight:>21} {tally.answered:>9}")
    print(f"both: at most {_MOST_CALLS_FOR_EACH_REQUEST:g} calls for each request: {'kept' if kept else 'MISSED'}")
    sys.stdout.flush()
    return kept


if __name__ == "__main__":
    sys.exit(not main())
