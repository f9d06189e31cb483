from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.domain.breaker_config import BreakerConfig, BreakerMode
from holdfast.domain.circuit_breaker import CircuitBreaker, Permit
from holdfast.ports.errors import BreakerOpenError
from holdfast.ports.outcome import Outcome, Verdict
from holdfast.ports.statistics import BreakerState
from holdfast.testing import ManualClock

DEFAULTS = BreakerConfig()
SUCCEEDED = Verdict(outcome=Outcome.SUCCESS)
FAILED = Verdict(outcome=Outcome.FAILURE)
IGNORED = Verdict(outcome=Outcome.IGNORED)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def make_breaker(clock: ManualClock, config: BreakerConfig = DEFAULTS) -> CircuitBreaker:
    """Without jitter: an opening lasts exactly 5, 10, 20 … seconds."""
    return CircuitBreaker("echo", config, clock=clock, random=lambda: 1.0)


def settle(breaker: CircuitBreaker, verdict: Verdict, times: int = 1) -> None:
    for _ in range(times):
        breaker.settle(breaker.acquire(), verdict)


def open_breaker(clock: ManualClock, config: BreakerConfig = DEFAULTS) -> CircuitBreaker:
    breaker = make_breaker(clock, replace(config, failures_in_row=1))
    settle(breaker, FAILED)
    return breaker


def half_open_breaker(clock: ManualClock, config: BreakerConfig = DEFAULTS) -> CircuitBreaker:
    breaker = open_breaker(clock, config)
    clock.advance(5.0)
    return breaker


def state(breaker: CircuitBreaker) -> BreakerState:
    return breaker.statistics().state


def test_acquire_closed_admits_any_number_at_once(clock: ManualClock) -> None:
    breaker = make_breaker(clock)

    for _ in range(100):
        breaker.acquire()

    assert breaker.statistics().in_flight == breaker.statistics().admitted == 100


def test_settle_closed_five_failures_in_a_row_opens(clock: ManualClock) -> None:
    breaker = make_breaker(clock)
    settle(breaker, FAILED, times=4)
    assert state(breaker) is BreakerState.CLOSED

    settle(breaker, FAILED)

    assert state(breaker) is BreakerState.OPEN


def test_settle_closed_half_of_twenty_calls_failed_opens(clock: ManualClock) -> None:
    breaker = make_breaker(clock)
    for _ in range(9):
        settle(breaker, SUCCEEDED)
        settle(breaker, FAILED)
    settle(breaker, SUCCEEDED)
    assert state(breaker) is BreakerState.CLOSED

    settle(breaker, FAILED)

    assert state(breaker) is BreakerState.OPEN


def test_settle_closed_ignored_calls_are_not_judged(clock: ManualClock) -> None:
    breaker = make_breaker(clock, BreakerConfig(failures_in_row=2))
    settle(breaker, FAILED)
    settle(breaker, IGNORED, times=50)
    assert state(breaker) is BreakerState.CLOSED

    settle(breaker, FAILED)

    assert state(breaker) is BreakerState.OPEN


@pytest.mark.parametrize(("took_s", "slow"), [(0.99, 0), (1.0, 1), (5.0, 1)])
def test_settle_success_from_the_slow_threshold_on_counts_as_slow(clock: ManualClock, took_s: float, slow: int) -> None:
    breaker = make_breaker(clock, BreakerConfig(slow_after_s=1.0))
    permit = breaker.acquire()
    clock.advance(took_s)

    breaker.settle(permit, SUCCEEDED)

    assert (breaker.statistics().slow, breaker.statistics().succeeded) == (slow, 1 - slow)


def test_settle_failure_after_the_slow_threshold_counts_as_failed(clock: ManualClock) -> None:
    breaker = make_breaker(clock, BreakerConfig(slow_after_s=1.0))
    permit = breaker.acquire()
    clock.advance(2.0)

    breaker.settle(permit, FAILED)

    assert (breaker.statistics().slow, breaker.statistics().failed) == (0, 1)


