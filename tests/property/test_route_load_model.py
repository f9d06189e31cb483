"""Requests on their way, under any history of turns, ends and time."""

from __future__ import annotations

import math
import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from holdfast.domain.route_choice import RouteChoice, RoutingConfig, RoutingStrategy
from holdfast.domain.route_load import Journey
from holdfast.testing import ManualClock

BACKENDS = ("a", "b", "c")


class SteppingClock(ManualClock):
    """Can be set back too."""

    def step(self, seconds: float) -> None:
        self._now_s += seconds


class LoadMachine(RuleBasedStateMachine):
    """The model knows where every request is, and which backends were ever charged."""

    journeys: Bundle[Journey] = Bundle("journeys")

    @initialize(chance=st.randoms(use_true_random=False))
    def begin(self, chance: random.Random) -> None:
        self.clock = SteppingClock(now_s=1_000_000.0)
        config = RoutingConfig(strategy=RoutingStrategy.FASTEST)
        self.choice = RouteChoice(BACKENDS, config, clock=self.clock, random=chance.random)
        self.measured: set[str] = set()
        self.asked: dict[Journey, set[str]] = {}

    @rule(seconds=st.one_of(st.floats(0.0, 100.0), st.sampled_from([-3600.0, 3600.0])))
    def time_passes_or_the_clock_is_set(self, seconds: float) -> None:
        self.clock.step(seconds)

    @rule(target=journeys)
    def request_departs(self) -> Journey:
        journey = self.choice.depart()
        assert journey is not None
        self.asked[journey] = set()
        return journey

    @rule(journey=journeys, backend=st.sampled_from(BACKENDS))
    def request_turns_to(self, journey: Journey, backend: str) -> None:
        if backend not in self.asked[journey]:
            journey.turn_to(backend)
            self.asked[journey].add(backend)

    @rule(journey=consumes(journeys), is_answer=st.sampled_from([True, False, None]))
    def request_ends(self, journey: Journey, is_answer: bool | None) -> None:
        journey.end(is_answer=is_answer)
        asked = self.asked.pop(journey)
        if is_answer is not None:
            self.measured |= asked

    @rule()
    def order_begins_with_one_that_costs_no_more_than_some_other(self) -> None:
        order = self.choice.order("")
        values = [self.choice.loads[name].value() for name in order]
        assert values[0] <= values[-1]
        assert values[1:] == sorted(values[1:])

    @invariant()
    def every_request_is_in_flight_where_it_turned_to(self) -> None:
        assert {name: load.in_flight for name, load in self.choice.loads.items()} == {
            name: sum(name in asked for asked in self.asked.values()) for name in BACKENDS
        }

    @invariant()
    def costs_are_known_of_those_that_were_charged_and_are_never_below_nothing(self) -> None:
        costs_s = {name: load.cost_s() for name, load in self.choice.loads.items()}
        assert {name for name, cost_s in costs_s.items() if cost_s is not None} == self.measured
        assert all(cost_s is None or 0.0 <= cost_s < math.inf for cost_s in costs_s.values())


TestRouteLoad = LoadMachine.TestCase
TestRouteLoad.settings = settings(max_examples=50, stateful_step_count=40)
