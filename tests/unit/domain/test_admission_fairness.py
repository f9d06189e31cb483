"""What tenants get of an admission queue, simulated over thousands of requests."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import pytest

from holdfast.domain.admission_config import AdmissionConfig
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


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request."""

    at_s: float
    tenant: str
    held_s: float
    priority: Priority = Priority.NORMAL


@dataclass(slots=True)
class Result:
    """How the requests of one tenant fared, in seconds."""

    waits_s: list[float]
    sojourns_s: list[float]
    lost: int = 0

    @property
    def p99_wait_s(self) -> float:
        return percentile(sorted(self.waits_s), 99)

    @property
    def p99_sojourn_s(self) -> float:
        return percentile(sorted(self.sojourns_s), 99)


class Simulation:
    """Runs arrivals through a queue in front of `slots` slots; each request holds one for its own time."""

    def __init__(self, slots: int, config: AdmissionConfig, *, patience_s: float = PATIENCE_S) -> None:
        self._clock = ManualClock(0.0)
        self._core = AdmissionCore(config, ConcurrencyLimit(slots))
        self._patience_s = patience_s
        self._ends: list[tuple[float, int, Permit]] = []
        self._numbers = itertools.count()
        self.results: defaultdict[str, Result] = defaultdict(lambda: Result([], []))
        self.started: list[Arrival] = []
        self.started_s: list[float] = []

    def run(self, arrivals: Iterable[Arrival]) -> defaultdict[str, Result]:
        for arrival in sorted(arrivals, key=lambda arrival: arrival.at_s):
            self._finish_until(arrival.at_s)
            self._advance(arrival.at_s)
            self._offer(arrival)
        self._finish_until(float("inf"))
        counted = self._core.statistics()
        assert (counted.waiting, counted.limit.in_flight) == (0, 0)
        return self.results

    def _advance(self, to_s: float) -> None:
        self._clock.advance(to_s - self._clock.monotonic_s())

    def _finish_until(self, until_s: float) -> None:
        while self._ends and self._ends[0][0] <= until_s:
            at_s, _, permit = heapq.heappop(self._ends)
            self._advance(at_s)
            self._core.release(permit, now_s=at_s)

    def _offer(self, arrival: Arrival) -> None:
        urgency = Urgency(arrival.priority, Deadline(arrival.at_s + self._patience_s, self._clock))
        try:
            admitted = self._core.offer(
                tenant=arrival.tenant, size_bytes=1, tokens=TOKENS, urgency=urgency, now_s=arrival.at_s
            )
        except HoldfastError:
            self.results[arrival.tenant].lost += 1
            return
        if isinstance(admitted, Permit):
            self._begin(admitted, arrival)
        else:
            admitted.wake = partial(self._woken, admitted, arrival)

    def _woken(self, entry: Entry, arrival: Arrival) -> None:
        if isinstance(entry.outcome, Permit):
            self._begin(entry.outcome, arrival)
        else:
            self.results[arrival.tenant].lost += 1

    def _begin(self, permit: Permit, arrival: Arrival) -> None:
        now_s, result = self._clock.monotonic_s(), self.results[arrival.tenant]
        self.started.append(arrival)
        self.started_s.append(now_s)
        result.waits_s.append(now_s - arrival.at_s)
        result.sojourns_s.append(now_s + arrival.held_s - arrival.at_s)
        heapq.heappush(self._ends, (now_s + arrival.held_s, next(self._numbers), permit))


def poisson(
    rng: random.Random,
    tenant: str,
    *,
    per_s: float,
    until_s: float,
    held_s: Callable[[], float],
    priority: Priority = Priority.NORMAL,
) -> list[Arrival]:
    arrivals, now_s = [], rng.expovariate(per_s)
    while now_s < until_s:
        arrivals.append(Arrival(now_s, tenant, held_s(), priority))
        now_s += rng.expovariate(per_s)
    return arrivals


def bursts(tenant: str, *, size: int, every_s: float, count: int, held_s: Callable[[], float]) -> list[Arrival]:
    return [Arrival(number * every_s, tenant, held_s()) for number in range(count) for _ in range(size)]


