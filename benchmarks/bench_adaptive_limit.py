"""What different rules make of the same service: simulated, so the figures are the same on every machine.

The service takes 1 s, give or take 10 %, for up to as many calls at once as it has capacity for, and longer in
proportion beyond. 300 callers ask one question after the other for 600 s; the second half is what counts.
"""

from __future__ import annotations

import heapq
import random
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from holdfast.domain.adaptive_limit import AdaptiveLimit, LoadSignal

CALLERS = 300
LASTS_S = 600.0
AIMD_TIMEOUT_S = 5.0  # Netflix' default
SEEDS = range(5)


class _Rule(Protocol):
    limit: int

    def record(self, signal: LoadSignal, *, began_s: float, in_flight: int, now_s: float) -> int: ...


class _Fixed:
    def __init__(self, limit: int) -> None:
        self.limit = limit

    def record(self, signal: LoadSignal, *, began_s: float, in_flight: int, now_s: float) -> int:
        del signal, began_s, in_flight, now_s
        return self.limit


class _AdditiveIncrease:
    """One more for each answer in time, a tenth less for each late one, as Netflix' `AIMDLimit`."""

    def __init__(self) -> None:
        self.limit = 20

    def record(self, signal: LoadSignal, *, began_s: float, in_flight: int, now_s: float) -> int:
        del signal
        if now_s - began_s > AIMD_TIMEOUT_S:
            self.limit = max(1, min(self.limit - 1, int(self.limit * 0.9)))
        elif in_flight * 2 >= self.limit:
            self.limit = min(200, self.limit + 1)
        return self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    answers_per_s: float
    median_s: float
    limit: float


def _simulate(rule: _Rule, capacity_at: Callable[[float], int], seed: int) -> _Result:
    chance = random.Random(seed)
    running: list[tuple[float, int, float]] = []
    begun = 0
    latencies_s: list[float] = []
    limits: list[int] = []
    now_s = 0.0
    while now_s < LASTS_S:
        while len(running) < min(rule.limit, CALLERS):
            begun += 1
            crowding = max(1.0, (len(running) + 1) / capacity_at(now_s))
            heapq.heappush(running, (now_s + chance.uniform(0.9, 1.1) * crowding, begun, now_s))
        now_s, _, began_s = heapq.heappop(running)
        rule.record(LoadSignal.COMPLETED, began_s=began_s, in_flight=len(running) + 1, now_s=now_s)
        if now_s > LASTS_S / 2:
            latencies_s.append(now_s - began_s)
            limits.append(rule.limit)
    return _Result(
        answers_per_s=len(latencies_s) / (LASTS_S / 2),
        median_s=statistics.median(latencies_s),
        limit=statistics.median(limits),
    )


RULES: dict[str, Callable[[], _Rule]] = {
    "nothing": lambda: _Fixed(CALLERS),
    "fixed, 20": lambda: _Fixed(20),
    "AIMD, timeout 5 s": _AdditiveIncrease,
    "latency gradient": AdaptiveLimit,
}
CAPACITIES: dict[str, Callable[[float], int]] = {
    "2": lambda _: 2,
    "20": lambda _: 20,
    "100": lambda _: 100,
    "100, from 100 s on 10": lambda now_s: 100 if now_s < 100 else 10,
}


def _between(numbers: list[float]) -> str:
    return f"{min(numbers):.1f}–{max(numbers):.1f}"


def main() -> bool:
    """Print the table; return whether the gradient uses nine tenths of each capacity at 2.5 s at most."""
    kept = True
    print(f"\nA closed loop of {CALLERS} callers, {len(SEEDS)} seeds")
    print(f"{'capacity':<24} {'rule':<20} {'answers/s':>14} {'median latency, s':>18} {'median limit':>14}")
    for name, capacity_at in CAPACITIES.items():
        for rule, make in RULES.items():
            results = [_simulate(make(), capacity_at, seed) for seed in SEEDS]
            answers = [result.answers_per_s for result in results]
            medians = [result.median_s for result in results]
            limits = _between([result.limit for result in results])
            print(f"{name:<24} {rule:<20} {_between(answers):>14} {_between(medians):>18} {limits:>14}")
            if make is AdaptiveLimit:
                kept = kept and min(answers) >= 0.9 * capacity_at(LASTS_S) and max(medians) <= 2.5
    return kept


if __name__ == "__main__":
    sys.exit(not main())
