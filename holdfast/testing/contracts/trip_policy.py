"""What every trip policy must hold.

Responsibility: the contract of `holdfast.ports.trip.TripPolicy`, as a pytest class to derive from.
Guarantees: a policy that passes trips on failures and on push-back, forgets when told to, and disturbs nobody's error.
Not responsible for: which mixture of failures and successes is too much; each policy decides that for itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import pytest

from holdfast.ports.outcome import Outcome
from holdfast.ports.trip import TripPolicy

__all__ = ["TripPolicyContract"]

_FAILURES_TO_TRIP = 5
_UNTIL_IT_TRIPS = [False] * (_FAILURES_TO_TRIP - 1) + [True]


class TripPolicyContract(ABC):
    """Derive from it, name the class ``Test…`` and make your policy; pytest does the rest.

    Example:
        >>> class TestMyPolicy(TripPolicyContract):
        ...     def make_policy(self, *, failures_to_trip: int) -> TripPolicy:
        ...         return MyPolicy(failures_to_trip)
    """

    @abstractmethod
    def make_policy(self, *, failures_to_trip: int) -> TripPolicy:
        """Return a new policy that trips at so many failures in a row, with nothing before them."""

    @pytest.fixture
    def policy(self) -> TripPolicy:
        """Give a policy in the state in which a breaker feeds it the first call."""
        policy = self.make_policy(failures_to_trip=_FAILURES_TO_TRIP)
        policy.reset(now_s=0.0)
        return policy

    def test_record_successes_only_never_trips(self, policy: TripPolicy) -> None:
        """A healthy peer is left alone."""
        assert not any(policy.record(Outcome.SUCCESS, now_s=float(second)) for second in range(200))

    @pytest.mark.parametrize("outcome", [Outcome.FAILURE, Outcome.REJECTED_BY_PEER])
    def test_record_failures_in_a_row_trips_at_the_last_one(self, policy: TripPolicy, outcome: Outcome) -> None:
        """Failure and push-back count alike, and neither trips early."""
        tripped = [policy.record(outcome, now_s=1.0, error=OSError()) for _ in range(_FAILURES_TO_TRIP)]

        assert tripped == _UNTIL_IT_TRIPS

    def test_record_failures_without_their_error_trips_too(self, policy: TripPolicy) -> None:
        """An outcome is enough; not every caller has an exception to show."""
        tripped = [policy.record(Outcome.FAILURE, now_s=1.0) for _ in range(_FAILURES_TO_TRIP)]

        assert tripped == _UNTIL_IT_TRIPS

    def test_record_failure_leaves_the_error_as_it_was(self, policy: TripPolicy) -> None:
        """The error is on its way to the caller; its traceback shows the caller's code and nothing of the policy."""
        error = OSError("the call's own")
        error.__context__ = ValueError("what it came from")
        try:
            raise error
        except OSError:
            before = (error.__traceback__, error.__context__, error.__cause__)

        try:
            raise LookupError  # noqa: TRY301 - stands for whatever is being handled while the call settles
        except LookupError:
            for _ in range(_FAILURES_TO_TRIP):
                policy.record(Outcome.FAILURE, now_s=1.0, error=error)

        assert (error.__traceback__, error.__context__, error.__cause__) == before

    def test_reset_after_some_failures_forgets_them(self, policy: TripPolicy) -> None:
        """What an earlier generation did is not held against this one."""
        for _ in range(_FAILURES_TO_TRIP - 1):
            policy.record(Outcome.FAILURE, now_s=1.0)

        policy.reset(now_s=2.0)

        assert not policy.record(Outcome.FAILURE, now_s=3.0)

    def test_reset_after_a_trip_judges_anew(self, policy: TripPolicy) -> None:
        """A breaker closes, and opens again when it must."""
        for _ in range(_FAILURES_TO_TRIP):
            policy.record(Outcome.FAILURE, now_s=1.0)

        policy.reset(now_s=2.0)

        assert [policy.record(Outcome.FAILURE, now_s=3.0) for _ in range(_FAILURES_TO_TRIP)] == _UNTIL_IT_TRIPS

    def test_reset_twice_is_as_good_as_once(self, policy: TripPolicy) -> None:
        """An operator may switch modes back and forth."""
        policy.reset(now_s=1.0)
        policy.reset(now_s=1.0)

        assert [policy.record(Outcome.FAILURE, now_s=1.0) for _ in range(_FAILURES_TO_TRIP)] == _UNTIL_IT_TRIPS

    def test_record_in_two_policies_counts_apart(self, policy: TripPolicy) -> None:
        """Each breaker judges its own peer."""
        other = self.make_policy(failures_to_trip=_FAILURES_TO_TRIP)
        other.reset(now_s=0.0)
        for _ in range(_FAILURES_TO_TRIP):
            other.record(Outcome.FAILURE, now_s=1.0)

        assert not policy.record(Outcome.FAILURE, now_s=1.0)
