from __future__ import annotations

import math
from typing import Any

import pytest

from holdfast.domain.retry_budget import RetryBudget, RetryBudgetConfig, RetryPermit
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.outcome import Outcome
from holdfast.ports.statistics import RetryBudgetStatistics
from holdfast.testing import ManualClock

EARNING = RetryBudgetConfig(min_retries=0)
"""Nothing is allowed that was not earned."""


def budget_of(clock: ManualClock | None = None, **config: Any) -> RetryBudget:  # noqa: ANN401 - a config's fields
    return RetryBudget(RetryBudgetConfig(**config), clock=clock or ManualClock())


def serve(budget: RetryBudget, requests: int, outcome: Outcome = Outcome.FAILURE) -> None:
    for _ in range(requests):
        budget.begin().settle(outcome)


def spend(budget: RetryBudget) -> RetryPermit:
    permit = budget.try_spend()
    assert permit is not None
    return permit


def spend_all(budget: RetryBudget) -> list[RetryPermit]:
    return list(iter(budget.try_spend, None))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("in_flight_ratio", 0.0),
        ("in_flight_ratio", 1.1),
        ("in_flight_ratio", math.nan),
        ("token_ratio", -0.2),
        ("token_ratio", 2.0),
        ("window_s", 0.0),
        ("window_s", math.inf),
        ("min_retries", -1),
    ],
)
def test_config_with_a_value_out_of_range_is_refused_with_its_path(field: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"retry_budget\.{field}"):
        RetryBudgetConfig(**{field: value})  # type: ignore[arg-type] # min_retries is an int, and is given one


def test_statistics_of_a_new_budget_are_zeros_and_the_floor_of_tokens() -> None:
    assert budget_of().statistics() == RetryBudgetStatistics(
        in_flight=0,
        retries_in_flight=0,
        waiting=0,
        tokens=3,
        asked=0,
        without_token=0,
        without_room=0,
        abandoned=0,
        retried=0,
    )


@pytest.mark.parametrize(("requests", "tokens"), [(0, 3), (1, 3), (15, 3), (19, 3), (20, 4), (1000, 200)])
def test_try_spend_grants_a_fifth_of_the_requests_or_three_whichever_is_more(requests: int, tokens: int) -> None:
    budget = budget_of()
    serve(budget, requests)

    assert len(spend_all(budget)) == tokens


def test_try_spend_without_a_token_is_counted_and_costs_nothing() -> None:
    budget = budget_of(min_retries=1)
    spend(budget)
    assert budget.try_spend() is None
    assert budget.try_spend() is None

    statistics = budget.statistics()
    assert (statistics.asked, statistics.without_token, statistics.waiting, statistics.tokens) == (3, 2, 1, 0)


def test_request_earns_when_its_first_attempt_has_ended_not_when_it_begins() -> None:
    budget = RetryBudget(EARNING, clock=ManualClock())
    permits = [budget.begin() for _ in range(10)]
    assert budget.statistics().tokens == 0
    for permit in permits:
        permit.settle(Outcome.FAILURE)

    assert budget.statistics().tokens == 2


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.FAILURE, Outcome.REJECTED_BY_PEER])
def test_request_that_reached_its_backend_earns_however_it_ended(outcome: Outcome) -> None:
    budget = RetryBudget(EARNING, clock=ManualClock())
    serve(budget, 10, outcome)

    assert budget.statistics().tokens == 2


@pytest.mark.parametrize("outcome", [Outcome.IGNORED, None])
def test_request_that_is_to_be_ignored_or_was_cancelled_earns_nothing(outcome: Outcome | None) -> None:
    budget = RetryBudget(EARNING, clock=ManualClock())
    for _ in range(100):
        budget.begin().settle(outcome)

    assert budget.statistics().tokens == 0


def test_retry_earns_nothing() -> None:
    budget = budget_of(min_retries=1, token_ratio=1.0)
    serve(budget, 1)
    permit = spend(budget)
    assert permit.try_begin()
    permit.settle(Outcome.FAILURE)

    assert budget.statistics().tokens == 0


def test_backend_that_takes_longer_than_the_window_still_earns() -> None:
    clock = ManualClock()
    budget = RetryBudget(EARNING, clock=clock)
    permits = [budget.begin() for _ in range(50)]
    clock.advance(30.0)
    for permit in permits:
        permit.settle(Outcome.FAILURE)

    assert budget.statistics().tokens == 10


