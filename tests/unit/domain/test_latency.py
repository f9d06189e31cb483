from __future__ import annotations

import pytest

from holdfast.domain.latency import RecentLatency


def test_statistics_before_the_first_request_are_unknown() -> None:
    statistics = RecentLatency().statistics()

    assert (statistics.p50_s, statistics.p99_s) == (None, None)


@pytest.mark.parametrize(
    ("count", "p50_s", "p99_s"), [(1, 1.0, 1.0), (2, 1.0, 2.0), (100, 50.0, 99.0), (1000, 500.0, 990.0)]
)
def test_statistics_of_one_to_n_are_the_nearest_ranks(count: int, p50_s: float, p99_s: float) -> None:
    latency = RecentLatency()
    for duration_s in range(count, 0, -1):
        latency.record(float(duration_s))

    statistics = latency.statistics()

    assert (statistics.p50_s, statistics.p99_s) == (p50_s, p99_s)


def test_record_beyond_a_thousand_keeps_the_latest_and_flat_memory() -> None:
    latency = RecentLatency()
    for _ in range(1000):
        latency.record(9.0)
    for _ in range(1000):
        latency.record(1.0)

    statistics = latency.statistics()

    assert statistics.p99_s == 1.0
    assert statistics.buffer.items <= 1000
    assert statistics.buffer.size_bytes == 32 * statistics.buffer.items
