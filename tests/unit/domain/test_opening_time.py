from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.domain.breaker_config import BreakerConfig
from holdfast.domain.opening_time import OpeningTime
from holdfast.ports.outcome import Outcome, Verdict


def longest() -> float:
    return 1.0


def shortest() -> float:
    return 0.0


def push_back(retry_after_s: float) -> Verdict:
    return Verdict(outcome=Outcome.REJECTED_BY_PEER, retry_after_s=retry_after_s)


@pytest.mark.parametrize(
    ("random", "expected"),
    [(longest, [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]), (shortest, [2.5, 5.0, 10.0, 20.0])],
)
def test_next_opening_after_opening_doubles_up_to_the_cap_with_equal_jitter(
    random: Callable[[], float], expected: list[float]
) -> None:
    opening = OpeningTime(BreakerConfig(), random)

    assert [opening.next_s(now_s=0.0, cause=None) for _ in expected] == expected


@pytest.mark.parametrize("cause", [None, Verdict(outcome=Outcome.FAILURE)])
def test_next_opening_peer_asks_for_nothing_keeps_its_own_length(cause: Verdict | None) -> None:
    assert OpeningTime(BreakerConfig(open_s=0.1), longest).next_s(now_s=0.0, cause=cause) == 0.1


def test_next_opening_after_thousands_stays_at_the_cap() -> None:
    opening = OpeningTime(BreakerConfig(open_s=1e-300, max_open_s=1e6), longest)

    assert [opening.next_s(now_s=0.0, cause=None) for _ in range(3000)][-1] == 1e6


def test_next_opening_peer_asks_for_longer_lasts_as_long_as_it_asks() -> None:
    assert OpeningTime(BreakerConfig(), shortest).next_s(now_s=0.0, cause=push_back(60.0)) == 60.0


def test_next_opening_peer_asks_for_longer_adds_at_most_a_tenth() -> None:
    assert OpeningTime(BreakerConfig(), longest).next_s(now_s=0.0, cause=push_back(60.0)) == pytest.approx(66.0)


def test_next_opening_peer_asks_for_less_keeps_its_own_length() -> None:
    assert OpeningTime(BreakerConfig(), longest).next_s(now_s=0.0, cause=push_back(1.0)) == 5.0


@pytest.mark.parametrize("asked_s", [301.0, 1e12, float("inf")])
def test_next_opening_peer_asks_for_more_than_the_cap_is_capped(asked_s: float) -> None:
    assert OpeningTime(BreakerConfig(), shortest).next_s(now_s=0.0, cause=push_back(asked_s)) == 300.0


@pytest.mark.parametrize(
    ("closed_for_s", "expected_s"), [(0.0, 40.0), (9.9, 40.0), (10.0, 20.0), (20.0, 10.0), (30.0, 5.0), (1e9, 5.0)]
)
def test_next_opening_after_a_time_closed_has_forgotten_one_opening_for_each_step(
    closed_for_s: float, expected_s: float
) -> None:
    opening = OpeningTime(BreakerConfig(forget_opening_s=10.0), longest)
    for _ in range(3):
        opening.next_s(now_s=0.0, cause=None)
    opening.close(now_s=100.0)

    assert opening.next_s(now_s=100.0 + closed_for_s, cause=None) == expected_s


def test_next_opening_after_the_clock_was_set_back_an_hour_lasts_as_if_it_had_stood_still() -> None:
    opening = OpeningTime(BreakerConfig(forget_opening_s=1.0), longest)
    opening.next_s(now_s=7200.0, cause=None)
    opening.close(now_s=7200.0)

    assert opening.next_s(now_s=3600.0, cause=None) == 10.0


def test_next_opening_without_closing_between_forgets_nothing() -> None:
    opening = OpeningTime(BreakerConfig(), longest)
    opening.close(now_s=0.0)
    opening.next_s(now_s=1000.0, cause=None)

    assert opening.next_s(now_s=2000.0, cause=None) == 10.0
