from __future__ import annotations

from typing import Any

import anyio
import pytest

from holdfast.domain.adaptive_limit import AdaptiveLimit, AdaptiveLimitConfig, LoadSignal, load_signal
from holdfast.domain.deadline import Deadline
from holdfast.ports.errors import (
    AttemptTimeoutError,
    BackendRequestError,
    BackendThrottledError,
    BackendUnavailableError,
    BreakerOpenError,
    ConfigurationError,
    DeadlineExceededError,
    PoolTimeoutError,
)
from holdfast.testing import ManualClock

BEFORE_ALL_S = 10.0
LONG_S = 1000.0
DEFAULTS = AdaptiveLimitConfig()


class Load:
    """Feeds a limit with windows of calls, each of which begins after the last decision."""

    def __init__(self, config: AdaptiveLimitConfig = DEFAULTS, *, quiet_s: float | None = 0.1) -> None:
        self.limit = AdaptiveLimit(config)
        self.now_s = BEFORE_ALL_S
        if quiet_s is not None:
            self.window(quiet_s)
            self.window(quiet_s)

    def end(
        self,
        latency_s: float,
        *,
        signal: LoadSignal = LoadSignal.COMPLETED,
        in_flight: int | None = None,
        ago_s: float = 0.0,
    ) -> int:
        """Let one call end that took `latency_s`, now or a while ago."""
        ended_s = self.now_s - ago_s
        running = self.limit.limit if in_flight is None else in_flight
        return self.limit.record(signal, began_s=ended_s - latency_s, in_flight=running, now_s=ended_s)

    def window(
        self, *latencies_s: float, in_flight: int | None = None, overloaded: bool = False, after_s: float = 1.0
    ) -> int:
        """Let calls end, for as many as run at once and all at the same moment, with the latencies given in turn."""
        running = self.limit.limit if in_flight is None else in_flight
        self.now_s += max(after_s, max(latencies_s) + 0.02)
        if overloaded:
            self.end(0.0, signal=LoadSignal.OVERLOADED, in_flight=running, ago_s=0.01)
        ends = max(10, running)
        for number in range(ends):
            last = number == ends - 1
            self.end(latencies_s[number % len(latencies_s)], in_flight=running, ago_s=0.0 if last else 0.01)
        return self.limit.limit


