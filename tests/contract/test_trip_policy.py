from __future__ import annotations

import pybreaker

from holdfast.adapters.pybreaker import PybreakerTripPolicy
from holdfast.domain.breaker_config import BreakerConfig
from holdfast.domain.rate_trip_policy import RateTripPolicy
from holdfast.ports.trip import TripPolicy
from holdfast.testing.contracts.trip_policy import TripPolicyContract


class TestRateTripPolicyOnFailuresInARow(TripPolicyContract):
    def make_policy(self, *, failures_to_trip: int) -> TripPolicy:
        return RateTripPolicy(BreakerConfig(failures_in_row=failures_to_trip))


class TestRateTripPolicyOnTheRatioOverTime(TripPolicyContract):
    def make_policy(self, *, failures_to_trip: int) -> TripPolicy:
        return RateTripPolicy(BreakerConfig(failures_in_row=None, min_calls=failures_to_trip))


class TestRateTripPolicyOnTheRatioOfTheLastCalls(TripPolicyContract):
    def make_policy(self, *, failures_to_trip: int) -> TripPolicy:
        return RateTripPolicy(BreakerConfig(failures_in_row=None, min_calls=failures_to_trip, window_calls=50))


class TestPybreakerTripPolicy(TripPolicyContract):
    def make_policy(self, *, failures_to_trip: int) -> TripPolicy:
        return PybreakerTripPolicy(pybreaker.CircuitBreaker(fail_max=failures_to_trip))


class TestPybreakerTripPolicyRaisingThePlainError(TripPolicyContract):
    def make_policy(self, *, failures_to_trip: int) -> TripPolicy:
        return PybreakerTripPolicy(pybreaker.CircuitBreaker(fail_max=failures_to_trip, throw_new_error_on_trip=False))