def test_settle_slow_calls_up_to_their_ratio_opens(clock: ManualClock) -> None:
    breaker = make_breaker(clock, BreakerConfig(slow_after_s=1.0, slow_ratio=1.0, min_calls=3))
    permits = [breaker.acquire() for _ in range(3)]
    clock.advance(1.0)

    for permit in permits:
        breaker.settle(permit, SUCCEEDED)

    assert state(breaker) is BreakerState.OPEN


def test_settle_same_permit_twice_counts_once(clock: ManualClock) -> None:
    breaker = make_breaker(clock)
    permit = breaker.acquire()
    breaker.settle(permit, SUCCEEDED)

    breaker.settle(permit, FAILED)

    assert (breaker.statistics().succeeded, breaker.statistics().failed) == (1, 0)


def test_settle_permit_of_another_breaker_changes_nothing(clock: ManualClock) -> None:
    breaker = make_breaker(clock)
    breaker.acquire()
    before = breaker.statistics()

    breaker.settle(make_breaker(clock).acquire(), FAILED)

    assert breaker.statistics() == before


def test_settle_each_outcome_is_counted_under_its_name(clock: ManualClock) -> None:
    breaker = make_breaker(clock)

    for outcome in Outcome:
        settle(breaker, Verdict(outcome=outcome))

    counted = breaker.statistics()
    assert (counted.succeeded, counted.failed, counted.slow, counted.rejected_by_peer, counted.ignored) == (1,) * 5
    assert (counted.admitted, counted.in_flight, counted.name) == (5, 0, "echo")


def test_settle_late_failures_of_an_earlier_generation_change_only_the_totals(clock: ManualClock) -> None:
    breaker = make_breaker(clock, BreakerConfig(failures_in_row=1))
    late = [breaker.acquire() for _ in range(10)]
    settle(breaker, FAILED)
    clock.advance(5.0)
    settle(breaker, SUCCEEDED, times=3)
    assert state(breaker) is BreakerState.CLOSED
    generation = breaker.statistics().generation

    for permit in late:
        breaker.settle(permit, FAILED)

    counted = breaker.statistics()
    assert (counted.state, counted.generation, counted.opened) == (BreakerState.CLOSED, generation, 1)
    assert (counted.failed, counted.in_flight) == (11, 0)


def test_settle_late_success_of_an_earlier_generation_is_no_probe(clock: ManualClock) -> None:
    breaker = make_breaker(clock, BreakerConfig(failures_in_row=1, probe_calls=1, probe_successes=1))
    late = breaker.acquire()
    settle(breaker, FAILED)
    clock.advance(5.0)

    breaker.settle(late, SUCCEEDED)

    assert state(breaker) is BreakerState.HALF_OPEN


@pytest.mark.parametrize("verdict", [SUCCEEDED, FAILED, IGNORED])
def test_settle_late_call_while_a_probe_is_under_way_frees_no_probe_slot(clock: ManualClock, verdict: Verdict) -> None:
    breaker = make_breaker(clock, BreakerConfig(failures_in_row=1))
    late = breaker.acquire()
    settle(breaker, FAILED)
    clock.advance(5.0)
    breaker.acquire()

    breaker.settle(late, verdict)

    assert breaker.try_acquire() is None


def test_acquire_open_raises_a_fresh_error_with_the_time_left(clock: ManualClock) -> None:
    breaker = open_breaker(clock)
    clock.advance(2.0)

    with pytest.raises(BreakerOpenError) as first:
        breaker.acquire()
    with pytest.raises(BreakerOpenError) as second:
        breaker.acquire()

    assert (first.value.breaker, first.value.retry_after_s) == ("echo", 3.0)
    assert first.value is not second.value
    assert (breaker.statistics().refused, breaker.statistics().in_flight) == (2, 0)


def test_acquire_open_time_ends_while_it_refuses_never_asks_for_less_than_no_time() -> None:
    class Ticking(ManualClock):
        def monotonic_s(self) -> float:
            self.advance(1.5)
            return super().monotonic_s()

    breaker = open_breaker(Ticking())
    for _ in range(2):
        breaker.try_acquire()

    with pytest.raises(BreakerOpenError) as caught:
        breaker.acquire()

    assert caught.value.retry_after_s == 0.0


