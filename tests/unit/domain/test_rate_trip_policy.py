from __future__ import annotations

import pytest

from holdfast.domain.breaker_config import BreakerConfig
from holdfast.domain.rate_trip_policy import RateTripPolicy
from holdfast.ports.outcome import Outcome


def feed(policy: RateTripPolicy, *outcomes: Outcome, now_s: float = 1000.0) -> list[bool]:
    return [policy.record(outcome, now_s=now_s) for outcome in outcomes]


def test_record_failures_below_min_calls_does_not_trip_on_their_share() -> None:
    policy = RateTripPolicy(BreakerConfig(failures_in_row=None, min_calls=20))

    assert feed(policy, *[Outcome.FAILURE] * 20) == [False] * 19 + [True]


def test_record_share_reaches_the_ratio_trips() -> None:
    policy = RateTripPolicy(BreakerConfig(failures_in_row=None, min_calls=4, failure_ratio=0.5))

    tripped = feed(policy, *[Outcome.SUCCESS] * 5, *[Outcome.FAILURE] * 5)

    assert tripped == [False] * 9 + [True]


def test_record_success_that_completes_min_calls_may_trip() -> None:
    policy = RateTripPolicy(BreakerConfig(failures_in_row=None, min_calls=4, failure_ratio=0.5))

    assert feed(policy, Outcome.FAILURE, Outcome.FAILURE, Outcome.SUCCESS, Outcome.SUCCESS)[-1]


def test_record_push_back_counts_towards_the_failure_ratio() -> None:
    policy = RateTripPolicy(BreakerConfig(failures_in_row=None, min_calls=4, failure_ratio=0.5))

    assert feed(policy, *[Outcome.SUCCESS] * 2, *[Outcome.REJECTED_BY_PEER] * 2)[-1]


def test_record_old_failures_have_left_the_window_does_not_trip() -> None:
    policy = RateTripPolicy(BreakerConfig(failures_in_row=None, min_calls=4, window_s=30.0))
    feed(policy, *[Outcome.FAILURE] * 3, now_s=1000.0)

    assert feed(policy, Outcome.FAILURE, *[Outcome.SUCCESS] * 4, now_s=1040.0) == [False] * 5


def test_record_count_window_judges_the_last_calls_however_old() -> None:
    policy = RateTripPolicy(BreakerConfig(failures_in_row=None, min_calls=4, window_calls=4))
    feed(policy, *[Outcome.FAILURE] * 3, now_s=1000.0)

    assert feed(policy, Outcome.FAILURE, now_s=1e6) == [True]


@pytest.mark.parametrize("between", [Outcome.SUCCESS, Outcome.SLOW])
def test_record_success_between_failures_begins_the_row_again(between: Outcome) -> None:
    policy = RateTripPolicy(BreakerConfig(failures_in_row=3))

    tripped = feed(policy, Outcome.FAILURE, Outcome.FAILURE, between, *[Outcome.FAILURE] * 3)

    assert tripped == [False] * 5 + [True]


def test_record_row_of_failures_and_push_backs_mixed_trips() -> None:
    policy = RateTripPolicy(BreakerConfig(failures_in_row=3))

    assert feed(policy, Outcome.FAILURE, Outcome.REJECTED_BY_PEER, Outcome.FAILURE)[-1]


def test_record_slow_calls_without_a_slow_ratio_never_trips() -> None:
    policy = RateTripPolicy(BreakerConfig(slow_after_s=1.0))

    assert not any(feed(policy, *[Outcome.SLOW] * 50))


def test_record_slow_share_reaches_its_ratio_trips() -> None:
    policy = RateTripPolicy(BreakerConfig(slow_after_s=1.0, slow_ratio=0.8, min_calls=10))

    tripped = feed(policy, *[Outcome.SUCCESS] * 2, *[Outcome.SLOW] * 8)

    assert tripped == [False] * 9 + [True]


def test_record_slow_share_below_its_ratio_does_not_trip() -> None:
    policy = RateTripPolicy(BreakerConfig(slow_after_s=1.0, slow_ratio=0.8, min_calls=10))

    assert not any(feed(policy, *[Outcome.SUCCESS] * 3, *[Outcome.SLOW] * 7))


def test_record_slow_calls_count_as_calls_in_the_failure_ratio() -> None:
    policy = RateTripPolicy(BreakerConfig(failures_in_row=None, min_calls=4, failure_ratio=0.5))

    assert not any(feed(policy, *[Outcome.SLOW] * 3, *[Outcome.FAILURE] * 2))


def test_reset_with_a_full_window_empties_it() -> None:
    policy = RateTripPolicy(BreakerConfig(failures_in_row=None, min_calls=4))
    feed(policy, *[Outcome.FAILURE] * 3)

    policy.reset(now_s=1000.0)

    assert feed(policy, *[Outcome.FAILURE] * 4) == [False] * 3 + [True]
