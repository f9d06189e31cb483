"""What tenants get of an admission queue, and what overload does to their waits: the figures of ADR 0016 and 0017.

Simulated, so that an hour takes a second and the same seed gives the same figures. Two tenants, of which one sends a
hundred times as much as the other; then one tenant that sends more than the slots can serve.
"""

from __future__ import annotations

import heapq
import itertools
import random
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from holdfast.domain.admission import AdmissionConfig
from holdfast.domain.admission_core import AdmissionCore
from holdfast.domain.admission_flow import Entry
from holdfast.domain.concurrency_limit import ConcurrencyLimit, Permit
from holdfast.domain.deadline import Deadline
from holdfast.domain.latency import percentile
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import HoldfastError
from holdfast.ports.service import Priority
from holdfast.testing import ManualClock

TOKENS = 1000
PATIENCE_S = 60.0
NEVER_S = 1e9
SEEDS = range(3)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that holds a slot for `held_s` seconds; `sender` is whose it is, `tenant` what the queue is told."""

    at_s: float
    sender: str
    tenant: str
    held_s: float
    priority: Priority = Priority.NORMAL


@dataclass(slots=True)
class Result:
    """How long those waited that were served, how long they took in all, and how many were not served."""

    waits_s: list[float] = field(default_factory=list)
    sojourns_s: list[float] = field(default_factory=list)
    lost: int = 0


def simulate(slots: int, arrivals: list[Arrival], config: AdmissionConfig) -> dict[str, Result]:
    """Send `arrivals` through a queue and return how each sender fared."""
    clock, core = ManualClock(0.0), AdmissionCore(config, ConcurrencyLimit(slots))
    ends: list[tuple[float, int, Permit]] = []
    numbers = itertools.count()
    results: defaultdict[str, Result] = defaultdict(Result)

    def finish(until_s: float) -> None:
        while ends and ends[0][0] <= until_s:
            at_s, _, permit = heapq.heappop(ends)
            clock.advance(at_s - clock.monotonic_s())
            core.release(permit, now_s=at_s)

    def begin(permit: Permit, arrival: Arrival) -> None:
        now_s = clock.monotonic_s()
        results[arrival.sender].waits_s.append(now_s - arrival.at_s)
        results[arrival.sender].sojourns_s.append(now_s + arrival.held_s - arrival.at_s)
        heapq.heappush(ends, (now_s + arrival.held_s, next(numbers), permit))

    def woken(entry: Entry, arrival: Arrival) -> None:
        if isinstance(entry.outcome, Permit):
            begin(entry.outcome, arrival)
        else:
            results[arrival.sender].lost += 1

    for arrival in sorted(arrivals, key=lambda arrival: arrival.at_s):
        finish(arrival.at_s)
        clock.advance(arrival.at_s - clock.monotonic_s())
        urgency = Urgency(arrival.priority, Deadline(arrival.at_s + PATIENCE_S, clock))
        try:
            admitted = core.offer(
                tenant=arrival.tenant, size_bytes=1, tokens=TOKENS, urgency=urgency, now_s=arrival.at_s
            )
        except HoldfastError:
            results[arrival.sender].lost += 1
            continue
        if isinstance(admitted, Permit):
            begin(admitted, arrival)
        else:
            admitted.wake = partial(woken, admitted, arrival)
    finish(NEVER_S)
    return results


def poisson(
    rng: random.Random, sender: str, per_s: float, until_s: float, held_s: Callable[[], float]
) -> list[Arrival]:
    """Return random arrivals, `per_s` of them in a second on average."""
    arrivals, now_s = [], rng.expovariate(per_s)
    while now_s < until_s:
        arrivals.append(Arrival(now_s, sender, sender, held_s()))
        now_s += rng.expovariate(per_s)
    return arrivals


def p99(values: list[float]) -> float:
    """Return the 99th percentile."""
    return percentile(sorted(values), 99)


def spread(values: list[float]) -> str:
    """Return the lowest and the highest."""
    return f"{min(values):.2f}–{max(values):.2f}"


ORDERS: dict[str, Callable[[list[Arrival]], tuple[list[Arrival], AdmissionConfig]]] = {
    "one line for both": lambda arrivals: (
        [replace(arrival, tenant="both") for arrival in arrivals],
        AdmissionConfig(overload_timeout_s=NEVER_S),
    ),
    "start-time fair queueing, no burst": lambda arrivals: (arrivals, AdmissionConfig(burst_tokens=0)),
    "with a burst of 8 requests": lambda arrivals: (arrivals, AdmissionConfig(burst_tokens=8 * TOKENS)),
    "with a burst of 65 (the default)": lambda arrivals: (arrivals, AdmissionConfig()),
    "strict priority for the small tenant": lambda arrivals: (
        [replace(each, priority=Priority.HIGH) if each.sender == "small" else each for each in arrivals],
        AdmissionConfig(ageing_s=NEVER_S),
    ),
}


def _print_fairness(*, slots: int, load: float, constant: bool) -> None:
    rows: dict[str, list[tuple[float, float, int]]] = {name: [] for name in ("the small tenant alone", *ORDERS)}
    for seed in SEEDS:
        rng = random.Random(seed)
        held_s = (lambda: 1.0) if constant else partial(rng.expovariate, 1.0)
        per_s, until_s = load * slots, 300 / (load * slots)
        small = poisson(rng, "small", per_s, until_s, held_s)
        big = poisson(rng, "big", 100 * per_s, until_s, held_s)
        orders = {"the small tenant alone": (small, AdmissionConfig())}
        orders |= {name: order(small + big) for name, order in ORDERS.items()}
        for name, (arrivals, config) in orders.items():
            result = simulate(slots, arrivals, config)["small"]
            rows[name].append((p99(result.waits_s), p99(result.sojourns_s), result.lost))
    kind = "constant" if constant else "exponential"
    print(f"\n{slots} slots held for 1 s ({kind}); the small tenant sends {load:.0%} of capacity, the big one 100× it")
    print(f"  {'':<40} {'P99 wait, s':>14} {'P99 in all, s':>16} {'in all / alone':>16} {'lost':>8}")
    alone_s = [sojourn_s for _, sojourn_s, _ in rows["the small tenant alone"]]
    for name, figures in rows.items():
        ratios = [sojourn_s / by_itself_s for (_, sojourn_s, _), by_itself_s in zip(figures, alone_s, strict=True)]
        waits_s, sojourns_s = spread([wait_s for wait_s, _, _ in figures]), spread([each for _, each, _ in figures])
        lost = sum(each for _, _, each in figures)
        print(f"  {name:<40} {waits_s:>14} {sojourns_s:>16} {spread(ratios):>16} {lost:>8}")


def _print_overload(load: float) -> None:
    print(
        f"\n20 slots held for 2 s (exponential); {load:.0%} of capacity sent for 600 s; callers wait {PATIENCE_S:g} s"
    )
    print(f"  {'':<40} {'answered':>14} {'within 10 s':>16} {'P50 wait, s':>14} {'P99 wait, s':>14}")
    orders = {
        "oldest first": AdmissionConfig(overload_timeout_s=NEVER_S),
        "newest first after 5 s, shed after 1 s": AdmissionConfig(overload_after_s=5.0, overload_timeout_s=1.0),
        "newest first after 10 s, shed after 2 s": AdmissionConfig(overload_timeout_s=2.0),
        "newest first after 10 s, shed after 5 s": AdmissionConfig(),
        "newest first after 30 s, shed after 5 s": AdmissionConfig(overload_after_s=30.0),
    }
    for name, config in orders.items():
        answered, soon, p50_s, p99_s = [], [], [], []
        for seed in SEEDS:
            rng = random.Random(seed)
            arrivals = poisson(rng, "a", 10.0 * load, 600.0, partial(rng.expovariate, 0.5))
            waits_s = sorted(simulate(20, arrivals, config)["a"].waits_s)
            answered.append(len(waits_s) / len(arrivals))
            soon.append(sum(wait_s <= 10.0 for wait_s in waits_s) / len(arrivals))
            p50_s.append(percentile(waits_s, 50))
            p99_s.append(percentile(waits_s, 99))
        print(f"  {name:<40} {spread(answered):>14} {spread(soon):>16} {spread(p50_s):>14} {spread(p99_s):>14}")


def main() -> bool:
    """Print the tables; there is no budget to miss."""
    for slots, load, constant in ((1, 0.05, True), (1, 0.3, True), (4, 0.3, True), (1, 0.3, False), (20, 0.3, False)):
        _print_fairness(slots=slots, load=load, constant=constant)
    for load in (0.9, 0.95, 1.2, 2.0, 5.0):
        _print_overload(load)
    return True


if __name__ == "__main__":
    sys.exit(not main())