@pytest.mark.parametrize(
    ("path", "config"),
    [
        ("adaptive_limit.min_limit", {"min_limit": 0}),
        ("adaptive_limit.initial_limit", {"min_limit": 5, "initial_limit": 4}),
        ("adaptive_limit.max_limit", {"initial_limit": 5, "max_limit": 4}),
        ("adaptive_limit.window_s", {"window_s": 0.0}),
        ("adaptive_limit.min_samples", {"min_samples": 0}),
        ("adaptive_limit.tolerance_ratio", {"tolerance_ratio": 0.9}),
        ("adaptive_limit.remeasure_s", {"remeasure_s": float("inf")}),
    ],
)
def test_config_out_of_range_is_refused_with_its_path(path: str, config: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        AdaptiveLimitConfig(**config)

    assert raised.value.path == path


@pytest.mark.parametrize(
    ("config", "other"),
    [
        ({"min_limit": 21}, "adaptive_limit.min_limit, 21, not 20"),
        ({"max_limit": 19}, "adaptive_limit.initial_limit, 20, not 19"),
    ],
)
def test_config_with_limits_out_of_order_names_both(config: dict[str, Any], other: str) -> None:
    with pytest.raises(ConfigurationError, match=other):
        AdaptiveLimitConfig(**config)


def test_limit_begins_at_the_initial_one_and_knows_no_latency() -> None:
    limit = AdaptiveLimit()

    assert (limit.limit, limit.baseline_s, limit.recent_s) == (20, None, None)


def test_first_window_is_the_baseline_and_is_measured_anew_at_half_the_limit() -> None:
    load = Load(quiet_s=None)

    assert load.window(0.1) == 10
    assert load.limit.baseline_s == pytest.approx(0.1)
    assert load.window(0.1) == 20


def test_window_within_the_tolerance_grows_the_limit_by_its_square_root() -> None:
    load = Load(AdaptiveLimitConfig(initial_limit=25))

    assert [load.window(0.149), load.window(0.149)] == [30, 35]


def test_growth_ends_at_the_highest_limit() -> None:
    assert Load(AdaptiveLimitConfig(max_limit=22)).window(0.1) == 22


def test_growth_ends_at_twice_the_calls_in_flight() -> None:
    assert Load().window(0.1, in_flight=11) == 22


def test_window_beyond_the_tolerance_shrinks_the_limit_in_proportion() -> None:
    load = Load()

    assert load.window(0.2) == 15
    assert load.limit.recent_s == pytest.approx(0.2)


def test_window_far_beyond_the_tolerance_shrinks_the_limit_by_half() -> None:
    assert Load().window(5.0) == 10


def test_shrinking_ends_at_the_lowest_limit() -> None:
    load = Load(AdaptiveLimitConfig(min_limit=8))

    assert [load.window(5.0), load.window(5.0)] == [10, 8]


@pytest.mark.parametrize("latency_s", [0.1, 5.0])
def test_window_with_less_than_half_of_the_limit_in_flight_holds_it(latency_s: float) -> None:
    load = Load()

    assert load.window(latency_s, in_flight=9) == 20
    assert load.window(latency_s, in_flight=11) != 20


def test_window_whose_calls_end_together_is_judged_by_how_many_ran_at_most() -> None:
    load = Load()
    load.now_s += 2.0
    for running in range(20, 0, -1):
        load.end(1.0, in_flight=running)

    assert load.limit.limit == 10


def test_window_is_judged_by_the_slowest_in_ten() -> None:
    one_slow, two_slow = Load(AdaptiveLimitConfig(initial_limit=10)), Load(AdaptiveLimitConfig(initial_limit=10))

    assert one_slow.window(*[0.1] * 9, 0.9) == 13
    assert two_slow.window(*[0.1] * 8, 0.9, 0.9) == 5


def test_window_is_not_judged_before_it_has_lasted() -> None:
    load = Load()
    load.window(0.5, after_s=0.99)

    assert load.limit.limit == 20


def test_window_is_not_judged_before_it_has_enough_samples() -> None:
    load = Load(AdaptiveLimitConfig(initial_limit=4))
    load.now_s += 2.0

    assert [load.end(1.0) for _ in range(10)] == [4] * 9 + [2]


def test_window_is_not_judged_before_every_call_in_flight_could_have_ended() -> None:
    load = Load(AdaptiveLimitConfig(initial_limit=12))
    load.now_s += 2.0

    assert [load.end(1.0) for _ in range(12)] == [12] * 11 + [6]


def test_calls_that_began_before_the_last_decision_say_nothing_about_the_limit_now() -> None:
    load = Load()
    load.now_s += 1.0
    for _ in range(100):
        load.end(1.5)

    assert load.limit.limit == 20


def test_memory_of_a_long_window_is_bounded_and_keeps_the_latest() -> None:
    load = Load(AdaptiveLimitConfig(min_samples=2000), quiet_s=None)
    for latency_s in (5.0, 0.1):
        for _ in range(1000):
            load.end(latency_s)

    assert load.limit.recent_s == pytest.approx(0.1)


def test_calls_that_say_nothing_change_nothing_however_many_they_are() -> None:
    load = Load(AdaptiveLimitConfig(remeasure_s=LONG_S))
    for _ in range(900):
        load.now_s += 1.0
        load.end(0.9, signal=LoadSignal.NEUTRAL)

    assert load.limit.limit == 20
    assert load.limit.baseline_s == pytest.approx(0.1)
    assert load.window(0.1) == 24


def test_push_back_and_timeouts_shrink_the_limit_to_nine_tenths_without_a_sample() -> None:
    load = Load()
    load.now_s += 1.0

    assert load.end(0.5, signal=LoadSignal.OVERLOADED) == 18


def test_push_back_to_many_at_once_shrinks_the_limit_once() -> None:
    load = Load()
    load.now_s += 1.0
    for _ in range(20):
        load.end(0.5, signal=LoadSignal.OVERLOADED)

    assert load.limit.limit == 18


def test_push_back_again_and_again_shrinks_the_limit_once_in_each_window() -> None:
    load = Load()
    for _ in range(30):
        load.now_s += 0.1
        load.end(0.05, signal=LoadSignal.OVERLOADED)

    assert load.limit.limit == int(20 * 0.9 * 0.9)


def test_push_back_with_little_in_flight_shrinks_the_limit_all_the_same() -> None:
    load = Load()
    load.now_s += 1.0

    assert load.end(0.5, signal=LoadSignal.OVERLOADED, in_flight=1) == 18


def test_push_back_in_a_window_of_fast_answers_shrinks_the_limit_instead_of_growing_it() -> None:
    assert Load().window(0.1, overloaded=True) == 18


def test_push_back_in_a_window_of_slow_answers_shrinks_the_limit_by_the_larger_step() -> None:
    assert Load().window(0.9, overloaded=True) == 10


def test_baseline_follows_faster_answers_by_an_eighth() -> None:
    load = Load(quiet_s=0.8)
    load.window(0.4)

    assert load.limit.baseline_s == pytest.approx(0.75)


def test_baseline_never_follows_slower_answers_between_two_measurements() -> None:
    load = Load(AdaptiveLimitConfig(remeasure_s=LONG_S))
    for _ in range(100):
        load.window(0.14)
        load.window(1.0)

    assert load.limit.baseline_s == pytest.approx(0.1)


def test_what_has_become_slower_for_good_is_the_baseline_after_the_next_measurement() -> None:
    load = Load(AdaptiveLimitConfig(remeasure_s=60.0))
    limits = [load.window(1.0, after_s=2.0) for _ in range(33)]

    assert limits[5:31] == [1] * 26
    assert load.limit.baseline_s == pytest.approx(1.0)
    assert limits[31:] == [2, 3]


def test_measurement_halves_the_limit_for_one_window_only() -> None:
    load = Load(AdaptiveLimitConfig(remeasure_s=3.0, max_limit=20))

    assert [load.window(0.1) for _ in range(5)] == [20, 20, 10, 20, 20]


def test_push_back_during_a_measurement_leaves_it_going_on() -> None:
    load = Load(AdaptiveLimitConfig(remeasure_s=1.0, max_limit=20))
    load.window(0.1)
    load.now_s += 1.0

    assert load.end(0.5, signal=LoadSignal.OVERLOADED) == 9
    assert load.window(0.1) == 18


def test_overload_from_the_start_is_found_by_halving_until_calls_get_no_faster() -> None:
    load = Load(AdaptiveLimitConfig(initial_limit=80), quiet_s=None)

    limits = [load.window(max(1.0, load.limit.limit / 10)) for _ in range(6)]

    assert limits == [40, 20, 10, 5, 10, 13]
    assert load.limit.baseline_s == pytest.approx(1.0)


def test_latencies_below_the_resolution_of_timers_are_all_alike() -> None:
    load = Load(quiet_s=0.000_01)

    assert load.window(0.000_9) == 24
    assert load.limit.baseline_s == 0.001


@pytest.mark.parametrize(
    ("error", "signal"),
    [
        (BackendThrottledError(backend="a", retry_after_s=1.0), LoadSignal.OVERLOADED),
        (AttemptTimeoutError(timeout_s=1.0), LoadSignal.OVERLOADED),
        (TimeoutError("a backend's own"), LoadSignal.OVERLOADED),
        (BackendUnavailableError("down", backend="a"), LoadSignal.NEUTRAL),
        (BackendRequestError("too long", backend="a"), LoadSignal.NEUTRAL),
        (BreakerOpenError(breaker="a", retry_after_s=1.0), LoadSignal.NEUTRAL),
        (PoolTimeoutError(pool="a", timeout_s=1.0), LoadSignal.NEUTRAL),
        (DeadlineExceededError(), LoadSignal.NEUTRAL),
        (KeyboardInterrupt(), LoadSignal.NEUTRAL),
        (GeneratorExit(), LoadSignal.NEUTRAL),
    ],
)
@pytest.mark.anyio
async def test_load_signal_of_an_error(error: BaseException, signal: LoadSignal) -> None:
    clock = ManualClock()
    late = Deadline(clock.monotonic_s(), clock)

    assert load_signal(error, late) is signal


@pytest.mark.parametrize(("left_s", "signal"), [(0.0, LoadSignal.OVERLOADED), (5.0, LoadSignal.NEUTRAL)])
@pytest.mark.anyio
async def test_load_signal_of_a_cancellation_depends_on_the_deadline(left_s: float, signal: LoadSignal) -> None:
    clock = ManualClock()
    seen: list[LoadSignal] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.lowlevel.checkpoint()
        except BaseException as error:
            seen.append(load_signal(error, Deadline(clock.monotonic_s() + left_s, clock)))
            raise

    assert seen == [signal]
