from __future__ import annotations

import pytest

from holdfast.domain.call_window import CallWindow, CountWindow, TimeWindow
from holdfast.ports.outcome import Outcome


def sums(window: CallWindow) -> tuple[int, int, int]:
    return window.counts.calls, window.counts.failed, window.counts.slow


@pytest.mark.parametrize("window", [TimeWindow(30.0, 10), CountWindow(100)], ids=["time", "count"])
def test_record_each_outcome_counts_push_back_as_failed(window: CallWindow) -> None:
    for outcome in (Outcome.SUCCESS, Outcome.FAILURE, Outcome.REJECTED_BY_PEER, Outcome.SLOW):
        window.record(outcome, now_s=1000.0)

    assert sums(window) == (4, 2, 1)


def test_time_window_calls_within_it_are_all_counted() -> None:
    window = TimeWindow(30.0, 10)
    for second in range(900, 930):
        window.record(Outcome.FAILURE, now_s=float(second))

    assert sums(window) == (30, 30, 0)


def test_time_window_after_a_bucket_has_aged_out_forgets_it_as_a_whole() -> None:
    window = TimeWindow(30.0, 10)
    window.record(Outcome.FAILURE, now_s=900.0)
    window.record(Outcome.SLOW, now_s=902.9)
    window.record(Outcome.FAILURE, now_s=903.0)
    window.record(Outcome.SUCCESS, now_s=929.9)

    window.record(Outcome.SUCCESS, now_s=930.0)

    assert sums(window) == (3, 1, 0)


@pytest.mark.parametrize("pause_s", [30.0, 31.0, 60.0, 1e9])
def test_time_window_after_a_pause_of_its_length_is_empty(pause_s: float) -> None:
    window = TimeWindow(30.0, 10)
    for second in range(900, 930):
        window.record(Outcome.FAILURE, now_s=float(second))

    window.record(Outcome.SUCCESS, now_s=929.0 + pause_s)

    assert sums(window) == (1, 0, 0)


def test_time_window_of_one_bucket_forgets_at_its_multiples() -> None:
    window = TimeWindow(10.0, 1)
    window.record(Outcome.FAILURE, now_s=19.9)

    window.record(Outcome.SUCCESS, now_s=20.0)

    assert sums(window) == (1, 0, 0)


def test_time_window_on_a_clock_that_began_below_zero_counts_the_same() -> None:
    window = TimeWindow(30.0, 10)
    window.record(Outcome.FAILURE, now_s=-100.0)
    window.record(Outcome.FAILURE, now_s=-71.0)

    window.record(Outcome.SUCCESS, now_s=-69.0)

    assert sums(window) == (2, 1, 0)


def test_count_window_full_forgets_the_oldest_call() -> None:
    window = CountWindow(3)
    for outcome in (Outcome.FAILURE, Outcome.SLOW, Outcome.SUCCESS):
        window.record(outcome, now_s=0.0)

    window.record(Outcome.SUCCESS, now_s=0.0)
    assert sums(window) == (3, 0, 1)
    window.record(Outcome.FAILURE, now_s=0.0)

    assert sums(window) == (3, 1, 0)


def test_count_window_after_any_pause_still_counts() -> None:
    window = CountWindow(3)
    window.record(Outcome.FAILURE, now_s=0.0)

    window.record(Outcome.FAILURE, now_s=1e9)

    assert sums(window) == (2, 2, 0)
