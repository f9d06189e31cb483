from __future__ import annotations

import pytest

from holdfast.adapters.cli.figures import clock_time, count, duration, rate, share, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.0, "0 ms"),
        (0.0000512, "0.0512 ms"),
        (0.0123, "12.3 ms"),
        (0.999, "999 ms"),
        (0.9996, "1.00 s"),
        (1.0, "1.00 s"),
        (59.99, "59.99 s"),
        (60.0, "1:00"),
        (3661.9, "1:01:01"),
    ],
)
def test_duration_has_the_unit_that_suits_it(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (65.0, "1:05"), (3600.0, "1:00:00"), (90061.0, "25:01:01")]
)
def test_clock_time_leaves_out_hours_that_are_none(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text


@pytest.mark.parametrize(
    ("per_s", "text"), [(None, "–"), (0.0254, "0.0254/s"), (9.5, "9.5/s"), (99.94, "99.9/s"), (12345.6, "12,346/s")]
)
def test_rate_keeps_three_figures(per_s: float | None, text: str) -> None:
    assert rate(per_s) == text


@pytest.mark.parametrize(("part", "whole", "text"), [(80, 200, "80 (40.0 %)"), (0, 5, "0 (0.0 %)"), (0, 0, "0")])
def test_share_of_nothing_has_no_percentage(part: int, whole: int, text: str) -> None:
    assert share(part, whole) == text


@pytest.mark.parametrize(("size_bytes", "text"), [(None, "–"), (0, "0.0 MiB"), (3 * 1024**3, "3,072.0 MiB")])
def test_size_is_in_mebibytes(size_bytes: int | None, text: str) -> None:
    assert size(size_bytes) == text


def test_count_keeps_thousands_apart() -> None:
    assert count(1_000_000) == "1,000,000"
