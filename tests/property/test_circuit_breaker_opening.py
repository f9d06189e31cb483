"""Whatever a breaker is told and whatever happens to it, it admits a call again."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from holdfast.domain.breaker_config import BreakerConfig
from holdfast.domain.circuit_breaker import CircuitBreaker
from holdfast.ports.outcome import Outcome, Verdict
from holdfast.ports.statistics import BreakerState
from holdfast.testing import ManualClock

SECONDS = st.floats(min_value=1e-3, max_value=1e6)
SOMETHING_BAD = st.one_of(
    st.builds(Verdict, outcome=st.just(Outcome.FAILURE)),
    st.builds(
        Verdict,
        outcome=st.just(Outcome.REJECTED_BY_PEER),
        retry_after_s=st.none() | st.floats(min_value=-1.0, allow_nan=False),
    ),
)
NEVER_CAME_BACK = None


@st.composite
def configs(draw: st.DrawFn) -> BreakerConfig:
    open_s = draw(SECONDS)
    probe_successes = draw(st.integers(1, 5))
    return BreakerConfig(
        failures_in_row=1,
        open_s=open_s,
        max_open_s=draw(st.floats(min_value=open_s, max_value=1e7)),
        forget_opening_s=draw(SECONDS),
        probe_successes=probe_successes,
        probe_calls=probe_successes + draw(st.integers(0, 5)),
        probe_timeout_s=draw(SECONDS),
    )


@given(
    config=configs(),
    uniform=st.floats(0.0, 1.0, exclude_max=True),
    ends=st.lists(SOMETHING_BAD | st.none(), min_size=1, max_size=30),
)
def test_breaker_any_config_after_any_failures_always_admits_again(
    config: BreakerConfig, uniform: float, ends: list[Verdict | None]
) -> None:
    clock = ManualClock()
    breaker = CircuitBreaker("echo", config, clock=clock, random=lambda: uniform)
    breaker.settle(breaker.acquire(), Verdict(outcome=Outcome.FAILURE))
    assert breaker.statistics().state is BreakerState.OPEN

    for end in ends:
        clock.advance(config.max_open_s)
        permit = breaker.try_acquire()
        assert permit is not None
        if end is NEVER_CAME_BACK:
            clock.advance(config.probe_timeout_s)
        else:
            breaker.settle(permit, end)


@given(config=configs(), uniform=st.floats(0.0, 1.0, exclude_max=True), failures=st.integers(1, 50))
def test_breaker_peer_is_well_again_closes_after_the_probes_it_needs(
    config: BreakerConfig, uniform: float, failures: int
) -> None:
    clock = ManualClock()
    breaker = CircuitBreaker("echo", config, clock=clock, random=lambda: uniform)
    for _ in range(failures):
        if (permit := breaker.try_acquire()) is not None:
            breaker.settle(permit, Verdict(outcome=Outcome.FAILURE))
    clock.advance(config.max_open_s)

    for _ in range(config.probe_successes):
        breaker.settle(breaker.acquire(), Verdict(outcome=Outcome.SUCCESS))

    assert breaker.statistics().state is BreakerState.CLOSED


@given(config=configs(), uniform=st.floats(0.0, 1.0, exclude_max=True))
def test_breaker_opens_for_at_least_half_of_what_is_configured(config: BreakerConfig, uniform: float) -> None:
    clock = ManualClock(0.0)
    breaker = CircuitBreaker("echo", config, clock=clock, random=lambda: uniform)
    breaker.settle(breaker.acquire(), Verdict(outcome=Outcome.FAILURE))

    clock.advance(config.open_s * 0.499)

    assert breaker.try_acquire() is None
