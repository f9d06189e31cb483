"""What a circuit breaker tells of its decisions."""

from __future__ import annotations

import pytest

from holdfast.domain.breaker_config import BreakerConfig, BreakerMode
from holdfast.domain.breaker_registry import BreakerRegistry
from holdfast.domain.circuit_breaker import CircuitBreaker
from holdfast.ports.errors import BreakerOpenError
from holdfast.ports.events import BreakerClosed, BreakerHalfOpened, BreakerOpened, BreakerRefused
from holdfast.ports.outcome import Outcome, Verdict
from holdfast.ports.statistics import BreakerState, BreakerStatistics
from holdfast.testing import ManualClock
from tests.fakes.events import Listener

SUCCEEDED = Verdict(outcome=Outcome.SUCCESS)
FAILED = Verdict(outcome=Outcome.FAILURE)
QUICK = BreakerConfig(failures_in_row=1, probe_calls=1, probe_successes=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def told() -> Listener:
    return Listener()


def make_breaker(clock: ManualClock, told: Listener, config: BreakerConfig = QUICK) -> CircuitBreaker:
    """Without jitter: an opening lasts exactly 5, 10, 20 … seconds."""
    return CircuitBreaker("echo", config, clock=clock, random=lambda: 1.0, events=told)


def test_breaker_that_admits_every_call_tells_nothing(clock: ManualClock, told: Listener) -> None:
    breaker = make_breaker(clock, told)

    for _ in range(3):
        breaker.settle(breaker.acquire(), SUCCEEDED)

    assert told.heard == []


def test_breaker_that_opens_tells_for_how_long(clock: ManualClock, told: Listener) -> None:
    breaker = make_breaker(clock, told)

    breaker.settle(breaker.acquire(), FAILED)

    assert told.heard == [BreakerOpened(breaker="echo", open_s=5.0)]


def test_breaker_that_refuses_tells_each_time_when_it_may_admit(clock: ManualClock, told: Listener) -> None:
    breaker = make_breaker(clock, told)
    breaker.settle(breaker.acquire(), FAILED)
    told.heard.clear()

    clock.advance(2.0)
    assert breaker.try_acquire() is None
    with pytest.raises(BreakerOpenError) as caught:
        breaker.acquire()

    assert caught.value.retry_after_s == 3.0
    assert told.heard == [BreakerRefused(breaker="echo", retry_after_s=3.0)] * 2


def test_breaker_that_recovers_tells_half_open_and_then_closed(clock: ManualClock, told: Listener) -> None:
    breaker = make_breaker(clock, told)
    breaker.settle(breaker.acquire(), FAILED)
    clock.advance(5.0)
    told.heard.clear()

    breaker.settle(breaker.acquire(), SUCCEEDED)

    assert told.heard == [BreakerHalfOpened(breaker="echo"), BreakerClosed(breaker="echo")]


def test_breaker_whose_probe_fails_tells_that_it_opens_again_for_longer(clock: ManualClock, told: Listener) -> None:
    breaker = make_breaker(clock, told)
    breaker.settle(breaker.acquire(), FAILED)
    clock.advance(5.0)

    breaker.settle(breaker.acquire(), FAILED)

    assert told.heard[-1] == BreakerOpened(breaker="echo", open_s=10.0)


def test_breaker_busy_with_its_probe_tells_a_refusal_without_an_end(clock: ManualClock, told: Listener) -> None:
    breaker = make_breaker(clock, told)
    breaker.settle(breaker.acquire(), FAILED)
    clock.advance(5.0)
    breaker.acquire()

    breaker.try_acquire()

    assert told.heard[-1] == BreakerRefused(breaker="echo", retry_after_s=None)


def test_breaker_that_nobody_asked_for_long_tells_all_that_led_here_in_order(
    clock: ManualClock, told: Listener
) -> None:
    breaker = make_breaker(clock, told)
    breaker.settle(breaker.acquire(), FAILED)
    clock.advance(5.0)
    breaker.acquire()
    told.heard.clear()

    clock.advance(1000.0)
    breaker.statistics()

    assert told.heard == [BreakerOpened(breaker="echo", open_s=10.0), BreakerHalfOpened(breaker="echo")]


@pytest.mark.parametrize("mode", [BreakerMode.AUTOMATIC, BreakerMode.DISABLED, BreakerMode.METRICS_ONLY])
def test_operator_who_lets_every_call_through_again_is_told_as_closed(
    mode: BreakerMode, clock: ManualClock, told: Listener
) -> None:
    breaker = make_breaker(clock, told)

    breaker.switch_to(BreakerMode.FORCED_OPEN)
    breaker.switch_to(mode)

    assert told.heard == [BreakerOpened(breaker="echo", open_s=None), BreakerClosed(breaker="echo")]


def test_operator_who_changes_nothing_about_who_is_let_through_is_not_told(clock: ManualClock, told: Listener) -> None:
    breaker = make_breaker(clock, told)

    for mode in (BreakerMode.DISABLED, BreakerMode.METRICS_ONLY, BreakerMode.AUTOMATIC):
        breaker.switch_to(mode)
    breaker.switch_to(BreakerMode.FORCED_OPEN)
    breaker.switch_to(BreakerMode.FORCED_OPEN)

    assert told.heard == [BreakerOpened(breaker="echo", open_s=None)]


def test_operator_who_holds_an_open_breaker_open_is_told(clock: ManualClock, told: Listener) -> None:
    breaker = make_breaker(clock, told)
    breaker.settle(breaker.acquire(), FAILED)

    breaker.switch_to(BreakerMode.FORCED_OPEN)

    assert told.heard[-1] == BreakerOpened(breaker="echo", open_s=None)


def test_breaker_made_open_tells_so_and_one_made_otherwise_tells_nothing(clock: ManualClock, told: Listener) -> None:
    for mode in BreakerMode:
        make_breaker(clock, told, BreakerConfig(mode=mode))

    assert told.heard == [BreakerOpened(breaker="echo", open_s=None)]


def test_call_that_is_ignored_or_late_tells_nothing(clock: ManualClock, told: Listener) -> None:
    breaker = make_breaker(clock, told)
    late, ignored = breaker.acquire(), breaker.acquire()
    breaker.settle(ignored, Verdict(outcome=Outcome.IGNORED))
    breaker.settle(breaker.acquire(), FAILED)
    told.heard.clear()

    breaker.settle(late, FAILED)

    assert told.heard == []


def test_sink_that_looks_sees_the_state_that_it_is_told_of(clock: ManualClock, told: Listener) -> None:
    breaker = make_breaker(clock, told)
    seen: list[BreakerStatistics] = []
    told.then = lambda: seen.append(breaker.statistics())

    breaker.settle(breaker.acquire(), FAILED)
    breaker.try_acquire()
    clock.advance(5.0)
    breaker.settle(breaker.acquire(), SUCCEEDED)

    assert [(statistics.state, statistics.failed, statistics.refused) for statistics in seen] == [
        (BreakerState.OPEN, 1, 0),
        (BreakerState.OPEN, 1, 1),
        (BreakerState.HALF_OPEN, 1, 1),
        (BreakerState.CLOSED, 1, 1),
    ]


def test_registry_makes_breakers_that_tell_of_themselves_by_name(clock: ManualClock, told: Listener) -> None:
    registry = BreakerRegistry(
        lambda name: CircuitBreaker(name, QUICK, clock=clock, random=lambda: 1.0, events=told),
    )

    for name in ("one", "two"):
        registry.get(name).settle(registry.get(name).acquire(), FAILED)

    assert told.heard == [BreakerOpened(breaker="one", open_s=5.0), BreakerOpened(breaker="two", open_s=5.0)]
