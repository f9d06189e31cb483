"""Hedging under any history of calls, latencies, refusals and ends."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from holdfast.domain.hedge_core import MOST_SAVED_HEDGES, HedgeConfig, HedgeCore, HedgeEnd
from holdfast.domain.latency import percentile
from holdfast.domain.retry_budget import RetryBudget, RetryBudgetConfig, RetryPermit
from holdfast.ports.outcome import Outcome
from holdfast.testing import ManualClock

latencies_s = st.one_of(
    st.floats(0.0, 100.0),
    st.sampled_from([0.0, 0.0004, 0.1, 1.0, 3600.0]),
)
latency_distributions = st.one_of(
    st.lists(latencies_s, min_size=1, max_size=40),  # repeated over and over
    st.builds(
        lambda usual_s, slow_s, every: [usual_s] * (every - 1) + [slow_s], latencies_s, latencies_s, st.integers(2, 40)
    ),
    st.builds(lambda steps: [float(step) for step in range(steps)], st.integers(1, 400)),  # ever slower
)


@settings(max_examples=60)
@given(latencies=latency_distributions, config=st.builds(HedgeConfig, percent=st.integers(1, 99)))
def test_hedges_over_10_000_calls_of_any_latencies_are_5_percent_at_most(
    latencies: list[float], config: HedgeConfig
) -> None:
    budget = RetryBudget(RetryBudgetConfig(min_retries=1_000_000), clock=ManualClock())
    core = HedgeCore("a", config, budget=budget)
    for number in range(10_000):
        latency_s = latencies[number % len(latencies)]
        delay_s = core.begin()
        permit = core.try_launch(delay_s) if delay_s is not None and latency_s > delay_s else None
        core.record(latency_s)
        if permit is not None:
            permit.settle(Outcome.SUCCESS)
            core.settle(HedgeEnd.LOST)

        statistics = core.statistics() if number % 500 == 499 else None
        assert statistics is None or statistics.hedged * 20 <= statistics.calls

    assert core.statistics().calls == 10_000


class HedgeMachine(RuleBasedStateMachine):
    """The model keeps every latency and counts every launch by itself; the retry budget is a real one."""

    calls_in_flight: Bundle[float | None] = Bundle("calls_in_flight")
    hedged_calls: Bundle[RetryPermit] = Bundle("hedged_calls")

    @initialize(
        ratio=st.sampled_from([0.05, 0.25, 1.0]),
        min_samples=st.integers(1, 10),
        percent=st.sampled_from([50, 95]),
        min_retries=st.integers(0, 3),
    )
    def begin(self, ratio: float, min_samples: int, percent: int, min_retries: int) -> None:
        self.config = HedgeConfig(max_ratio=ratio, min_samples=min_samples, max_samples=20, percent=percent)
        self.budget = RetryBudget(RetryBudgetConfig(min_retries=min_retries), clock=ManualClock())
        self.core = HedgeCore("a", self.config, budget=self.budget)
        self.latencies_s: list[float] = []
        self.calls = self.launched = self.refused = self.since_refill = 0
        self.ends: dict[HedgeEnd, int] = dict.fromkeys(HedgeEnd, 0)

    def expected_delay_s(self) -> float | None:
        latest = sorted(self.latencies_s[-20:])
        if len(latest) < self.config.min_samples:
            return None
        return max(self.config.min_delay_s, percentile(latest, self.config.percent))

    @rule(target=calls_in_flight)
    def call_begins(self) -> float | None:
        self.calls += 1
        delay_s = self.core.begin()
        assert delay_s == self.expected_delay_s()
        return delay_s

    @rule(latency_s=latencies_s, calls=st.integers(1, 60))
    def calls_come_and_go(self, latency_s: float, calls: int) -> None:
        for _ in range(calls):
            self.calls += 1
            self.core.begin()
            self.core.record(latency_s)
            self.latencies_s.append(latency_s)
            self.budget.begin().settle(Outcome.SUCCESS)

    @rule(delay_s=consumes(calls_in_flight), latency_s=latencies_s)
    def call_is_answered_in_time(self, delay_s: float | None, latency_s: float) -> None:
        self.core.record(latency_s)
        self.latencies_s.append(latency_s)

    @rule(seconds=st.floats(-3600.0, -0.001))
    def clock_is_set_back_during_a_call(self, seconds: float) -> None:
        self.core.record(seconds)

    @rule(target=hedged_calls, delay_s=consumes(calls_in_flight))
    def call_is_due(self, delay_s: float | None) -> RetryPermit | MultipleResults[RetryPermit]:
        if delay_s is None:
            return multiple()
        tokens = self.budget.statistics().tokens
        permit = self.core.try_launch(delay_s)
        if permit is None:
            self.refused += 1
            assert self.budget.statistics().tokens == tokens
            return multiple()
        self.launched += 1
        assert tokens > 0
        return permit

    @rule(permit=consumes(hedged_calls), end=st.sampled_from(HedgeEnd))
    def hedged_call_ends(self, permit: RetryPermit, end: HedgeEnd) -> None:
        permit.settle(Outcome.SUCCESS if end is HedgeEnd.WON else None)
        self.core.settle(end)
        self.ends[end] += 1

    @invariant()
    def hedges_are_never_more_than_their_share(self) -> None:
        assert self.launched <= self.config.max_ratio * self.calls + 1e-9

    @invariant()
    def every_count_is_the_models(self) -> None:
        statistics = self.core.statistics()
        assert (statistics.calls, statistics.hedged) == (self.calls, self.launched)
        assert statistics.running == self.launched - sum(self.ends.values())
        assert (statistics.won, statistics.lost) == (self.ends[HedgeEnd.WON], self.ends[HedgeEnd.LOST])
        assert (statistics.failed, statistics.abandoned) == (self.ends[HedgeEnd.FAILED], self.ends[HedgeEnd.ABANDONED])
        assert statistics.without_credit + statistics.without_token + statistics.without_room == self.refused

    @invariant()
    def what_is_due_and_what_is_hedged_is_conserved(self) -> None:
        statistics = self.core.statistics()
        refused = statistics.without_credit + statistics.without_token + statistics.without_room
        assert statistics.due == statistics.hedged + refused
        ended = statistics.won + statistics.lost + statistics.failed + statistics.abandoned
        assert statistics.hedged == statistics.running + ended

    @invariant()
    def delay_and_samples_are_those_of_the_latest_latencies(self) -> None:
        statistics = self.core.statistics()
        assert statistics.samples == min(20, len(self.latencies_s))
        assert statistics.delay_s == self.expected_delay_s()

    @invariant()
    def every_hedge_holds_a_place_among_the_retries(self) -> None:
        assert self.budget.statistics().retries_in_flight == self.core.statistics().running


TestHedge = HedgeMachine.TestCase
TestHedge.settings = settings(max_examples=60, stateful_step_count=40)


@settings(max_examples=30)
@given(bursts=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 40)), min_size=1, max_size=20))
def test_hedges_that_follow_on_each_other_are_ten_at_most(bursts: list[tuple[int, int]]) -> None:
    budget = RetryBudget(RetryBudgetConfig(min_retries=1_000_000), clock=ManualClock())
    core = HedgeCore("a", HedgeConfig(), budget=budget)
    for calls, asked in bursts:
        for _ in range(calls):
            core.begin()

        assert sum(core.try_launch(1.0) is not None for _ in range(asked)) <= MOST_SAVED_HEDGES