def test_try_acquire_open_returns_none_and_counts_a_refusal(clock: ManualClock) -> None:
    breaker = open_breaker(clock)

    assert breaker.try_acquire() is None
    assert breaker.statistics().refused == 1


def test_statistics_open_time_is_over_shows_half_open(clock: ManualClock) -> None:
    breaker = open_breaker(clock)
    clock.advance(4.999)
    assert state(breaker) is BreakerState.OPEN

    clock.advance(0.001)

    assert state(breaker) is BreakerState.HALF_OPEN


def test_settle_push_back_that_opens_keeps_it_open_as_long_as_the_peer_asks(clock: ManualClock) -> None:
    breaker = make_breaker(clock, BreakerConfig(failures_in_row=1))

    settle(breaker, Verdict(outcome=Outcome.REJECTED_BY_PEER, retry_after_s=60.0))

    with pytest.raises(BreakerOpenError) as caught:
        breaker.acquire()
    assert caught.value.retry_after_s == pytest.approx(66.0)


def test_acquire_half_open_admits_one_probe_at_a_time(clock: ManualClock) -> None:
    breaker = half_open_breaker(clock)
    breaker.acquire()

    with pytest.raises(BreakerOpenError) as caught:
        breaker.acquire()

    assert caught.value.retry_after_s is None


def test_settle_half_open_three_probes_succeed_closes(clock: ManualClock) -> None:
    breaker = half_open_breaker(clock)
    settle(breaker, SUCCEEDED, times=2)
    assert state(breaker) is BreakerState.HALF_OPEN

    settle(breaker, SUCCEEDED)

    assert state(breaker) is BreakerState.CLOSED


def test_settle_half_open_first_failure_opens_again_for_twice_as_long(clock: ManualClock) -> None:
    breaker = half_open_breaker(clock)
    settle(breaker, SUCCEEDED, times=2)

    settle(breaker, FAILED)

    assert (state(breaker), breaker.statistics().opened) == (BreakerState.OPEN, 2)
    clock.advance(9.999)
    assert state(breaker) is BreakerState.OPEN


def test_settle_half_open_tolerates_failures_while_success_is_possible(clock: ManualClock) -> None:
    breaker = half_open_breaker(clock, BreakerConfig(probe_calls=3, probe_successes=2))
    settle(breaker, FAILED)
    assert state(breaker) is BreakerState.HALF_OPEN

    settle(breaker, SUCCEEDED, times=2)

    assert state(breaker) is BreakerState.CLOSED


def test_settle_half_open_success_has_become_impossible_opens_at_once(clock: ManualClock) -> None:
    breaker = half_open_breaker(clock, BreakerConfig(probe_calls=3, probe_successes=2))

    settle(breaker, FAILED, times=2)

    assert state(breaker) is BreakerState.OPEN


@pytest.mark.parametrize("outcome", [Outcome.SLOW, Outcome.REJECTED_BY_PEER])
def test_settle_half_open_slow_or_push_back_is_no_success(clock: ManualClock, outcome: Outcome) -> None:
    breaker = half_open_breaker(clock)

    settle(breaker, Verdict(outcome=outcome))

    assert state(breaker) is BreakerState.OPEN


def test_settle_half_open_push_back_stays_away_as_long_as_the_peer_asks(clock: ManualClock) -> None:
    breaker = half_open_breaker(clock)

    settle(breaker, Verdict(outcome=Outcome.REJECTED_BY_PEER, retry_after_s=100.0))

    clock.advance(100.0)
    assert state(breaker) is BreakerState.OPEN
    clock.advance(10.0)
    assert state(breaker) is BreakerState.HALF_OPEN


def test_settle_half_open_ignored_probe_gives_its_slot_back_and_is_not_judged(clock: ManualClock) -> None:
    breaker = half_open_breaker(clock)

    settle(breaker, IGNORED, times=10)

    assert state(breaker) is BreakerState.HALF_OPEN
    settle(breaker, SUCCEEDED, times=3)
    assert state(breaker) is BreakerState.CLOSED