def held_by(rng: random.Random, *, constant: bool) -> Callable[[], float]:
    return (lambda: 1.0) if constant else (lambda: rng.expovariate(1.0))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("slots", [1, 4, 20])
@pytest.mark.parametrize("load", [0.05, 0.3])
@pytest.mark.parametrize("constant", [True, False])
def test_tenant_beside_one_that_sends_a_hundred_times_as_much_takes_at_most_twice_as_long_as_alone(
    constant: bool, load: float, slots: int, seed: int
) -> None:
    rng = random.Random(seed)
    per_s, held_s = load * slots, held_by(rng, constant=constant)
    small = poisson(rng, "small", per_s=per_s, until_s=200 / per_s, held_s=held_s)
    big = poisson(rng, "big", per_s=100 * per_s, until_s=200 / per_s, held_s=held_s)

    alone = Simulation(slots, AdmissionConfig()).run(small)["small"]
    together = Simulation(slots, AdmissionConfig()).run(small + big)

    assert together["small"].p99_sojourn_s <= 2 * alone.p99_sojourn_s
    assert together["small"].lost == 0
    assert together["big"].lost > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("slots", [1, 4, 20])
@pytest.mark.parametrize("constant", [True, False])
def test_tenant_whose_bursts_wait_alone_waits_at_most_twice_as_long_beside_one_that_sends_a_hundred_times_as_much(
    constant: bool, slots: int, seed: int
) -> None:
    rng = random.Random(seed)
    held_s = held_by(rng, constant=constant)
    small = bursts("small", size=4 * slots, every_s=10.0, count=max(4, 40 // slots), held_s=held_s)
    big = poisson(rng, "big", per_s=100 * 0.4 * slots, until_s=small[-1].at_s + 10.0, held_s=held_s)

    alone = Simulation(slots, AdmissionConfig()).run(small)["small"]
    together = Simulation(slots, AdmissionConfig()).run(small + big)

    assert together["small"].p99_wait_s <= 2 * alone.p99_wait_s
    assert together["small"].lost == 0
    assert together["big"].lost > 0


@pytest.mark.slow
@pytest.mark.parametrize(("constant", "load"), [(True, 0.1), (True, 0.3), (False, 0.3)])
@pytest.mark.parametrize("seed", [1, 2])
def test_tenant_whose_requests_wait_alone_waits_at_most_twice_as_long_beside_one_that_sends_a_hundred_times_as_much(
    constant: bool, load: float, seed: int
) -> None:
    rng = random.Random(seed)
    held_s = held_by(rng, constant=constant)
    small = poisson(rng, "small", per_s=load, until_s=200 / load, held_s=held_s)
    big = poisson(rng, "big", per_s=100 * load, until_s=200 / load, held_s=held_s)

    alone = Simulation(1, AdmissionConfig()).run(small)["small"]
    together = Simulation(1, AdmissionConfig()).run(small + big)["small"]

    assert together.p99_wait_s <= 2 * alone.p99_wait_s


@pytest.mark.slow
@pytest.mark.parametrize("slots", [1, 4, 20])
def test_tenant_that_uses_less_than_its_share_waits_hardly_longer_than_with_a_higher_priority(slots: int) -> None:
    rng = random.Random(5)
    held_s = held_by(rng, constant=False)
    small = poisson(rng, "small", per_s=0.3 * slots, until_s=600 / slots, held_s=held_s)
    big = poisson(rng, "big", per_s=30.0 * slots, until_s=600 / slots, held_s=held_s)
    urgent = [replace(arrival, priority=Priority.HIGH) for arrival in small]

    fair = Simulation(slots, AdmissionConfig()).run(small + big)["small"]
    first = Simulation(slots, AdmissionConfig(ageing_s=1e6)).run(urgent + big)["small"]

    assert fair.p99_wait_s <= 1.1 * first.p99_wait_s + 0.1


def test_tenants_of_unequal_weight_that_send_too_much_are_served_by_their_weights() -> None:
    rng = random.Random(1)
    held_s = held_by(rng, constant=False)
    arrivals = [
        arrival
        for tenant in ("heavy", "light")
        for arrival in poisson(rng, tenant, per_s=20.0, until_s=60.0, held_s=held_s)
    ]
    simulation = Simulation(4, AdmissionConfig(weights={"heavy": 3.0}))
    simulation.run(arrivals)

    served = Counter(arrival.tenant for arrival in simulation.started[4:200])
    assert served["heavy"] / served["light"] == pytest.approx(3.0, rel=0.05)


def test_low_priority_under_too_much_of_a_high_one_is_served_once_it_has_aged() -> None:
    rng = random.Random(2)
    held_s = held_by(rng, constant=True)
    high = poisson(rng, "high", per_s=10.0, until_s=300.0, held_s=held_s, priority=Priority.HIGH)
    low = poisson(rng, "low", per_s=0.05, until_s=300.0, held_s=held_s, priority=Priority.LOW)

    results = Simulation(4, AdmissionConfig(ageing_s=5.0)).run(high + low)

    assert results["low"].lost == 0
    assert max(results["low"].waits_s) <= 2 * 5.0 + AdmissionConfig().overload_timeout_s + 1.0
    assert results["high"].lost > 1000


def test_line_that_is_overloaded_itself_is_served_under_too_much_of_a_high_priority() -> None:
    rng = random.Random(3)
    held_s = held_by(rng, constant=True)
    high = poisson(rng, "a", per_s=10.0, until_s=300.0, held_s=held_s, priority=Priority.CRITICAL)
    bulk = poisson(rng, "a", per_s=10.0, until_s=300.0, held_s=held_s, priority=Priority.BULK)
    simulation = Simulation(4, AdmissionConfig(ageing_s=5.0))
    simulation.run(high + bulk)

    turns = [place for place, arrival in enumerate(simulation.started) if arrival.priority is Priority.BULK]
    gaps = [later - earlier for earlier, later in itertools.pairwise(turns) if later < 4 * 300]
    assert len(gaps) >= 10
    assert max(gaps) <= 4 * 30


def test_high_priority_never_waits_behind_a_low_one_that_has_not_aged() -> None:
    rng = random.Random(4)
    held_s = held_by(rng, constant=False)
    config = AdmissionConfig(ageing_s=1e6)
    arrivals = [
        arrival
        for number, priority in enumerate(Priority)
        for arrival in poisson(rng, f"{number % 2}", per_s=1.5, until_s=200.0, held_s=held_s, priority=priority)
    ]
    simulation = Simulation(4, config)
    simulation.run(arrivals)

    began_s = {id(arrival): at_s for arrival, at_s in zip(simulation.started, simulation.started_s, strict=True)}
    for arrival in simulation.started:
        overtaken = [
            other
            for other in simulation.started
            if other.priority > arrival.priority and arrival.at_s < began_s[id(other)] < began_s[id(arrival)]
        ]
        assert overtaken == []


def test_overload_answers_as_many_and_almost_all_of_them_soon() -> None:
    rng = random.Random(5)
    arrivals = poisson(rng, "a", per_s=20.0, until_s=300.0, held_s=lambda: rng.expovariate(0.5))

    newest, oldest = (Simulation(20, AdmissionConfig(overload_timeout_s=timeout_s)) for timeout_s in (5.0, 1e6))
    waits_s = [sorted(simulation.run(arrivals)["a"].waits_s) for simulation in (newest, oldest)]

    served = [sum(at_s <= 300.0 for at_s in simulation.started_s) for simulation in (newest, oldest)]
    assert served[0] >= 0.95 * served[1]
    assert percentile(waits_s[0], 90) <= 10.0
    assert percentile(waits_s[1], 50) > 30.0


def test_burst_that_takes_long_to_work_off_sheds_nobody() -> None:
    arrivals = bursts("a", size=500, every_s=1.0, count=1, held_s=lambda: 1.0)

    result = Simulation(10, AdmissionConfig()).run(arrivals)["a"]

    assert (result.lost, max(result.waits_s)) == (0, 49.0)
