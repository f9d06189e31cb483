from __future__ import annotations

import math

import pytest

from holdfast.domain.route_load import Journey, RouteLoad
from holdfast.testing import ManualClock

DECAY_S = 10.0


def observed(*costs_s: float, clock: ManualClock | None = None) -> RouteLoad:
    load = RouteLoad(DECAY_S, clock or ManualClock())
    for cost_s in costs_s:
        load.observe(cost_s, is_answer=True)
    return load


def test_cost_before_any_request_is_none() -> None:
    assert observed().cost_s() is None


def test_cost_after_one_slow_answer_is_that_ones() -> None:
    assert observed(0.1, 5.0).cost_s() == 5.0


def test_cost_after_a_fast_answer_a_decay_time_later_is_mostly_the_fast_one() -> None:
    clock = ManualClock()
    load = observed(5.0, clock=clock)
    clock.advance(DECAY_S)

    load.observe(1.0, is_answer=True)

    assert load.cost_s() == pytest.approx(5.0 / math.e + 1.0 * (1 - 1 / math.e))


def test_cost_of_a_backend_that_nobody_asks_fades() -> None:
    clock = ManualClock()
    load = observed(5.0, clock=clock)

    clock.advance(DECAY_S)
    after_one = load.cost_s()
    clock.advance(DECAY_S)

    assert after_one == pytest.approx(5.0 / math.e)
    assert load.cost_s() == pytest.approx(5.0 / math.e**2)


def test_cost_read_any_number_of_times_fades_no_faster() -> None:
    clock = ManualClock()
    load = observed(5.0, clock=clock)
    for _ in range(10):
        clock.advance(DECAY_S / 10)
        load.cost_s()

    assert load.cost_s() == pytest.approx(5.0 / math.e)


def test_observe_quick_failure_makes_a_backend_no_faster_and_keeps_it_from_fading() -> None:
    clock = ManualClock()
    load = observed(1.0, clock=clock)
    for _ in range(5):
        clock.advance(DECAY_S)
        load.observe(0.001, is_answer=False)

    assert load.cost_s() == 1.0


def test_observe_slow_failure_is_known_as_slow() -> None:
    load = observed(1.0)

    load.observe(30.0, is_answer=False)

    assert load.cost_s() == 30.0


def test_value_of_a_backend_that_is_not_known_is_nothing_until_one_request_tries_it() -> None:
    load = observed()
    before = load.value()
    load.in_flight = 1

    assert (before, load.value()) == (0.0, math.inf)


def test_value_grows_with_every_request_in_flight() -> None:
    load = observed(2.0)
    values = []
    for in_flight in range(3):
        load.in_flight = in_flight
        values.append(load.value())

    assert values == [2.0, 4.0, 6.0]


def test_value_after_a_quiet_day_still_counts_the_requests_in_flight() -> None:
    clock = ManualClock()
    load = observed(2.0, clock=clock)
    clock.advance(24 * 3600.0)
    idle = load.value()
    load.in_flight = 1

    assert load.value() > idle > 0.0


class SteppingClock(ManualClock):
    """Can be set to any time."""

    def set_back(self, seconds: float) -> None:
        self._now_s -= seconds


def test_cost_after_the_clock_was_set_back_an_hour_neither_fades_at_once_nor_stops_fading() -> None:
    clock = SteppingClock(now_s=100_000.0)
    load = observed(5.0, clock=clock)

    clock.set_back(3600.0)
    at_once = load.cost_s()
    clock.advance(DECAY_S)

    assert at_once == 5.0
    assert load.cost_s() == pytest.approx(5.0 / math.e)


def test_observe_after_the_clock_was_set_back_an_hour_is_taken_as_ever() -> None:
    clock = SteppingClock(now_s=100_000.0)
    load = observed(5.0, clock=clock)
    clock.set_back(3600.0)
    clock.advance(DECAY_S)

    load.observe(6.0, is_answer=True)
    clock.advance(DECAY_S)

    assert load.cost_s() == pytest.approx(6.0 / math.e)


def journeyed(*backends: str, clock: ManualClock) -> tuple[Journey, dict[str, RouteLoad]]:
    loads = {name: RouteLoad(DECAY_S, clock) for name in ("a", "b", "c")}
    journey = Journey(loads, clock)
    for backend in backends:
        journey.turn_to(backend)
        clock.advance(1.0)
    return journey, loads


def test_journey_is_in_flight_at_every_backend_that_it_turned_to() -> None:
    _, loads = journeyed("a", "b", clock=ManualClock())

    assert [load.in_flight for load in loads.values()] == [1, 1, 0]


def test_journey_that_ends_charges_each_backend_until_the_end() -> None:
    journey, loads = journeyed("a", "b", clock=ManualClock())

    journey.end(is_answer=True)

    assert [load.cost_s() for load in loads.values()] == [2.0, 1.0, None]
    assert [load.in_flight for load in loads.values()] == [0, 0, 0]


def test_journey_that_says_nothing_charges_nothing() -> None:
    journey, loads = journeyed("a", "b", clock=ManualClock())

    journey.end(is_answer=None)

    assert [load.cost_s() for load in loads.values()] == [None, None, None]
    assert [load.in_flight for load in loads.values()] == [0, 0, 0]


def test_journey_that_ends_before_it_began_is_in_flight_nowhere() -> None:
    journey, loads = journeyed(clock=ManualClock())

    journey.end(is_answer=True)

    assert [(load.in_flight, load.cost_s()) for load in loads.values()] == [(0, None)] * 3


def test_journey_during_which_the_clock_was_set_back_an_hour_charges_no_time() -> None:
    clock = SteppingClock(now_s=100_000.0)
    journey, loads = journeyed("a", clock=clock)
    clock.set_back(3600.0)

    journey.end(is_answer=True)

    assert loads["a"].cost_s() == 0.0