def test_statistics_half_open_probe_has_not_come_back_shows_open_since_then(clock: ManualClock) -> None:
    breaker = half_open_breaker(clock, BreakerConfig(probe_timeout_s=60.0))
    breaker.acquire()
    clock.advance(61.0)

    with pytest.raises(BreakerOpenError) as caught:
        breaker.acquire()

    assert caught.value.retry_after_s == pytest.approx(9.0)


def test_acquire_probe_that_never_came_back_long_ago_admits_a_new_one(clock: ManualClock) -> None:
    breaker = half_open_breaker(clock, BreakerConfig(probe_timeout_s=60.0))
    breaker.acquire()

    clock.advance(70.0)

    assert breaker.try_acquire() is not None
    assert breaker.statistics().opened == 2


def test_settle_probe_after_its_time_changes_only_the_totals(clock: ManualClock) -> None:
    breaker = half_open_breaker(clock, BreakerConfig(probe_calls=1, probe_successes=1, probe_timeout_s=60.0))
    probe = breaker.acquire()
    clock.advance(60.0)

    breaker.settle(probe, SUCCEEDED)

    assert (state(breaker), breaker.statistics().succeeded) == (BreakerState.OPEN, 1)


@pytest.mark.parametrize("verdict", [SUCCEEDED, IGNORED])
def test_statistics_half_open_without_a_probe_waits_for_one_as_long_as_it_takes(
    clock: ManualClock, verdict: Verdict
) -> None:
    breaker = half_open_breaker(clock)
    settle(breaker, verdict)

    clock.advance(1e9)

    assert (state(breaker), breaker.statistics().opened) == (BreakerState.HALF_OPEN, 1)


def test_settle_rare_probes_that_all_succeed_close(clock: ManualClock) -> None:
    breaker = half_open_breaker(clock, BreakerConfig(probe_timeout_s=60.0))

    for _ in range(3):
        clock.advance(3600.0)
        settle(breaker, SUCCEEDED)

    assert state(breaker) is BreakerState.CLOSED


def test_settle_closed_again_begins_with_an_empty_window(clock: ManualClock) -> None:
    breaker = make_breaker(clock, BreakerConfig(failures_in_row=2))
    settle(breaker, FAILED, times=2)
    clock.advance(5.0)
    settle(breaker, SUCCEEDED, times=3)

    settle(breaker, FAILED)

    assert state(breaker) is BreakerState.CLOSED


@pytest.mark.parametrize(("closed_for_s", "open_s"), [(9.0, 10.0), (10.0, 5.0)])
def test_settle_opens_soon_after_closing_lasts_longer(clock: ManualClock, closed_for_s: float, open_s: float) -> None:
    breaker = half_open_breaker(clock)
    settle(breaker, SUCCEEDED, times=3)
    clock.advance(closed_for_s)

    settle(breaker, FAILED)

    with pytest.raises(BreakerOpenError) as caught:
        breaker.acquire()
    assert caught.value.retry_after_s == open_s


def test_acquire_forced_open_refuses_for_ever(clock: ManualClock) -> None:
    breaker = make_breaker(clock, BreakerConfig(mode=BreakerMode.FORCED_OPEN))
    clock.advance(1e9)

    with pytest.raises(BreakerOpenError) as caught:
        breaker.acquire()

    assert caught.value.retry_after_s is None
    assert state(breaker) is BreakerState.FORCED_OPEN


def test_settle_disabled_admits_everything_and_only_counts(clock: ManualClock) -> None:
    breaker = make_breaker(clock, BreakerConfig(mode=BreakerMode.DISABLED))

    settle(breaker, FAILED, times=1000)
    settle(breaker, IGNORED)

    counted = breaker.statistics()
    assert (counted.state, counted.failed, counted.ignored) == (BreakerState.DISABLED, 1000, 1)
    assert (counted.opened, counted.would_have_opened) == (0, 0)


