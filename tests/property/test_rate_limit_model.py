"""A rate limit under any history of reservations, settlements, refunds, pauses and time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from holdfast.domain.rate_limit import RateLimit, RateLimitConfig, Reservation
from holdfast.ports.errors import RateLimitedError
from holdfast.testing import ManualClock

# The limit takes a wait of a microsecond for none.
SLACK_S = 1e-5
ROUNDING = 1e-6


@dataclass(slots=True, eq=False)
class Call:
    """One reservation, and what came of it."""

    number: int
    reservation: Reservation
    at_s: float
    cost: float
    used: float | None = None
    ended_at_s: float = math.inf


class Quantity:
    """The whole history of one quantity, added up anew for each question."""

    def __init__(self, per_minute: float, burst: float) -> None:
        self.per_s = per_minute / 60.0
        self.burst = burst
        self.calls: list[Call] = []

    def most_in_any_window_is_allowed(self) -> bool:
        """Tell whether no window, from one reservation to another, holds more than a burst and the rate give.

        What a call uses beyond its cost counts from when that was known.
        """
        for last, end in enumerate(self.calls):
            amount = 0.0
            for begin in reversed(self.calls[: last + 1]):
                known = begin.ended_at_s < end.at_s
                used = begin.cost if begin.used is None else begin.used
                amount += used if known else min(used, begin.cost)
                if amount > self.burst + self.per_s * (end.at_s - begin.at_s + SLACK_S) + ROUNDING:
                    return False
        return True

    def level(self, now_s: float, *, refunds: bool) -> float:
        """Return what is not paid off, as if every call had taken from the start what it came to, or at least its cost.

        With refunds this is the least that can be right, and without them the most.
        """
        changes: list[tuple[float, float]] = []
        for call in self.calls:
            at_once = call.cost if call.used is None or not refunds else min(call.used, call.cost)
            changes.append((call.at_s, at_once))
            if call.used is not None and call.used > call.cost:
                changes.append((call.ended_at_s, call.used - call.cost))
        level, at_s = 0.0, 0.0
        for changed_at_s, amount in sorted(changes):
            level = max(0.0, level - (changed_at_s - at_s) * self.per_s) + amount
            at_s = changed_at_s
        return max(0.0, level - (now_s - at_s) * self.per_s)


class RateLimitMachine(RuleBasedStateMachine):
    """The model keeps every call there ever was, and decides from all of them."""

    calls: Bundle[Call] = Bundle("calls")
    ended: Bundle[Call] = Bundle("ended")

    @initialize(
        requests=st.sampled_from([None, (60.0, 3.0), (7.0, 5.0)]),
        tokens=st.sampled_from([(600.0, 100.0), (777.0, 60.0), (6.0, 20.0)]),
    )
    def begin(self, requests: tuple[float, float] | None, tokens: tuple[float, float]) -> None:
        self.clock = ManualClock()
        self.requests = None if requests is None else Quantity(*requests)
        self.tokens = Quantity(*tokens)
        self.limit = RateLimit(
            "a",
            RateLimitConfig(
                requests_per_minute=None if requests is None else requests[0],
                burst_requests=None if requests is None else requests[1],
                tokens_per_minute=tokens[0],
                burst_tokens=tokens[1],
                max_pause_s=5.0,
                max_debt_s=1e6,
            ),
            clock=self.clock,
        )
        self.made = self.refused = self.settled = self.cancelled = self.tokens_used = 0
        self.paused_until_s = 0.0

    def quantities(self) -> list[Quantity]:
        return [self.tokens] if self.requests is None else [self.requests, self.tokens]

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 2.5, 7.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(target=calls, tokens=st.integers(0, 60))
    def reserve(self, tokens: int) -> Call | MultipleResults[Call]:
        now_s = self.clock.monotonic_s()
        costs = [tokens] if self.requests is None else [1, tokens]
        # Without refunds there is least room: what fits then must go through.
        must_go_through = now_s >= self.paused_until_s and all(
            quantity.level(now_s, refunds=False) + cost <= quantity.burst
            for quantity, cost in zip(self.quantities(), costs, strict=True)
        )
        try:
            reservation = self.limit.reserve(tokens)
        except RateLimitedError:
            self.refused += 1
            assert not must_go_through
            return multiple()
        assert now_s >= self.paused_until_s
        self.made += 1
        if self.requests is not None:
            self.requests.calls.append(Call(self.made, reservation, now_s, 1.0))
        self.tokens.calls.append(Call(self.made, reservation, now_s, float(tokens)))
        return self.tokens.calls[-1]

    @rule(target=ended, call=consumes(calls), used=st.integers(0, 90))
    def settle(self, call: Call, used: int) -> Call:
        call.reservation.settle(used)
        self.settled += 1
        self.tokens_used += used
        self.note_end(call, requests=1.0, tokens=float(used))
        return call

    @rule(target=ended, call=consumes(calls))
    def cancel(self, call: Call) -> Call:
        call.reservation.cancel()
        self.cancelled += 1
        self.note_end(call, requests=0.0, tokens=0.0)
        return call

    def note_end(self, call: Call, *, requests: float, tokens: float) -> None:
        call.used, call.ended_at_s = tokens, self.clock.monotonic_s()
        if self.requests is not None:
            (request,) = (other for other in self.requests.calls if other.number == call.number)
            request.used, request.ended_at_s = requests, call.ended_at_s

    @rule(call=ended, used=st.integers(0, 90))
    def ended_call_is_ended_again(self, call: Call, used: int) -> None:
        before = self.limit.statistics()
        call.reservation.settle(used)
        call.reservation.cancel()
        assert self.limit.statistics() == before

    @rule(tokens=st.integers(0, 20))
    def reserve_and_cancel_at_once_changes_nothing(self, tokens: int) -> None:
        before = self.limit.statistics()
        try:
            self.limit.reserve(tokens).cancel()
        except RateLimitedError:
            self.refused += 1
        else:
            self.made += 1
            self.cancelled += 1
        after = self.limit.statistics()
        assert after.tokens_left is not None
        assert before.tokens_left is not None
        assert abs(after.tokens_left - before.tokens_left) < ROUNDING
        assert (after.requests_left is None) == (self.requests is None)
        if after.requests_left is not None and before.requests_left is not None:
            assert abs(after.requests_left - before.requests_left) < ROUNDING

    @rule(target=calls, tokens=st.integers(0, 20))
    @precondition(lambda self: self.made > 0)
    def come_back_when_told(self, tokens: int) -> Call | MultipleResults[Call]:
        try:
            self.limit.reserve(tokens).cancel()
        except RateLimitedError as error:
            self.refused += 1
            self.clock.advance(error.retry_after_s or 0.0)
        else:
            self.made += 1
            self.cancelled += 1
        refused = self.refused
        call = self.reserve(tokens)
        assert self.refused == refused
        return call

    @rule(hint=st.sampled_from([-1.0, 0.0, 0.5, 5.0, 1e9, math.inf, math.nan]))
    def peer_asks_for_a_pause(self, hint: float) -> None:
        self.limit.pause(hint)
        if hint > 0:
            self.paused_until_s = max(self.paused_until_s, self.clock.monotonic_s() + min(hint, 5.0))

    @invariant()
    def no_window_holds_more_than_a_burst_and_the_rate(self) -> None:
        assert all(quantity.most_in_any_window_is_allowed() for quantity in self.quantities())

    @invariant()
    def what_is_left_lies_between_the_least_and_the_most_that_can_be_right(self) -> None:
        now_s = self.clock.monotonic_s()
        statistics = self.limit.statistics()
        for quantity, left in (
            (self.requests, statistics.requests_left),
            (self.tokens, statistics.tokens_left),
        ):
            assert (quantity is None) == (left is None)
            if quantity is not None and left is not None:
                least, most = (quantity.level(now_s, refunds=refunds) for refunds in (True, False))
                assert least - ROUNDING <= quantity.burst - left <= most + ROUNDING

    @invariant()
    def reservations_are_conserved(self) -> None:
        statistics = self.limit.statistics()
        assert (statistics.asked, statistics.refused) == (self.made + self.refused, self.refused)
        assert (statistics.settled, statistics.cancelled) == (self.settled, self.cancelled)
        assert statistics.reserved == self.made - self.settled - self.cancelled
        assert statistics.tokens_used == self.tokens_used


TestRateLimit = RateLimitMachine.TestCase
TestRateLimit.settings = settings(max_examples=60, stateful_step_count=40)
