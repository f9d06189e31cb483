"""What a breaker adds to a call that succeeds, and what a refusal costs."""

from __future__ import annotations

import contextlib
import random
import sys

import anyio
import pybreaker
from harness import Row, measure, measure_async, report

from holdfast.adapters.pybreaker import PybreakerTripPolicy
from holdfast.adapters.system.clock import SystemClock
from holdfast.domain.breaker_config import BreakerConfig, BreakerMode
from holdfast.domain.circuit_breaker import CircuitBreaker
from holdfast.domain.outcomes import SUCCEEDED
from holdfast.ports.errors import BreakerOpenError

_BUDGET_P50_US = 2.0
_BUDGET_P99_US = 50.0


class _Counter:
    """The least that a breaker could do: count a call in, and out again."""

    def __init__(self) -> None:
        self.in_flight = 0

    def acquire(self) -> None:
        self.in_flight += 1

    def settle(self) -> None:
        self.in_flight -= 1


def _make(config: BreakerConfig, judge: pybreaker.CircuitBreaker | None = None) -> CircuitBreaker:
    policy = PybreakerTripPolicy(judge) if judge is not None else None
    return CircuitBreaker("bench", config, clock=SystemClock(), random=random.random, trip_policy=policy)


def _check_and_settle() -> list[Row]:
    counter = _Counter()
    by_time, by_count = _make(BreakerConfig()), _make(BreakerConfig(window_calls=100))
    by_pybreaker = _make(BreakerConfig(), pybreaker.CircuitBreaker())
    refusing = _make(BreakerConfig(mode=BreakerMode.FORCED_OPEN))
    peer, open_peer = pybreaker.CircuitBreaker(), pybreaker.CircuitBreaker()
    open_peer.open()

    def count() -> None:
        counter.acquire()
        counter.settle()

    def refused() -> None:
        with contextlib.suppress(BreakerOpenError):
            refusing.acquire()

    def peer_refused() -> None:
        with contextlib.suppress(pybreaker.CircuitBreakerError):
            open_peer.call(int)

    return [
        measure("floor: a counter up and down", count),
        measure(
            "acquire and settle, window of 30 s",
            lambda: by_time.settle(by_time.acquire(), SUCCEEDED),
            budget_p50_us=_BUDGET_P50_US,
            budget_p99_us=_BUDGET_P99_US,
        ),
        measure(
            "acquire and settle, window of 100 calls",
            lambda: by_count.settle(by_count.acquire(), SUCCEEDED),
            budget_p50_us=_BUDGET_P50_US,
            budget_p99_us=_BUDGET_P99_US,
        ),
        measure(
            "acquire and settle, judged by a pybreaker",
            lambda: by_pybreaker.settle(by_pybreaker.acquire(), SUCCEEDED),
        ),
        measure("pybreaker: call", lambda: peer.call(int)),
        measure("refusal, raised and caught", refused),
        measure("pybreaker: refusal, raised and caught", peer_refused),
    ]


async def _calls() -> list[Row]:
    breaker, peer = _make(BreakerConfig()), pybreaker.CircuitBreaker()

    async def work() -> int:
        return 1

    async def calling() -> int:
        with peer.calling():
            return await work()

    bare = await measure_async("bare await work()", work)
    return [
        bare,
        await measure_async(
            "CircuitBreaker.call",
            lambda: breaker.call(work),
            budget_p50_us=bare.p50_us + _BUDGET_P50_US,
            budget_p99_us=bare.p99_us + _BUDGET_P99_US,
        ),
        await measure_async("pybreaker: with calling()", calling),
    ]


def main() -> bool:
    """Print the tables and return whether the budgets are kept."""
    packages = ("anyio", "pybreaker")
    return all(
        [
            report("Breaker, check and settle", _check_and_settle(), packages=packages),
            report("Breaker, calls that succeed", anyio.run(_calls), packages=packages),
        ]
    )


if __name__ == "__main__":
    sys.exit(not main())