def test_settle_metrics_only_admits_everything_and_says_how_often_it_would_have_opened(clock: ManualClock) -> None:
    breaker = make_breaker(clock, BreakerConfig(mode=BreakerMode.METRICS_ONLY, failures_in_row=5))

    settle(breaker, FAILED, times=14)

    counted = breaker.statistics()
    assert (counted.state, counted.opened, counted.would_have_opened) == (BreakerState.METRICS_ONLY, 0, 2)


@pytest.mark.parametrize("mode", list(BreakerMode))
def test_switch_to_any_mode_begins_a_generation(clock: ManualClock, mode: BreakerMode) -> None:
    breaker = make_breaker(clock, BreakerConfig(failures_in_row=1))
    earlier = breaker.acquire()
    generation = breaker.statistics().generation

    breaker.switch_to(mode)
    breaker.settle(earlier, FAILED)

    counted = breaker.statistics()
    assert counted.generation == generation + 1
    assert (counted.opened, counted.would_have_opened, counted.failed) == (0, 0, 1)


def test_switch_to_automatic_while_open_closes_it(clock: ManualClock) -> None:
    breaker = open_breaker(clock)

    breaker.switch_to(BreakerMode.AUTOMATIC)

    assert state(breaker) is BreakerState.CLOSED


def test_switch_to_forced_open_ends_the_automatic_opening(clock: ManualClock) -> None:
    breaker = open_breaker(clock)
    breaker.switch_to(BreakerMode.FORCED_OPEN)

    clock.advance(1e9)

    assert state(breaker) is BreakerState.FORCED_OPEN


class ScriptedTripPolicy:
    """Trips when told to, and keeps what it was told."""

    def __init__(self) -> None:
        self.trips = False
        self.heard: list[tuple[Outcome, float, Exception | None]] = []
        self.resets: list[float] = []

    def record(self, outcome: Outcome, *, now_s: float, error: Exception | None = None) -> bool:
        self.heard.append((outcome, now_s, error))
        return self.trips

    def reset(self, *, now_s: float) -> None:
        self.resets.append(now_s)


def breaker_with(policy: ScriptedTripPolicy, clock: ManualClock) -> CircuitBreaker:
    return CircuitBreaker("echo", clock=clock, random=lambda: 1.0, trip_policy=policy)


def test_settle_own_trip_policy_hears_outcome_time_and_error(clock: ManualClock) -> None:
    policy, error = ScriptedTripPolicy(), OSError()
    breaker = breaker_with(policy, clock)
    permit = breaker.acquire()
    clock.advance(1.0)

    breaker.settle(permit, FAILED, error=error)

    assert policy.heard == [(Outcome.FAILURE, 1001.0, error)]


def test_settle_own_trip_policy_never_hears_of_ignored_or_late_calls_or_probes(clock: ManualClock) -> None:
    policy = ScriptedTripPolicy()
    breaker = breaker_with(policy, clock)
    settle(breaker, IGNORED)
    late = breaker.acquire()
    policy.trips = True
    settle(breaker, FAILED)
    policy.heard.clear()
    clock.advance(5.0)

    breaker.settle(late, FAILED)
    settle(breaker, SUCCEEDED, times=3)

    assert policy.heard == []


def test_settle_own_trip_policy_is_reset_at_the_start_and_at_each_close(clock: ManualClock) -> None:
    policy = ScriptedTripPolicy()
    breaker = breaker_with(policy, clock)
    policy.trips = True
    settle(breaker, FAILED)
    clock.advance(5.0)

    settle(breaker, SUCCEEDED, times=3)

    assert policy.resets == [1000.0, 1005.0]


def test_generation_after_each_change_of_state_grows(clock: ManualClock) -> None:
    breaker = make_breaker(clock, BreakerConfig(failures_in_row=1))
    seen = [breaker.statistics().generation]
    settle(breaker, FAILED)
    seen.append(breaker.statistics().generation)
    clock.advance(5.0)
    seen.append(breaker.statistics().generation)
    settle(breaker, SUCCEEDED, times=3)
    seen.append(breaker.statistics().generation)

    assert seen == sorted(set(seen))


def test_permit_is_hashed_by_identity() -> None:
    assert len({Permit(1, 0.0), Permit(1, 0.0)}) == 2
