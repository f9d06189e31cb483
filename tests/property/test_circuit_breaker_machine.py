"""The breaker against a model that keeps every call and recounts everything each time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from holdfast.domain.breaker_config import BreakerConfig, BreakerMode
from holdfast.domain.circuit_breaker import CircuitBreaker, Permit
from holdfast.ports.events import BreakerClosed, BreakerHalfOpened, BreakerOpened, BreakerRefused
from holdfast.ports.outcome import Outcome, Verdict
from holdfast.ports.statistics import BreakerState
from holdfast.testing import ManualClock
from tests.fakes.events import Listener

UNIFORM = 0.5
JUDGED = [Outcome.SUCCESS, Outcome.FAILURE, Outcome.SLOW, Outcome.REJECTED_BY_PEER]
BAD = (Outcome.FAILURE, Outcome.REJECTED_BY_PEER)


@dataclass
class Model:
    """What the breaker should be, told in the slowest and plainest way."""

    config: BreakerConfig
    state: BreakerState
    since_s: float
    generation: int = 1
    calls: list[tuple[float, Outcome]] = field(default_factory=list)
    probes: list[Outcome] = field(default_factory=list)
    probing_since_s: float | None = None
    until_s: float = 0.0
    earlier_openings: int = 0
    opened: int = 0
    would_have_opened: int = 0

    def enter(self, state: BreakerState, now_s: float) -> None:
        self.state, self.since_s, self.generation = state, now_s, self.generation + 1
        self.calls, self.probes, self.probing_since_s = [], [], None

    def open(self, now_s: float, retry_after_s: float | None) -> None:
        config = self.config
        if self.state is BreakerState.CLOSED:
            forgotten = math.floor((now_s - self.since_s) / config.forget_opening_s)
            self.earlier_openings = max(0, self.earlier_openings - forgotten)
        own_s = config.open_s * 2**self.earlier_openings * (0.5 + UNIFORM / 2)
        asked_s = (retry_after_s or 0.0) * (1 + UNIFORM / 10)
        if config.open_s * 2**self.earlier_openings < config.max_open_s:
            self.earlier_openings += 1
        else:
            own_s = config.max_open_s * (0.5 + UNIFORM / 2)
        self.opened += 1
        self.enter(BreakerState.OPEN, now_s)
        self.until_s = now_s + min(config.max_open_s, max(own_s, asked_s))

    def pass_time(self, now_s: float) -> None:
        timeout_s = self.config.probe_timeout_s
        if self.probing_since_s is not None and now_s >= self.probing_since_s + timeout_s:
            self.open(self.probing_since_s + timeout_s, None)
        if self.state is BreakerState.OPEN and now_s >= self.until_s:
            self.enter(BreakerState.HALF_OPEN, self.until_s)

    def admits(self, now_s: float) -> bool:
        if self.state in (BreakerState.OPEN, BreakerState.FORCED_OPEN):
            return False
        if self.state is BreakerState.HALF_OPEN:
            if self.probing_since_s is not None:
                return False
            self.probing_since_s = now_s
        return True

    def should_trip(self, now_s: float) -> bool:
        config = self.config
        row = 0
        for _, outcome in reversed(self.calls):
            if outcome not in BAD:
                break
            row += 1
        bucket_s = config.window_s / config.window_buckets
        first_bucket = now_s // bucket_s - config.window_buckets + 1
        window = [outcome for at_s, outcome in self.calls if at_s // bucket_s >= first_bucket]
        if config.window_calls is not None:
            window = [outcome for _, outcome in self.calls[-config.window_calls :]]
        if config.failures_in_row is not None and row >= config.failures_in_row:
            return True
        if len(window) < config.min_calls:
            return False
        slow_ratio = config.slow_ratio if config.slow_ratio is not None else math.inf
        return sum(outcome in BAD for outcome in window) >= config.failure_ratio * len(window) or sum(
            outcome is Outcome.SLOW for outcome in window
        ) >= slow_ratio * len(window)

    def settle(self, generation: int, verdict: Verdict, now_s: float) -> None:
        if generation != self.generation:
            return
        if self.state is BreakerState.HALF_OPEN:
            self.probing_since_s = None
        if verdict.outcome is Outcome.IGNORED:
            return
        if self.state is BreakerState.HALF_OPEN:
            self.judge_probe(verdict, now_s)
        elif self.state in (BreakerState.CLOSED, BreakerState.METRICS_ONLY):
            self.calls.append((now_s, verdict.outcome))
            if self.should_trip(now_s):
                self.trip(verdict, now_s)

    def trip(self, verdict: Verdict, now_s: float) -> None:
        if self.state is BreakerState.CLOSED:
            self.open(now_s, verdict.retry_after_s)
        else:
            self.would_have_opened += 1
            self.calls = []

    def judge_probe(self, verdict: Verdict, now_s: float) -> None:
        self.probes.append(verdict.outcome)
        succeeded = self.probes.count(Outcome.SUCCESS)
        still_possible = succeeded + self.config.probe_calls - len(self.probes)
        if succeeded == self.config.probe_successes:
            self.enter(BreakerState.CLOSED, now_s)
        elif still_possible < self.config.probe_successes:
            self.open(now_s, verdict.retry_after_s)


CONFIGS = st.builds(
    BreakerConfig,
    window_s=st.sampled_from([10.0, 30.0]),
    window_buckets=st.sampled_from([1, 2, 10]),
    window_calls=st.none() | st.integers(4, 8),
    min_calls=st.integers(1, 4),
    failure_ratio=st.sampled_from([0.25, 0.5, 1.0]),
    failures_in_row=st.none() | st.integers(1, 4),
    slow_ratio=st.none() | st.sampled_from([0.5, 1.0]),
    slow_after_s=st.just(1e9),
    open_s=st.sampled_from([1.0, 5.0]),
    max_open_s=st.sampled_from([5.0, 20.0]),
    forget_opening_s=st.sampled_from([1.0, 10.0]),
    probe_calls=st.integers(2, 3),
    probe_successes=st.integers(1, 2),
    probe_timeout_s=st.sampled_from([2.0, 60.0]),
)
BY_MODE = {
    BreakerMode.AUTOMATIC: BreakerState.CLOSED,
    BreakerMode.FORCED_OPEN: BreakerState.FORCED_OPEN,
    BreakerMode.DISABLED: BreakerState.DISABLED,
    BreakerMode.METRICS_ONLY: BreakerState.METRICS_ONLY,
}
TOLD_AS = {
    BreakerState.OPEN: BreakerOpened,
    BreakerState.FORCED_OPEN: BreakerOpened,
    BreakerState.HALF_OPEN: BreakerHalfOpened,
    BreakerState.CLOSED: BreakerClosed,
    BreakerState.DISABLED: BreakerClosed,
    BreakerState.METRICS_ONLY: BreakerClosed,
}


class CircuitBreakerMachine(RuleBasedStateMachine):
    permits = Bundle("permits")

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.told = Listener()
        self.held: set[Permit] = set()
        self.admitted = self.refused = 0
        self.counted = dict.fromkeys(Outcome, 0)

    @initialize(config=CONFIGS)
    def make(self, config: BreakerConfig) -> None:
        self.config = config
        self.breaker = CircuitBreaker("model", config, clock=self.clock, random=lambda: UNIFORM, events=self.told)
        self.model = Model(config=config, state=BreakerState.CLOSED, since_s=self.clock.monotonic_s())

    def _acquire(self) -> Permit | None:
        now_s = self.clock.monotonic_s()
        self.model.pass_time(now_s)
        expected = self.model.admits(now_s)

        permit = self.breaker.try_acquire()

        assert (permit is not None) == expected
        if permit is None:
            self.refused += 1
        else:
            self.admitted += 1
            self.held.add(permit)
            assert permit.generation == self.model.generation
        return permit

    @rule(target=permits)
    def acquire(self) -> Permit | None:
        return self._acquire()

    def _settle(self, permit: Permit | None, verdict: Verdict) -> None:
        if permit is None:
            return
        now_s = self.clock.monotonic_s()
        self.model.pass_time(now_s)
        if permit in self.held:
            self.held.remove(permit)
            self.counted[verdict.outcome] += 1
            self.model.settle(permit.generation, verdict, now_s)
        self.breaker.settle(permit, verdict)

    @rule(
        permit=consumes(permits),
        outcome=st.sampled_from(JUDGED),
        retry_after_s=st.none() | st.sampled_from([0.0, 3.0, 1000.0]),
    )
    def settle(self, permit: Permit | None, outcome: Outcome, retry_after_s: float | None) -> None:
        self._settle(permit, Verdict(outcome=outcome, retry_after_s=retry_after_s))

    @rule(permit=consumes(permits))
    def cancel(self, permit: Permit | None) -> None:
        self._settle(permit, Verdict(outcome=Outcome.IGNORED))

    @rule(permit=permits, outcome=st.sampled_from(Outcome))
    def settle_and_keep_the_permit(self, permit: Permit | None, outcome: Outcome) -> None:
        self._settle(permit, Verdict(outcome=outcome))

    @rule(outcomes=st.lists(st.sampled_from([*JUDGED, *BAD]), min_size=1, max_size=6))
    def call_in_turn(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            self._settle(self._acquire(), Verdict(outcome=outcome))

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.7, 5.0, 20.0, 60.0, 1e5]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(mode=st.sampled_from(BreakerMode))
    def switch(self, mode: BreakerMode) -> None:
        now_s = self.clock.monotonic_s()
        self.breaker.switch_to(mode)
        self.model.enter(BY_MODE[mode], now_s)

    @invariant()
    def agrees_with_the_model(self) -> None:
        self.model.pass_time(self.clock.monotonic_s())
        statistics = self.breaker.statistics()
        assert statistics.state is self.model.state
        assert statistics.generation == self.model.generation
        assert statistics.opened == self.model.opened
        assert statistics.would_have_opened == self.model.would_have_opened

    @invariant()
    def totals_add_up(self) -> None:
        statistics = self.breaker.statistics()
        assert (statistics.admitted, statistics.refused) == (self.admitted, self.refused)
        assert statistics.in_flight == len(self.held)
        assert statistics.succeeded == self.counted[Outcome.SUCCESS]
        assert statistics.failed == self.counted[Outcome.FAILURE]
        assert statistics.slow == self.counted[Outcome.SLOW]
        assert statistics.rejected_by_peer == self.counted[Outcome.REJECTED_BY_PEER]
        assert statistics.ignored == self.counted[Outcome.IGNORED]
        assert statistics.admitted == statistics.in_flight + sum(self.counted.values())

    @invariant()
    def what_was_told_is_what_happened(self) -> None:
        statistics = self.breaker.statistics()
        refusals = [event for event in self.told.heard if isinstance(event, BreakerRefused)]
        changes = [event for event in self.told.heard if not isinstance(event, BreakerRefused)]
        openings = [event for event in changes if isinstance(event, BreakerOpened) and event.open_s is not None]
        assert len(refusals) == statistics.refused
        assert len(openings) == statistics.opened
        assert isinstance(changes[-1] if changes else BreakerClosed(breaker="model"), TOLD_AS[statistics.state])
        assert all(before != after for before, after in pairwise(changes))

    @invariant()
    def at_most_one_probe_is_in_flight(self) -> None:
        statistics = self.breaker.statistics()
        if statistics.state is BreakerState.HALF_OPEN:
            assert sum(permit.generation == statistics.generation for permit in self.held) <= 1


CircuitBreakerMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
TestCircuitBreaker = pytest.mark.slow(CircuitBreakerMachine.TestCase)
