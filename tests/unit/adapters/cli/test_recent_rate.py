from __future__ import annotations

import pytest

from holdfast.adapters.cli.recent_rate import RecentRate


def test_rate_before_two_moments_is_unknown() -> None:
    recent = RecentRate()
    recent.observe(0.0, 0)

    assert recent.per_s is None
    assert recent.left_s(10) is None


def test_rate_is_results_over_time() -> None:
    recent = RecentRate()
    recent.observe(0.0, 0)
    recent.observe(2.0, 30)

    assert recent.per_s == pytest.approx(15.0)
    assert recent.left_s(60) == pytest.approx(4.0)


def test_rate_forgets_what_was_more_than_half_a_minute_ago() -> None:
    recent = RecentRate()
    for second in range(100):
        recent.observe(float(second), 10 * second if second < 50 else 500 + (second - 50))

    assert recent.per_s == pytest.approx(1.0)


def test_rate_of_a_batch_that_stands_still_is_unknown_after_half_a_minute() -> None:
    recent = RecentRate()
    recent.observe(0.0, 0)
    for second in range(1, 40):
        recent.observe(float(second), 5)

    assert recent.per_s is None


def test_rate_at_one_moment_is_unknown() -> None:
    recent = RecentRate()
    recent.observe(1.0, 0)
    recent.observe(1.0, 5)

    assert recent.per_s is None


def test_rate_asked_a_million_times_a_second_is_still_right() -> None:
    recent = RecentRate()
    for step in range(10_001):
        recent.observe(step / 1000, step)

    assert recent.per_s == pytest.approx(1000.0)
