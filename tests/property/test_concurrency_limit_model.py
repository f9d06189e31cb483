from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from holdfast.domain.concurrency_limit import ConcurrencyLimit, Permit
from holdfast.ports.statistics import LimitStatistics


class LimitMachine(RuleBasedStateMachine):
    """Permits are taken, given back, and given back again, in any order, while the limit moves."""

    held: Bundle[Permit | None] = Bundle("held")
    spent: Bundle[Permit | None] = Bundle("spent")

    @initialize(max_in_flight=st.integers(1, 4))
    def begin(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self.limit = ConcurrencyLimit(max_in_flight)
        self.in_flight = 0

    @rule(target=held)
    def acquire(self) -> Permit | None:
        permit = self.limit.try_acquire()
        assert (permit is not None) == (self.in_flight < self.max_in_flight)
        self.in_flight += permit is not None
        return permit

    @rule(target=spent, permit=consumes(held))
    def release(self, permit: Permit | None) -> Permit | None:
        if permit is not None:
            self.limit.release(permit)
            self.in_flight -= 1
        return permit

    @rule(max_in_flight=st.integers(1, 4))
    def resize(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self.limit.resize(max_in_flight)

    @rule(permit=spent)
    def release_again(self, permit: Permit | None) -> None:
        if permit is not None:
            self.limit.release(permit)

    @invariant()
    def in_flight_is_what_was_taken_and_not_given_back(self) -> None:
        assert self.limit.statistics() == LimitStatistics(limit=self.max_in_flight, in_flight=self.in_flight)


TestConcurrencyLimit = LimitMachine.TestCase
TestConcurrencyLimit.settings = settings(max_examples=50, stateful_step_count=40)
