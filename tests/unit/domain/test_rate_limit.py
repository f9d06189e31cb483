"""Reserving, settling, refunding and pausing, on requests and tokens at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from holdfast.domain.rate_limit import RateLimit, RateLimitConfig, RateLimitCounts, Reservation
from holdfast.ports.errors import RateLimitedError
from holdfast.ports.events import RateLimited, RateLimitPaused
from holdfast.testing import ManualClock
from tests.fakes.events import Listener

HOUR_S = 3600.0


class SteppingClock:
    """A clock that can be set back, which the port forbids and a broken machine does."""

    def __init__(self, now_s: float = 10_000.0) -> None:
        self.now_s = now_s

    def monotonic_s(self) -> float:
        return self.now_s

    async def sleep(self, delay_s: float) -> None:
        raise AssertionError("a rate limit never waits")


def limit(
    *,
    requests: float | None = None,
    tokens: float | None = None,
    clock: ManualClock | SteppingClock | None = None,
    events: Listener | None = None,
    max_pause_s: float = 60.0,
) -> RateLimit:
    config = RateLimitConfig(requests_per_minute=requests, tokens_per_minute=tokens, max_pause_s=max_pause_s)
    return RateLimit("backend 'a'", config, clock=clock or ManualClock(), events=events)


def refused(asked: RateLimit, tokens: int = 1) -> RateLimitedError:
    with pytest.raises(RateLimitedError) as caught:
        asked.reserve(tokens)
    return caught.value


def test_requests_up_to_the_rate_go_through_at_once_and_the_next_is_told_when_to_come_back() -> None:
    rated = limit(requests=10)
    for _ in range(10):
        rated.reserve(1000)
    error = refused(rated)

    assert (error.scope, error.quantity, error.most) == ("backend 'a'", "requests", None)
    assert error.retry_after_s == pytest.approx(6.0)


def test_refused_one_that_comes_back_when_told_goes_through_and_not_before() -> None:
    clock = ManualClock()
    rated = limit(requests=7, clock=clock)
    for _ in range(7):
        rated.reserve(1)
    retry_after_s = refused(rated).retry_after_s
    assert retry_after_s is not None
    clock.advance(retry_after_s - 0.001)
    refused(rated)
    clock.advance(0.001)
    rated.reserve(1)

    assert (rated.statistics().reserved, rated.statistics().refused) == (8, 2)


def test_tokens_up_to_the_rate_go_through_at_once_and_no_more() -> None:
    rated = limit(tokens=1000)
    rated.reserve(600)
    error = refused(rated, 500)

    assert error.quantity == "tokens"
    assert error.retry_after_s == pytest.approx(6.0)
    rated.reserve(400)


def test_both_quantities_are_taken_or_neither() -> None:
    rated = limit(requests=10, tokens=100)
    rated.reserve(80)
    before = rated.statistics()
    refused(rated, 30)

    assert (before.requests_left, before.tokens_left) == (9.0, 20.0)
    assert (rated.statistics().requests_left, rated.statistics().tokens_left) == (9.0, 20.0)


@pytest.mark.parametrize(("tokens", "quantity"), [(30, "requests"), (90, "tokens")])
def test_refusal_names_the_quantity_that_takes_longer(tokens: int, quantity: str) -> None:
    config = RateLimitConfig(requests_per_minute=1, tokens_per_minute=60, burst_tokens=90)
    rated = RateLimit("a", config, clock=ManualClock())
    rated.reserve(90)

    assert refused(rated, tokens).quantity == quantity


def test_refusal_names_tokens_where_only_they_are_short() -> None:
    rated = limit(requests=10, tokens=60)
    rated.reserve(60)

    assert refused(rated, 1).quantity == "tokens"


def test_more_than_a_burst_can_hold_is_refused_for_good_with_the_most_that_can() -> None:
    error = refused(limit(requests=10, tokens=1000), 1001)

    assert (error.quantity, error.retry_after_s, error.most) == ("tokens", None, 1000.0)
    assert "ask for less" in str(error)


def test_more_than_any_float_holds_is_refused_for_good_and_takes_nothing_of_the_requests() -> None:
    limited = limit(requests=10, tokens=1000)

    with pytest.raises(RateLimitedError) as refused:
        limited.reserve(10**400)

    assert (refused.value.retry_after_s, refused.value.most) == (None, 1000.0)
    assert limited.statistics().requests_left == 10.0


def test_as_much_as_a_burst_can_hold_is_refused_for_a_time_only() -> None:
    rated = limit(tokens=1000)
    rated.reserve(1)
    error = refused(rated, 1000)

    assert error.most is None
    assert error.retry_after_s == pytest.approx(0.06)


def test_rate_of_less_than_one_request_a_minute_still_lets_one_through() -> None:
    clock = ManualClock()
    rated = limit(requests=0.5, clock=clock)
    rated.reserve(1).settle(1)

    assert refused(rated).retry_after_s == pytest.approx(120.0)


def test_burst_of_its_own_replaces_a_minutes_worth() -> None:
    config = RateLimitConfig(requests_per_minute=60, burst_requests=2)
    rated = RateLimit("a", config, clock=ManualClock())
    rated.reserve(1)
    rated.reserve(1)

    assert refused(rated).retry_after_s == pytest.approx(1.0)


def test_settle_with_less_gives_the_rest_back() -> None:
    rated = limit(requests=10, tokens=1000)
    rated.reserve(900).settle(100)

    assert (rated.statistics().requests_left, rated.statistics().tokens_left) == (9.0, 900.0)


def test_settle_with_more_is_a_debt_that_the_next_ones_wait_for() -> None:
    rated = limit(tokens=60)
    rated.reserve(10).settle(120)

    assert rated.statistics().tokens_left == -60.0
    assert refused(rated, 1).retry_after_s == pytest.approx(61.0)


def test_settle_with_less_than_nothing_counts_as_nothing() -> None:
    rated = limit(tokens=60)
    rated.reserve(10).settle(-1000)

    assert (rated.statistics().tokens_left, rated.statistics().tokens_used) == (60.0, 0)


def test_settle_with_an_absurd_usage_stops_the_limit_for_its_longest_debt_only() -> None:
    rated = limit(tokens=60)
    rated.reserve(10).settle(10**30)

    assert refused(rated, 1).retry_after_s == pytest.approx(HOUR_S + 1.0)


def test_cancel_gives_request_and_tokens_back() -> None:
    rated = limit(requests=10, tokens=1000)
    rated.reserve(900).cancel()

    assert (rated.statistics().requests_left, rated.statistics().tokens_left) == (10.0, 1000.0)


def test_cancel_after_the_same_was_used_once_more_gives_nothing_back() -> None:
    clock = ManualClock()
    rated = limit(requests=10, clock=clock)
    waited_out = [rated.reserve(1) for _ in range(10)]
    clock.advance(60.0)
    for _ in range(10):
        rated.reserve(1).settle(1)
    for reservation in waited_out:
        reservation.cancel()

    assert rated.statistics().requests_left == pytest.approx(0.0)


ENDINGS: list[Callable[[Reservation], None]] = [lambda held: held.settle(7), lambda held: held.cancel()]


@pytest.mark.parametrize("first", ENDINGS)
@pytest.mark.parametrize("second", ENDINGS)
def test_reservation_that_ended_changes_nothing_more(
    first: Callable[[Reservation], None], second: Callable[[Reservation], None]
) -> None:
    rated = limit(requests=10, tokens=100)
    reservation = rated.reserve(10)
    first(reservation)
    once = rated.statistics()
    second(reservation)

    assert rated.statistics() == once


def test_statistics_tell_what_became_of_every_reservation() -> None:
    rated = limit(tokens=100)
    rated.reserve(10).settle(20)
    rated.reserve(10).cancel()
    rated.reserve(70)
    refused(rated, 30)
    statistics = rated.statistics()

    assert (statistics.asked, statistics.refused, statistics.reserved) == (4, 1, 1)
    assert (statistics.settled, statistics.cancelled, statistics.tokens_used) == (1, 1, 20)
    assert (statistics.requests_left, statistics.tokens_left, statistics.pause_left_s) == (None, 10.0, 0.0)


def test_counts_can_be_shared_by_several_limits() -> None:
    counts = RateLimitCounts()
    limits = [
        RateLimit(name, RateLimitConfig(requests_per_minute=1), clock=ManualClock(), counts=counts) for name in "ab"
    ]
    for rated in limits:
        rated.reserve(1)
    refused(limits[0])

    assert (counts.asked, counts.refused, counts.reserved) == (3, 1, 2)
    assert limits[1].statistics().asked == 3


def test_pause_lets_nothing_through_until_it_ends() -> None:
    clock = ManualClock()
    rated = limit(requests=10, clock=clock)
    rated.pause(5.0)
    error = refused(rated)
    clock.advance(5.0)

    assert (error.quantity, error.retry_after_s) == ("pause", 5.0)
    assert rated.statistics().pause_left_s == 0.0
    rated.reserve(1)


def test_pause_takes_no_request_of_those_it_refuses() -> None:
    rated = limit(requests=10)
    rated.pause(5.0)
    refused(rated)

    assert rated.statistics().requests_left == 10.0


def test_pause_is_capped() -> None:
    rated = limit(requests=10, max_pause_s=30.0)
    rated.pause(HOUR_S)

    assert rated.statistics().pause_left_s == 30.0


def test_pause_without_end_is_capped() -> None:
    rated = limit(requests=10)
    rated.pause(math.inf)

    assert rated.statistics().pause_left_s == 60.0


@pytest.mark.parametrize("hint", [math.nan, -1.0, 0.0, -math.inf])
def test_pause_of_no_time_changes_nothing(hint: float) -> None:
    listener = Listener()
    rated = limit(requests=10, events=listener)
    rated.pause(hint)

    rated.reserve(1)
    assert listener.heard == []


def test_pause_that_ends_sooner_does_not_shorten_the_one_under_way() -> None:
    clock = ManualClock()
    rated = limit(requests=10, clock=clock)
    rated.pause(20.0)
    clock.advance(1.0)
    rated.pause(5.0)

    assert rated.statistics().pause_left_s == 19.0


def test_pause_that_ends_later_extends_the_one_under_way() -> None:
    clock = ManualClock()
    rated = limit(requests=10, clock=clock)
    rated.pause(20.0)
    clock.advance(10.0)
    rated.pause(20.0)

    assert rated.statistics().pause_left_s == 20.0


def test_pause_where_hints_are_not_wanted_changes_nothing() -> None:
    rated = limit(requests=10, max_pause_s=0.0)
    rated.pause(5.0)

    assert rated.statistics().pause_left_s == 0.0
    rated.reserve(1)


def test_refusal_during_a_pause_and_a_longer_wait_tells_the_longer_one() -> None:
    rated = limit(requests=1)
    rated.reserve(1)
    rated.pause(5.0)
    error = refused(rated)

    assert error.quantity == "requests"
    assert error.retry_after_s == pytest.approx(60.0)


def test_clock_that_steps_back_an_hour_gives_no_burst_and_no_longer_stall() -> None:
    clock = SteppingClock()
    rated = limit(requests=10, tokens=1000, clock=clock)
    for _ in range(10):
        rated.reserve(100).settle(100)
    clock.now_s -= HOUR_S

    assert rated.statistics().requests_left == 0.0
    assert refused(rated).retry_after_s == pytest.approx(6.0)
    clock.now_s += 6.0
    rated.reserve(1)


def test_clock_that_steps_back_an_hour_lengthens_a_pause_to_the_longest_at_most() -> None:
    clock = SteppingClock()
    rated = limit(requests=10, clock=clock)
    rated.pause(50.0)
    clock.now_s -= HOUR_S
    error = refused(rated)
    clock.now_s += 60.0

    assert error.retry_after_s == 60.0
    rated.reserve(1)


def test_idle_is_a_limit_on_which_nothing_weighs_any_more() -> None:
    clock = ManualClock()
    rated = limit(requests=60, tokens=60, clock=clock)
    assert rated.idle_in_s() == 0.0
    reservation = rated.reserve(30)
    assert rated.idle_in_s() is None
    reservation.settle(30)
    assert rated.idle_in_s() == 30.0
    clock.advance(30.0)

    assert rated.idle_in_s() == 0.0


def test_idle_is_no_limit_that_pauses() -> None:
    rated = limit(requests=60)
    rated.pause(5.0)

    assert rated.idle_in_s() == 5.0


def test_events_tell_of_refusals_and_pauses() -> None:
    listener = Listener()
    rated = limit(requests=1, tokens=10, events=listener)
    rated.reserve(1)
    refused(rated)
    refused(rated, 11)
    rated.pause(90.0)

    assert listener.heard == [
        RateLimited(scope="backend 'a'", quantity="requests", retry_after_s=60.0),
        RateLimited(scope="backend 'a'", quantity="tokens", retry_after_s=None),
        RateLimitPaused(scope="backend 'a'", pause_s=60.0),
    ]


def test_refusal_is_counted_before_it_is_told() -> None:
    listener = Listener()
    rated = limit(requests=1, events=listener)
    seen: list[int] = []
    listener.then = lambda: seen.append(rated.statistics().refused)
    rated.reserve(1)
    refused(rated)

    assert seen == [1]


def test_each_refusal_is_an_exception_of_its_own() -> None:
    rated = limit(requests=1)
    rated.reserve(1)

    assert refused(rated) is not refused(rated)