def test_what_was_earned_is_forgotten_after_the_window() -> None:
    clock = ManualClock()
    budget = RetryBudget(EARNING, clock=clock)
    serve(budget, 100)
    clock.advance(8.9)
    assert budget.statistics().tokens == 20
    clock.advance(1.1)

    assert budget.statistics().tokens == 0


def test_what_was_spent_is_forgotten_after_the_window() -> None:
    clock = ManualClock()
    budget = budget_of(clock)
    spend_all(budget)
    clock.advance(8.9)
    serve(budget, 1, Outcome.SUCCESS)
    assert budget.statistics().tokens == 0
    clock.advance(1.1)

    assert budget.statistics().tokens == 3


@pytest.mark.parametrize("succeeding", ["first attempt", "retry"])
def test_reserve_that_was_spent_is_filled_by_a_success_and_not_by_time(succeeding: str) -> None:
    clock = ManualClock()
    budget = budget_of(clock)
    permits = spend_all(budget)
    assert permits[0].try_begin()
    clock.advance(3600.0)
    serve(budget, 1)
    assert budget.statistics().tokens == 0
    permit = budget.begin() if succeeding == "first attempt" else permits[0]
    permit.settle(Outcome.SUCCESS)

    assert budget.statistics().tokens == 3


def test_reserve_is_left_alone_while_there_are_earned_tokens() -> None:
    clock = ManualClock()
    budget = budget_of(clock)
    serve(budget, 15)
    assert len(spend_all(budget)) == 3
    clock.advance(10.0)

    assert budget.statistics().tokens == 3


def test_tokens_tell_how_many_retries_there_would_be_when_part_of_the_reserve_is_spent() -> None:
    clock = ManualClock()
    budget = budget_of(clock)
    spend(budget)
    spend(budget)
    clock.advance(10.0)
    serve(budget, 7)

    assert budget.statistics().tokens == 2
    assert len(spend_all(budget)) == 2


@pytest.mark.parametrize("pause_s", [0.0, 0.1, 1.0, 5.0, 60.0])
def test_backend_that_only_fails_is_retried_for_a_fifth_of_its_requests_however_seldom_it_is_asked(
    pause_s: float,
) -> None:
    clock = ManualClock()
    budget = budget_of(clock)
    retries = 0
    for _ in range(1000):
        serve(budget, 1)
        while (permit := budget.try_spend()) is not None:
            assert permit.try_begin()
            permit.settle(Outcome.FAILURE)
            retries += 1
        clock.advance(pause_s)

    assert 3 <= retries <= 0.2 * 1000 + 3


def test_what_was_earned_goes_part_by_part_and_not_all_at_once() -> None:
    clock = ManualClock()
    budget = RetryBudget(EARNING, clock=clock)
    seen: list[int] = []
    for _ in range(10):
        serve(budget, 10)
        clock.advance(1.0)
    for _ in range(11):
        seen.append(budget.statistics().tokens)
        clock.advance(1.0)

    assert seen == [18, 16, 14, 12, 10, 8, 6, 4, 2, 0, 0]


def test_tokens_spent_before_what_earned_them_is_forgotten_leave_no_debt() -> None:
    clock = ManualClock()
    budget = budget_of(clock)
    serve(budget, 100)
    clock.advance(5.0)
    assert len(spend_all(budget)) == 20
    clock.advance(5.0)

    assert budget.statistics().tokens == 0
    clock.advance(5.0)
    assert budget.statistics().tokens == 3


@pytest.mark.parametrize("window_s", [0.1, 0.7, 1 / 3, 10.0, 3600.0])
def test_window_of_any_length_is_exact_to_a_tenth(window_s: float) -> None:
    clock = ManualClock(now_s=0.0)
    budget = RetryBudget(RetryBudgetConfig(min_retries=0, window_s=window_s), clock=clock)
    serve(budget, 5)
    clock.advance(window_s * 0.89)
    assert budget.statistics().tokens == 1
    clock.advance(window_s * 0.12)

    assert budget.statistics().tokens == 0


def test_clock_that_goes_back_by_an_hour_frees_nothing_and_loses_nothing() -> None:
    class Wrong(ManualClock):
        def monotonic_s(self) -> float:
            return super().monotonic_s() - wrong_by_s

    wrong_by_s = 0.0
    budget = budget_of(Wrong(now_s=10_000.0))
    serve(budget, 50)
    spend(budget)
    wrong_by_s = 3600.0
    assert budget.statistics().tokens == 9
    serve(budget, 5)

    assert len(spend_all(budget)) == 10


