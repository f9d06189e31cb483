from __future__ import annotations

from holdfast.domain.retry_after import SmoothedTime


def test_average_before_the_first_sample_is_none() -> None:
    assert SmoothedTime().average_s is None


def test_average_is_the_first_sample_and_follows_the_next_by_an_eighth() -> None:
    smoothed = SmoothedTime()
    smoothed.record(8.0)
    smoothed.record(16.0)

    assert smoothed.average_s == 9.0


def test_sample_below_zero_counts_as_zero() -> None:
    smoothed = SmoothedTime()
    smoothed.record(-3600.0)

    assert smoothed.average_s == 0.0
