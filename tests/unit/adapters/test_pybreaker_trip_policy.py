from __future__ import annotations

import importlib
import logging
import sys

import pybreaker
import pytest

from holdfast.adapters.pybreaker import PybreakerTripPolicy
from holdfast.domain.circuit_breaker import CircuitBreaker
from holdfast.ports.errors import HoldfastError
from holdfast.ports.outcome import Outcome, Verdict
from holdfast.ports.statistics import BreakerState
from holdfast.testing import ManualClock

SUCCEEDED = Verdict(outcome=Outcome.SUCCESS)
FAILED = Verdict(outcome=Outcome.FAILURE)


class Recorder(pybreaker.CircuitBreakerListener):
    """Keeps what a pybreaker tells its listeners."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.errors: list[BaseException] = []

    def failure(self, cb: pybreaker.CircuitBreaker, exc: BaseException) -> None:
        self.heard.append("failure")
        self.errors.append(exc)

    def success(self, cb: pybreaker.CircuitBreaker) -> None:
        self.heard.append("success")

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        self.heard.append(f"{old_state.name if old_state else None} to {new_state.name}")


class Broken(pybreaker.CircuitBreakerListener):
    """Raises whenever it is told of a change of state."""

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        raise RuntimeError("the pager is down")


def guarded_by(judge: pybreaker.CircuitBreaker, clock: ManualClock) -> CircuitBreaker:
    return CircuitBreaker("echo", clock=clock, random=lambda: 1.0, trip_policy=PybreakerTripPolicy(judge))


def test_breaker_with_pybreaker_opens_at_its_fail_max() -> None:
    breaker = guarded_by(pybreaker.CircuitBreaker(fail_max=3), ManualClock())
    for _ in range(2):
        breaker.settle(breaker.acquire(), FAILED)
    assert breaker.statistics().state is BreakerState.CLOSED

    breaker.settle(breaker.acquire(), FAILED)

    assert breaker.statistics().state is BreakerState.OPEN


def test_breaker_with_pybreaker_opens_and_closes_tells_its_listeners() -> None:
    recorder, clock = Recorder(), ManualClock()
    breaker = guarded_by(pybreaker.CircuitBreaker(fail_max=2, listeners=[recorder]), clock)

    breaker.settle(breaker.acquire(), SUCCEEDED)
    for _ in range(2):
        breaker.settle(breaker.acquire(), FAILED)
    clock.advance(5.0)
    for _ in range(3):
        breaker.settle(breaker.acquire(), SUCCEEDED)

    assert recorder.heard == ["success", "failure", "failure", "closed to open", "open to closed"]


def test_breaker_with_pybreaker_late_failures_never_reach_it() -> None:
    recorder, clock = Recorder(), ManualClock()
    breaker = guarded_by(pybreaker.CircuitBreaker(fail_max=1, listeners=[recorder]), clock)
    late = [breaker.acquire() for _ in range(5)]
    breaker.settle(breaker.acquire(), FAILED)
    recorder.heard.clear()

    for permit in late:
        breaker.settle(permit, FAILED)

    assert recorder.heard == []


def test_record_failure_hands_listeners_the_error_of_the_call() -> None:
    recorder, error = Recorder(), OSError()
    policy = PybreakerTripPolicy(pybreaker.CircuitBreaker(listeners=[recorder]))

    policy.record(Outcome.FAILURE, now_s=0.0, error=error)

    assert recorder.errors == [error]


@pytest.mark.parametrize("outcome", [Outcome.FAILURE, Outcome.REJECTED_BY_PEER])
def test_record_failure_without_an_error_hands_listeners_one_that_names_the_outcome(outcome: Outcome) -> None:
    recorder = Recorder()
    policy = PybreakerTripPolicy(pybreaker.CircuitBreaker(listeners=[recorder]))

    policy.record(outcome, now_s=0.0)

    assert isinstance(recorder.errors[0], HoldfastError)
    assert outcome.value in str(recorder.errors[0])


def test_record_excluded_error_is_a_success_to_it() -> None:
    policy = PybreakerTripPolicy(pybreaker.CircuitBreaker(fail_max=2, exclude=[LookupError]))
    policy.record(Outcome.FAILURE, now_s=0.0, error=OSError())
    policy.record(Outcome.FAILURE, now_s=0.0, error=KeyError())

    assert not policy.record(Outcome.FAILURE, now_s=0.0, error=OSError())
    assert policy.record(Outcome.FAILURE, now_s=0.0, error=OSError())


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.SLOW])
def test_record_success_or_slow_ends_the_row_of_failures(outcome: Outcome) -> None:
    policy = PybreakerTripPolicy(pybreaker.CircuitBreaker(fail_max=2))
    policy.record(Outcome.FAILURE, now_s=0.0)

    policy.record(outcome, now_s=0.0)

    assert not policy.record(Outcome.FAILURE, now_s=0.0)


def test_record_error_of_another_open_pybreaker_counts_as_any_failure() -> None:
    policy = PybreakerTripPolicy(pybreaker.CircuitBreaker(fail_max=2))

    tripped = [
        policy.record(Outcome.FAILURE, now_s=0.0, error=pybreaker.CircuitBreakerError("inner")) for _ in range(2)
    ]

    assert tripped == [False, True]


def test_record_pybreaker_was_opened_by_hand_trips() -> None:
    judge = pybreaker.CircuitBreaker()
    policy = PybreakerTripPolicy(judge)
    judge.open()

    assert policy.record(Outcome.SUCCESS, now_s=0.0)


def test_record_listener_raises_still_trips_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    policy = PybreakerTripPolicy(pybreaker.CircuitBreaker(fail_max=2, listeners=[Broken()], name="judge"))

    with caplog.at_level(logging.ERROR):
        tripped = [policy.record(Outcome.FAILURE, now_s=0.0, error=OSError()) for _ in range(2)]

    assert tripped == [False, True]
    assert "'judge' raised" in caplog.text
    assert "the pager is down" in caplog.text


def test_reset_listener_raises_is_logged_and_judges_anew(caplog: pytest.LogCaptureFixture) -> None:
    policy = PybreakerTripPolicy(pybreaker.CircuitBreaker(fail_max=2, listeners=[Broken()]))
    for _ in range(2):
        policy.record(Outcome.FAILURE, now_s=0.0)
    caplog.clear()

    with caplog.at_level(logging.ERROR):
        policy.reset(now_s=1.0)

    assert "the pager is down" in caplog.text
    assert not policy.record(Outcome.FAILURE, now_s=2.0)


def test_reset_nothing_to_clear_tells_no_listener() -> None:
    recorder = Recorder()
    policy = PybreakerTripPolicy(pybreaker.CircuitBreaker(listeners=[recorder]))

    policy.reset(now_s=0.0)

    assert recorder.heard == []


def test_import_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("holdfast.adapters.pybreaker", "holdfast.adapters.pybreaker.trip"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pybreaker", None)

    with pytest.raises(ImportError, match=r"pip install 'holdfast\[pybreaker\]'"):
        importlib.import_module("holdfast.adapters.pybreaker")
