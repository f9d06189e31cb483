"""A retry budget under any history of requests, retries, cancellations and time."""

from __future__ import annotations

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
    rule,
)

from holdfast.domain.retry_budget import RetryBudget, RetryBudgetConfig, RetryPermit
from holdfast.ports.outcome import Outcome
from holdfast.testing import ManualClock

outcomes = st.sampled_from([Outcome.SUCCESS, Outcome.FAILURE, Outcome.REJECTED_BY_PEER, Outcome.IGNORED, None])


class BudgetMachine(RuleBasedStateMachine):
    """The model keeps every moment at which something was earned or spent, and adds them up by itself."""

    first: Bundle[RetryPermit] = Bundle("first")
    waiting: Bundle[RetryPermit] = Bundle("waiting")
    retrying: Bundle[RetryPermit] = Bundle("retrying")
    settled: Bundle[RetryPermit] = Bundle("settled")

    @initialize(
        min_retries=st.integers(0, 4),
        token_ratio=st.sampled_from([0.2, 0.5, 1.0]),
        in_flight_ratio=st.sampled_from([0.2, 0.5, 1.0]),
    )
    def begin(self, min_retries: int, token_ratio: float, in_flight_ratio: float) -> None:
        self.config = RetryBudgetConfig(
            min_retries=min_retries, token_ratio=token_ratio, in_flight_ratio=in_flight_ratio, window_s=10.0
        )
        self.clock = ManualClock()
        self.budget = RetryBudget(self.config, clock=self.clock)
        self.first_attempts = self.retries = self.asleep = 0
        self.asked = self.refused = self.crowded_out = self.abandoned = self.retried = 0
        self.earned_at_s: list[float] = []
        self.spent_at_s: dict[RetryPermit, float] = {}
        self.earned_since_success = self.spent_since_success = 0

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 3.0, 9.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(target=first)
    def request_begins(self) -> RetryPermit:
        self.first_attempts += 1
        return self.budget.begin()

    @rule(target=first, requests=st.integers(5, 15))
    def many_requests_begin(self, requests: int) -> MultipleResults[RetryPermit]:
        self.first_attempts += requests
        return multiple(*[self.budget.begin() for _ in range(requests)])

    @rule(target=settled, permit=consumes(first), outcome=outcomes)
    def first_attempt_ends(self, permit: RetryPermit, outcome: Outcome | None) -> RetryPermit:
        permit.settle(outcome)
        self.first_attempts -= 1
        if outcome not in {Outcome.IGNORED, None}:
            self.earned_at_s.append(self.clock.monotonic_s())
            self.earned_since_success += 1
        self.note_success(outcome)
        return permit

    @rule(requests=st.integers(1, 30))
    def requests_fail(self, requests: int) -> None:
        for _ in range(requests):
            self.budget.begin().settle(Outcome.FAILURE)
            self.earned_at_s.append(self.clock.monotonic_s())
        self.earned_since_success += requests

    @rule(target=waiting)
    def retry_is_asked_for(self) -> RetryPermit | MultipleResults[RetryPermit]:
        left = self.budget.statistics().tokens
        permit = self.budget.try_spend()
        self.asked += 1
        assert (permit is not None) == (left > 0)
        if permit is None:
            self.refused += 1
            return multiple()
        self.asleep += 1
        self.spent_since_success += 1
        now_s = self.clock.monotonic_s()
        self.spent_at_s[permit] = now_s
        # The window ends anywhere within its newest part, so that its length is between nine tenths and one.
        spent = sum(at_s > now_s - 9.0 for at_s in self.spent_at_s.values())
        earned = sum(at_s > now_s - 10.0 for at_s in self.earned_at_s)
        assert spent <= max(self.config.min_retries, self.config.token_ratio * earned)
        return permit

    @rule(target=retrying, permit=consumes(waiting))
    def retry_is_due(self, permit: RetryPermit) -> RetryPermit | MultipleResults[RetryPermit]:
        self.asleep -= 1
        in_flight = self.first_attempts + self.retries + 1
        room = self.retries + 1 <= max(self.config.min_retries, self.config.in_flight_ratio * in_flight)
        assert permit.try_begin() == room
        if not room:
            self.crowded_out += 1
            self.take_back(permit)
            return multiple()
        self.retries += 1
        return permit

    @rule(target=settled, permit=consumes(waiting))
    def sleeping_retry_is_cancelled(self, permit: RetryPermit) -> RetryPermit:
        permit.settle(None)
        self.asleep -= 1
        self.abandoned += 1
        self.take_back(permit)
        return permit

    @rule(target=settled, permit=consumes(retrying), outcome=outcomes)
    def retry_ends(self, permit: RetryPermit, outcome: Outcome | None) -> RetryPermit:
        permit.settle(outcome)
        self.retries -= 1
        self.retried += 1
        self.note_success(outcome)
        return permit

    @rule(permit=settled, outcome=outcomes)
    def settled_permit_is_used_again(self, permit: RetryPermit, outcome: Outcome | None) -> None:
        permit.settle(outcome)
        assert not permit.try_begin()

    def take_back(self, permit: RetryPermit) -> None:
        del self.spent_at_s[permit]
        self.spent_since_success = max(0, self.spent_since_success - 1)

    def note_success(self, outcome: Outcome | None) -> None:
        if outcome is Outcome.SUCCESS:
            # What the window earned before the success may still be spent after it.
            self.earned_since_success = len(self.earned_at_s)
            self.spent_since_success = 0

    @invariant()
    def every_count_is_the_models(self) -> None:
        statistics = self.budget.statistics()
        assert statistics.in_flight == self.first_attempts + self.retries
        assert (statistics.retries_in_flight, statistics.waiting) == (self.retries, self.asleep)
        assert (statistics.asked, statistics.without_token) == (self.asked, self.refused)
        assert (statistics.without_room, statistics.abandoned) == (self.crowded_out, self.abandoned)
        assert statistics.retried == self.retried

    @invariant()
    def retries_asked_for_are_conserved(self) -> None:
        statistics = self.budget.statistics()
        ended = statistics.without_token + statistics.without_room + statistics.abandoned + statistics.retried
        assert statistics.asked == ended + statistics.waiting + statistics.retries_in_flight

    @invariant()
    def tokens_spent_without_a_success_are_a_share_of_what_was_earned_and_the_minimum(self) -> None:
        allowed = self.config.token_ratio * self.earned_since_success + self.config.min_retries
        assert self.spent_since_success <= allowed

    @invariant()
    def tokens_left_are_never_more_than_could_be_allowed(self) -> None:
        allowed = max(self.config.min_retries, self.config.token_ratio * len(self.earned_at_s))
        assert 0 <= self.budget.statistics().tokens <= allowed


TestRetryBudget = BudgetMachine.TestCase
TestRetryBudget.settings = settings(max_examples=60, stateful_step_count=40)