def test_try_begin_takes_a_place_in_flight_that_waiting_does_not() -> None:
    budget = budget_of()
    permit = spend(budget)
    waiting = budget.statistics()
    assert permit.try_begin()
    running = budget.statistics()

    assert (waiting.waiting, waiting.in_flight, waiting.retries_in_flight) == (1, 0, 0)
    assert (running.waiting, running.in_flight, running.retries_in_flight) == (0, 1, 1)


@pytest.mark.parametrize(("first_attempts", "room"), [(0, 3), (11, 3), (16, 4), (80, 20)])
def test_try_begin_up_to_a_fifth_of_all_in_flight_or_three_whichever_is_more(first_attempts: int, room: int) -> None:
    budget = budget_of()
    serve(budget, 1000)
    for _ in range(first_attempts):
        budget.begin()
    begun = [permit.try_begin() for permit in spend_all(budget)]

    assert begun == [True] * room + [False] * (200 - room)


def test_try_begin_without_room_gives_the_token_back_and_settles_the_permit() -> None:
    budget = budget_of(min_retries=1)
    serve(budget, 10)
    first, second = spend_all(budget)
    assert first.try_begin()
    assert not second.try_begin()
    second.settle(None)
    assert not second.try_begin()

    statistics = budget.statistics()
    assert (statistics.without_room, statistics.abandoned, statistics.waiting, statistics.tokens) == (1, 0, 0, 1)


def test_room_that_comes_back_is_given_to_the_next() -> None:
    budget = budget_of(min_retries=1, token_ratio=1.0)
    serve(budget, 5)
    first, second, third, *_ = spend_all(budget)
    assert first.try_begin()
    assert not second.try_begin()
    first.settle(Outcome.FAILURE)

    assert third.try_begin()


def test_settle_a_retry_that_has_begun_keeps_its_token_spent() -> None:
    budget = budget_of()
    permit = spend(budget)
    permit.try_begin()
    permit.settle(None)

    statistics = budget.statistics()
    assert (statistics.in_flight, statistics.retries_in_flight, statistics.retried) == (0, 0, 1)
    assert statistics.tokens == 2


def test_settle_a_retry_that_has_not_begun_gives_its_token_back() -> None:
    budget = budget_of()
    spend(budget).settle(None)

    statistics = budget.statistics()
    assert (statistics.waiting, statistics.abandoned, statistics.tokens) == (0, 1, 3)


def test_settle_after_the_token_was_forgotten_makes_none_out_of_nothing() -> None:
    clock = ManualClock()
    budget = budget_of(clock)
    permit = spend(budget)
    clock.advance(60.0)
    assert budget.statistics().tokens == 2
    permit.settle(None)

    assert budget.statistics().tokens == 3
    assert len(spend_all(budget)) == 3


def test_settle_after_the_reserve_was_filled_again_does_not_overfill_it() -> None:
    clock = ManualClock()
    budget = budget_of(clock)
    permit = spend(budget)
    serve(budget, 1, Outcome.SUCCESS)
    permit.settle(None)
    assert len(spend_all(budget)) == 3
    clock.advance(60.0)

    assert budget.statistics().tokens == 0


@pytest.mark.parametrize("stage", ["first", "waiting", "retrying"])
def test_settle_twice_counts_once(stage: str) -> None:
    budget = budget_of()
    permit = budget.begin() if stage == "first" else spend(budget)
    if stage == "retrying":
        permit.try_begin()
    permit.settle(Outcome.FAILURE)
    settled = budget.statistics()
    permit.settle(Outcome.FAILURE)

    assert budget.statistics() == settled
    assert (settled.in_flight, settled.waiting) == (0, 0)


@pytest.mark.parametrize("stage", ["first", "retrying", "settled"])
def test_try_begin_of_a_permit_that_does_not_wait_changes_nothing(stage: str) -> None:
    budget = budget_of()
    permit = budget.begin() if stage == "first" else spend(budget)
    if stage == "retrying":
        permit.try_begin()
    if stage == "settled":
        permit.settle(None)
    before = budget.statistics()

    assert not permit.try_begin()
    assert budget.statistics() == before


def test_budgets_of_two_backends_share_nothing() -> None:
    one, other = budget_of(), budget_of()
    spend_all(one)

    assert (one.statistics().tokens, other.statistics().tokens) == (0, 3)
