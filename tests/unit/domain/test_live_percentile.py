from __future__ import annotations

import random

import pytest

from holdfast.domain.latency import percentile
from holdfast.domain.live_percentile import LivePercentile


def recorded(
    durations_s: list[float], *, percent: int = 95, min_samples: int = 1, max_samples: int = 100
) -> LivePercentile:
    live = LivePercentile(percent, min_samples=min_samples, max_samples=max_samples)
    for duration_s in durations_s:
        live.record(duration_s)
    return live


def test_value_before_enough_durations_is_none() -> None:
    assert recorded([1.0] * 4, min_samples=5).value_s is None


def test_value_with_the_last_one_needed_is_there() -> None:
    assert recorded([1.0] * 5, min_samples=5).value_s == 1.0


@pytest.mark.parametrize(("percent", "expected"), [(1, 1.0), (50, 50.0), (95, 95.0), (99, 99.0)])
def test_value_of_1_to_100_is_by_nearest_rank(percent: int, expected: float) -> None:
    durations_s = [float(number) for number in range(1, 101)]
    random.Random(1).shuffle(durations_s)

    assert recorded(durations_s, percent=percent).value_s == expected


def test_record_at_the_bound_forgets_the_oldest_first() -> None:
    live = recorded([9.0, 1.0, 2.0, 3.0], percent=99, max_samples=3)

    assert (live.value_s, len(live)) == (3.0, 3)


@pytest.mark.parametrize("seed", range(5))
def test_value_after_any_history_is_that_of_the_latest_durations(seed: int) -> None:
    chance = random.Random(seed)
    live = LivePercentile(90, min_samples=3, max_samples=20)
    latest: list[float] = []
    for _ in range(300):
        duration_s = chance.choice([0.0, 0.5, chance.random(), chance.expovariate(1.0)])
        live.record(duration_s)
        latest = [*latest, duration_s][-20:]

        expected = percentile(sorted(latest), 90) if len(latest) >= 3 else None
        assert live.value_s == expected, f"seed {seed}"
