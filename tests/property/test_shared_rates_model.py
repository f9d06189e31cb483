"""A limit that several processes share, under any history of calls, rounds and time."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.domain.rate_limit import RateLimit, RateLimitConfig, Reservation
from holdfast.domain.shared_rates import SharedRates
from holdfast.testing import ManualClock
from tests.fakes.rates import REFRESH_S, FaultyRates, flood, join, run

BURST, PER_S = 8.0, 1.0
CONFIG = RateLimitConfig(
    requests_per_minute=PER_S * 60, burst_requests=BURST, tokens_per_minute=PER_S * 600, burst_tokens=BURST * 10
)
SLACK = 1e-3  # a wait of a microsecond is taken for none, by each process


@dataclass(eq=False)
class Call:
    reservation: Reservation
    at_s: float
    tokens: float
    requests: float = 1.0
    is_open: bool = True


def worst_excess(events: list[tuple[float, float]], *, burst: float, per_s: float) -> float:
    """Return how much more than ``burst + rate x window`` the worst of all windows holds."""
    level = worst = last_s = 0.0
    for at_s, amount in sorted(events):
        level = max(0.0, level - (at_s - last_s) * per_s) + amount
        last_s = at_s
        worst = max(worst, level)
    return worst - burst


class SharedLimit(RuleBasedStateMachine):
    """Processes that come one by one, each with its own view; rounds come when they come, and none of them fails."""

    @initialize()
    def begin(self) -> None:
        self.clock = ManualClock()
        self.store = FaultyRates(clock=self.clock)
        self.hubs: list[SharedRates] = []
        self.limits: list[RateLimit] = []
        self.history: list[Call] = []
        self.one_more()
        self.one_more()

    @precondition(lambda self: len(self.hubs) < 4)
    @rule()
    def one_more(self) -> None:
        hub = join(self.store, self.clock)
        run(hub.refresh(emptied=False))
        self.hubs.append(hub)
        self.limits.append(RateLimit("backend 'a'", CONFIG, clock=self.clock, shared=hub))

    @rule(process=st.integers(0, 3), tokens=st.sampled_from((1, 5, 20, 40)), most=st.sampled_from((1, 3, 100)))
    def reserve(self, process: int, tokens: int, most: int) -> None:
        now_s, limit = self.clock.monotonic_s(), self.limits[process % len(self.limits)]
        self.history += [Call(one, now_s, float(tokens)) for one in flood(limit, tokens, most=most)]

    @rule(which=st.sampled_from((1, 2, 3)), part=st.sampled_from((0.0, 0.5, 1.0, 1.0, 3.0)))
    def settle(self, which: int, part: float) -> None:
        for call in [call for call in self.history if call.is_open][::which]:
            used = int(call.tokens * part)
            call.reservation.settle(used)
            call.tokens = min(call.tokens, used)
            call.is_open = False

    @rule(which=st.sampled_from((1, 2, 3)))
    def cancel(self, which: int) -> None:
        for call in [call for call in self.history if call.is_open][::which]:
            call.reservation.cancel()
            call.tokens = call.requests = 0.0
            call.is_open = False

    @rule(seconds=st.sampled_from((0.5, 2.0)), tokens=st.sampled_from((1, 5, 20, 40)), ends=st.booleans())
    def storm(self, seconds: float, tokens: int, ends: bool) -> None:
        for _ in range(int(seconds / 0.05)):
            self.clock.advance(0.05)
            for process in range(len(self.hubs)):
                self.refresh(process)
                self.reserve(process, tokens, 100)
            if ends:
                self.settle(1, 1.0)

    @rule(process=st.integers(0, 3))
    def refresh(self, process: int) -> None:
        run(self.hubs[process % len(self.hubs)].refresh(emptied=False))

    @rule(seconds=st.sampled_from((0.01, 0.25, 0.5)))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from((0.5, 1.5, 10.0)))
    def go_on_for(self, seconds: float) -> None:
        for _ in range(int(seconds / REFRESH_S)):
            self.clock.advance(REFRESH_S)
            for process in range(len(self.hubs)):
                self.refresh(process)

    @invariant()
    def of_no_window_more_is_taken_than_there_is(self) -> None:
        requests = [(call.at_s, call.requests) for call in self.history]
        tokens = [(call.at_s, call.tokens) for call in self.history]
        assert worst_excess(requests, burst=BURST, per_s=PER_S) <= SLACK
        assert worst_excess(tokens, burst=BURST * 10, per_s=PER_S * 10) <= SLACK

    def teardown(self) -> None:
        for call in self.history:
            call.reservation.cancel()
        for limit in self.limits:
            seen = limit.statistics()
            assert seen.asked == seen.refused + seen.settled + seen.cancelled
            assert seen.reserved == 0
        self.go_on_for(10.0)
        self.go_on_for(200.0)
        assert [hub.statistics().followed for hub in self.hubs] == [0] * len(self.hubs)


TestSharedLimit = SharedLimit.TestCase
TestSharedLimit.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
