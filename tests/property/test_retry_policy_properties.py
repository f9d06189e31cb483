from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.retry_policy import Jitter, RetryPolicy
from holdfast.ports.outcome import Outcome, Verdict
from holdfast.ports.retry import FailedAttempt

uniforms = st.floats(0.0, 1.0, exclude_max=True)
numbers = st.integers(1, 10**6)
delays_s = st.floats(0.0, 100.0)
verdicts = st.builds(
    Verdict,
    outcome=st.sampled_from(Outcome),
    retry_after_s=st.none() | st.floats(0.0),
    retry_allowed=st.booleans(),
)
any_jitter = st.sampled_from(Jitter)


@st.composite
def policies(draw: st.DrawFn, jitters: st.SearchStrategy[Jitter] = any_jitter) -> RetryPolicy:
    max_delay_s = draw(st.floats(0.0, 1e6))
    return RetryPolicy(
        max_attempts=draw(st.integers(1, 10)),
        base_delay_s=draw(st.floats(0.0, max_delay_s)),
        throttled_base_delay_s=draw(st.floats(0.0, 1e6)),
        max_delay_s=max_delay_s,
        max_retry_after_s=draw(st.floats(0.0, 1e6)),
        jitter=draw(jitters),
    )


def ceiling_s(policy: RetryPolicy, number: int, *, throttled: bool) -> float:
    """Restate the cap and the doubling in integers and fractions of two, which cannot overflow."""
    base_s = policy.throttled_base_delay_s if throttled else policy.base_delay_s
    for _ in range(min(number - 1, 2200)):
        if base_s >= policy.max_delay_s or base_s == 0.0:
            break
        base_s *= 2
    return min(base_s, policy.max_delay_s)


@given(policies(), numbers, uniforms, delays_s, st.booleans())
def test_delay_is_always_between_zero_and_the_cap(
    policy: RetryPolicy, number: int, uniform: float, previous_delay_s: float, throttled: bool
) -> None:
    delay_s = policy.delay_for_attempt(number, uniform=uniform, previous_delay_s=previous_delay_s, throttled=throttled)

    assert 0.0 <= delay_s <= policy.max_delay_s


@pytest.mark.parametrize(("jitter", "least_ratio"), [(Jitter.NONE, 1.0), (Jitter.FULL, 0.0), (Jitter.EQUAL, 0.5)])
@given(st.data(), st.integers(1, 1000), uniforms, st.booleans())
def test_delay_lies_within_the_bounds_of_its_jitter(
    jitter: Jitter, least_ratio: float, data: st.DataObject, number: int, uniform: float, throttled: bool
) -> None:
    policy = data.draw(policies(st.just(jitter)))

    delay_s = policy.delay_for_attempt(number, uniform=uniform, throttled=throttled)

    whole_s = ceiling_s(policy, number, throttled=throttled)
    assert least_ratio * whole_s <= delay_s <= whole_s


@given(policies(st.just(Jitter.DECORRELATED)), numbers, uniforms, delays_s)
def test_decorrelated_delay_lies_between_the_base_and_three_times_the_previous_one(
    policy: RetryPolicy, number: int, uniform: float, previous_delay_s: float
) -> None:
    delay_s = policy.delay_for_attempt(number, uniform=uniform, previous_delay_s=previous_delay_s)

    widest_s = 3 * max(policy.base_delay_s, previous_delay_s)
    assert policy.base_delay_s <= delay_s <= max(policy.base_delay_s, widest_s) * (1 + 1e-12)


@given(policies(st.sampled_from([Jitter.NONE, Jitter.FULL, Jitter.EQUAL])), numbers, uniforms, st.booleans())
def test_delay_never_falls_from_one_attempt_to_the_next_with_the_same_chance(
    policy: RetryPolicy, number: int, uniform: float, throttled: bool
) -> None:
    earlier_s = policy.delay_for_attempt(number, uniform=uniform, throttled=throttled)
    later_s = policy.delay_for_attempt(number + 1, uniform=uniform, throttled=throttled)

    assert earlier_s <= later_s


@given(policies(), numbers, uniforms, uniforms, delays_s, st.booleans())
def test_delay_never_falls_with_chance(
    policy: RetryPolicy, number: int, one: float, other: float, previous_delay_s: float, throttled: bool
) -> None:
    lower_s, upper_s = (
        policy.delay_for_attempt(number, uniform=uniform, previous_delay_s=previous_delay_s, throttled=throttled)
        for uniform in sorted((one, other))
    )

    assert lower_s <= upper_s


@given(policies(), numbers, uniforms, delays_s, verdicts)
def test_decision_keeps_to_attempts_verdict_cap_and_retry_after(
    policy: RetryPolicy, number: int, uniform: float, previous_delay_s: float, verdict: Verdict
) -> None:
    delay_s = policy.delay_before_next_s(
        FailedAttempt(
            number=number,
            error=ConnectionError(),
            verdict=verdict,
            elapsed_s=0.0,
            previous_delay_s=previous_delay_s,
            slept_s=previous_delay_s,
            uniform=uniform,
        )
    )

    asked_s = verdict.retry_after_s if verdict.retry_after_s is not None else 0.0
    goes_on = (
        number < policy.max_attempts
        and verdict.retry_allowed
        and verdict.outcome in {Outcome.FAILURE, Outcome.REJECTED_BY_PEER}
        and asked_s <= policy.max_retry_after_s
    )
    assert (delay_s is not None) is goes_on
    if delay_s is not None:
        assert math.isfinite(delay_s)
        assert asked_s <= delay_s <= max(policy.max_delay_s, 1.1 * asked_s)
