from __future__ import annotations

from typing import Any

import pytest

from holdfast.domain.retry_policy import Jitter, RetryPolicy
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.outcome import Outcome, Verdict
from holdfast.ports.retry import FailedAttempt


def failed(
    number: int = 1,
    *,
    outcome: Outcome = Outcome.FAILURE,
    retry_after_s: float | None = None,
    previous_delay_s: float = 0.0,
    uniform: float = 0.5,
) -> FailedAttempt:
    return FailedAttempt(
        number=number,
        error=ConnectionError(),
        verdict=Verdict(outcome=outcome, retry_after_s=retry_after_s),
        elapsed_s=1.0,
        previous_delay_s=previous_delay_s,
        slept_s=previous_delay_s,
        uniform=uniform,
    )


def test_policy_by_default_has_the_documented_values() -> None:
    policy = RetryPolicy()

    assert policy == RetryPolicy(
        max_attempts=3,
        base_delay_s=0.05,
        throttled_base_delay_s=1.0,
        max_delay_s=20.0,
        max_retry_after_s=60.0,
        jitter=Jitter.FULL,
    )


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"max_attempts": 0}, "retry.max_attempts"),
        ({"base_delay_s": -0.1}, "retry.base_delay_s"),
        ({"base_delay_s": float("nan")}, "retry.base_delay_s"),
        ({"throttled_base_delay_s": -1.0}, "retry.throttled_base_delay_s"),
        ({"max_delay_s": float("inf")}, "retry.max_delay_s"),
        ({"max_retry_after_s": -1.0}, "retry.max_retry_after_s"),
        ({"base_delay_s": 50.0}, "retry.base_delay_s"),
    ],
)
def test_policy_with_a_value_out_of_range_is_refused(arguments: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RetryPolicy(**arguments)

    assert caught.value.path == path


def test_policy_at_its_lower_bounds_is_accepted() -> None:
    policy = RetryPolicy(
        max_attempts=1, base_delay_s=0.0, throttled_base_delay_s=0.0, max_delay_s=0.0, max_retry_after_s=0.0
    )

    assert policy.delay_for_attempt(1, uniform=0.9) == 0.0


@pytest.mark.parametrize(("number", "delay_s"), [(1, 0.05), (2, 0.1), (3, 0.2), (9, 12.8), (10, 20.0), (2_000, 20.0)])
def test_delay_without_jitter_doubles_up_to_the_cap(number: int, delay_s: float) -> None:
    policy = RetryPolicy(jitter=Jitter.NONE)

    assert policy.delay_for_attempt(number, uniform=0.3) == pytest.approx(delay_s)


def test_delay_of_an_attempt_number_beyond_floating_point_is_the_cap() -> None:
    policy = RetryPolicy(jitter=Jitter.NONE, base_delay_s=19.0)

    assert policy.delay_for_attempt(10**400, uniform=0.0) == 20.0


@pytest.mark.parametrize(
    ("jitter", "uniform", "delay_s"),
    [
        (Jitter.FULL, 0.0, 0.0),
        (Jitter.FULL, 0.25, 0.1),
        (Jitter.EQUAL, 0.0, 0.2),
        (Jitter.EQUAL, 0.5, 0.3),
        (Jitter.DECORRELATED, 0.0, 0.1),
        (Jitter.DECORRELATED, 0.5, 0.2),
    ],
)
def test_delay_with_jitter_lies_where_chance_puts_it(jitter: Jitter, uniform: float, delay_s: float) -> None:
    policy = RetryPolicy(jitter=jitter, base_delay_s=0.1)

    assert policy.delay_for_attempt(3, uniform=uniform, previous_delay_s=0.1) == pytest.approx(delay_s)


def test_delay_with_decorrelated_jitter_grows_with_the_previous_delay() -> None:
    policy = RetryPolicy(jitter=Jitter.DECORRELATED, base_delay_s=0.1)

    assert policy.delay_for_attempt(2, uniform=0.5, previous_delay_s=1.0) == pytest.approx(0.1 + 2.9 / 2)


def test_delay_with_decorrelated_jitter_after_a_long_retry_after_keeps_to_the_cap() -> None:
    policy = RetryPolicy(jitter=Jitter.DECORRELATED)

    assert policy.delay_for_attempt(2, uniform=0.9, previous_delay_s=60.0) == 20.0


def test_decision_when_throttled_starts_from_the_throttled_base() -> None:
    policy = RetryPolicy(jitter=Jitter.NONE, max_attempts=5)

    delays_s = [policy.delay_before_next_s(failed(number, outcome=Outcome.REJECTED_BY_PEER)) for number in (1, 2, 3)]

    assert delays_s == [1.0, 2.0, 4.0]


def test_decision_hands_the_previous_delay_to_decorrelated_jitter() -> None:
    policy = RetryPolicy(jitter=Jitter.DECORRELATED, base_delay_s=0.1)

    assert policy.delay_before_next_s(failed(2, previous_delay_s=1.0)) == pytest.approx(0.1 + 2.9 / 2)


def test_decision_at_the_last_attempt_gives_up() -> None:
    policy = RetryPolicy(max_attempts=2)

    assert policy.delay_before_next_s(failed(1)) is not None
    assert policy.delay_before_next_s(failed(2)) is None


def test_decision_with_a_retry_after_above_the_backoff_waits_that_long_and_up_to_a_tenth_more() -> None:
    policy = RetryPolicy()

    assert policy.delay_before_next_s(failed(retry_after_s=30.0, uniform=0.0)) == 30.0
    assert policy.delay_before_next_s(failed(retry_after_s=30.0, uniform=0.5)) == pytest.approx(31.5)


def test_decision_with_a_retry_after_below_the_backoff_waits_for_the_backoff() -> None:
    policy = RetryPolicy(jitter=Jitter.NONE, max_attempts=20)

    assert policy.delay_before_next_s(failed(9, retry_after_s=1.0)) == 12.8


def test_decision_with_a_retry_after_at_its_bound_waits_and_beyond_it_gives_up() -> None:
    policy = RetryPolicy()

    assert policy.delay_before_next_s(failed(retry_after_s=60.0, uniform=0.0)) == 60.0
    assert policy.delay_before_next_s(failed(retry_after_s=60.01)) is None


def test_decision_with_a_retry_after_in_the_past_waits_for_the_backoff_only() -> None:
    policy = RetryPolicy(jitter=Jitter.NONE)

    assert policy.delay_before_next_s(failed(retry_after_s=-5.0)) == 0.05


def test_policy_is_a_value_that_can_be_compared_and_hashed() -> None:
    assert RetryPolicy() == RetryPolicy()
    assert len({RetryPolicy(), RetryPolicy(), RetryPolicy(max_attempts=4)}) == 2
