"""When a call may be hedged, and what is counted of it; without any event loop."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.domain.hedge_core import MOST_SAVED_HEDGES, HedgeConfig, HedgeCore, HedgeEnd
from holdfast.domain.retry_budget import RetryBudget, RetryBudgetConfig, RetryPermit
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.events import HedgeLaunched, HedgeRefused, HedgeWon
from holdfast.ports.outcome import Outcome
from holdfast.testing import ManualClock
from tests.fakes.events import Listener


def roomy() -> RetryBudget:
    return RetryBudget(RetryBudgetConfig(min_retries=1_000_000), clock=ManualClock())


def made(
    config: HedgeConfig | None = None, *, budget: RetryBudget | None = None, events: Listener | None = None
) -> HedgeCore:
    return HedgeCore("a", config or HedgeConfig(), budget=budget or roomy(), events=events)


def begun(core: HedgeCore, calls: int, *, latency_s: float = 0.1) -> HedgeCore:
    for _ in range(calls):
        core.begin()
        core.record(latency_s)
    return core


def launched(core: HedgeCore) -> RetryPermit:
    permit = core.try_launch(0.1)
    assert permit is not None
    return permit


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"percent": 0}, "hedge.percent"),
        ({"percent": 100}, "hedge.percent"),
        ({"max_ratio": 0.0}, "hedge.max_ratio"),
        ({"max_ratio": 1.1}, "hedge.max_ratio"),
        ({"max_ratio": float("nan")}, "hedge.max_ratio"),
        ({"min_samples": 0}, "hedge.min_samples"),
        ({"min_delay_s": 0.0}, "hedge.min_delay_s"),
        ({"min_delay_s": float("inf")}, "hedge.min_delay_s"),
    ],
)
def test_config_value_out_of_range_is_refused_with_its_path(wrong: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        HedgeConfig(**wrong)

    assert caught.value.path == path


def test_config_more_samples_needed_than_kept_is_refused_with_both_paths() -> None:
    with pytest.raises(ConfigurationError, match=r"hedge\.max_samples: .*hedge\.min_samples, 100, not 99"):
        HedgeConfig(max_samples=99)


def test_begin_before_enough_samples_gives_no_delay() -> None:
    core = begun(made(), 99)

    assert core.begin() is None
    assert core.statistics().delay_s is None


def test_begin_with_enough_samples_gives_the_95th_percentile() -> None:
    core = made()
    for milliseconds in range(1, 101):
        core.begin()
        core.record(milliseconds / 1000)

    assert core.begin() == 0.095
    assert (core.statistics().delay_s, core.statistics().samples) == (0.095, 100)


def test_begin_latencies_below_the_least_delay_gives_the_least_delay() -> None:
    core = begun(made(HedgeConfig(min_delay_s=0.25)), 100, latency_s=0.01)

    assert core.begin() == 0.25
    assert core.statistics().delay_s == 0.25


def test_begin_latencies_that_changed_are_followed_once_they_are_one_in_twenty() -> None:
    core = begun(made(), 1000, latency_s=0.1)

    begun(core, 50, latency_s=0.7)
    before = core.begin()
    begun(core, 1, latency_s=0.7)

    assert (before, core.begin()) == (0.1, 0.7)


def test_record_time_below_zero_of_a_clock_set_back_an_hour_is_left_out() -> None:
    core = begun(made(), 100)

    core.record(-3600.0)

    assert (core.statistics().samples, core.begin()) == (100, 0.1)


def test_record_time_of_a_clock_set_forward_an_hour_moves_the_delay_by_nothing() -> None:
    core = begun(made(), 100)

    core.record(3600.0)

    assert core.begin() == 0.1


def test_try_launch_before_twenty_calls_is_refused_and_with_them_granted() -> None:
    core = begun(made(HedgeConfig(min_samples=1)), 19)
    refused = core.try_launch(0.1)
    begun(core, 1)

    assert refused is None
    assert core.try_launch(0.1) is not None
    statistics = core.statistics()
    assert (statistics.without_credit, statistics.hedged, statistics.due) == (1, 1, 2)


def test_try_launch_again_at_once_waits_for_twenty_more_calls() -> None:
    core = begun(made(HedgeConfig(min_samples=1)), 20)
    launched(core)

    assert core.try_launch(0.1) is None
    begun(core, 20)
    assert core.try_launch(0.1) is not None


def test_try_launch_after_a_quiet_million_of_calls_no_more_than_ten_follow_at_once() -> None:
    core = begun(made(HedgeConfig(min_samples=1)), 100_000)

    granted = sum(core.try_launch(0.1) is not None for _ in range(100))

    assert granted == MOST_SAVED_HEDGES == 10


@pytest.mark.parametrize("ratio", [0.01, 0.05, 0.1, 0.3, 0.7, 1.0])
def test_try_launch_for_every_call_grants_the_configured_share(ratio: float) -> None:
    core = made(HedgeConfig(min_samples=1, max_ratio=ratio))

    hedged = 0
    for _ in range(10_000):
        core.begin()
        hedged += core.try_launch(0.1) is not None

    assert 10_000 * ratio - 1 <= hedged <= 10_000 * ratio + 1e-6


def test_try_launch_without_a_token_of_the_retries_is_refused_and_costs_no_credit() -> None:
    budget = RetryBudget(RetryBudgetConfig(min_retries=0), clock=ManualClock())
    core = begun(made(budget=budget), 20)
    refused = core.try_launch(0.1)
    for _ in range(5):
        budget.begin().settle(Outcome.SUCCESS)  # earns one token
    for _ in range(5):
        budget.begin()  # makes room for one

    assert refused is None
    assert core.statistics().without_token == 1
    assert core.try_launch(0.1) is not None


def test_try_launch_without_a_place_in_flight_is_refused_and_gives_the_token_back() -> None:
    budget = RetryBudget(RetryBudgetConfig(min_retries=0), clock=ManualClock())
    core = begun(made(budget=budget), 20)
    for _ in range(5):
        budget.begin().settle(Outcome.SUCCESS)

    assert core.try_launch(0.1) is None
    assert core.statistics().without_room == 1
    assert (budget.statistics().tokens, budget.statistics().retries_in_flight) == (1, 0)


def test_try_launch_granted_holds_a_place_among_the_retries_until_it_is_settled() -> None:
    budget = roomy()
    permit = launched(begun(made(budget=budget), 20))

    assert budget.statistics().retries_in_flight == 1
    permit.settle(Outcome.SUCCESS)
    assert budget.statistics().retries_in_flight == 0


@pytest.mark.parametrize(
    ("end", "counted"),
    [(HedgeEnd.WON, "won"), (HedgeEnd.LOST, "lost"), (HedgeEnd.FAILED, "failed"), (HedgeEnd.ABANDONED, "abandoned")],
)
def test_settle_counts_the_end_and_what_was_hedged_adds_up(end: HedgeEnd, counted: str) -> None:
    core = begun(made(), 20)
    launched(core)
    running = core.statistics().running

    core.settle(end)

    statistics = core.statistics()
    assert (running, statistics.running, statistics.hedged, getattr(statistics, counted)) == (1, 0, 1, 1)


def test_events_tell_of_launches_of_wins_and_of_refusals_with_their_reason() -> None:
    listener = Listener()
    core = begun(made(events=listener), 20)
    launched(core)
    core.settle(HedgeEnd.WON)
    core.try_launch(0.2)

    assert listener.heard == [
        HedgeLaunched(backend="a", after_s=0.1),
        HedgeWon(backend="a"),
        HedgeRefused(backend="a", reason="without_credit"),
    ]


def test_events_of_ends_that_changed_nothing_for_the_caller_are_none() -> None:
    listener = Listener()
    core = begun(made(events=listener), 60)
    for end in (HedgeEnd.LOST, HedgeEnd.FAILED, HedgeEnd.ABANDONED):
        launched(core)
        core.settle(end)

    assert {type(event) for event in listener.heard} == {HedgeLaunched}


def test_events_of_a_budget_that_refuses_say_which_rule_did() -> None:
    listener = Listener()
    budget = RetryBudget(RetryBudgetConfig(min_retries=0), clock=ManualClock())
    core = begun(made(budget=budget, events=listener), 20)
    core.try_launch(0.1)
    for _ in range(5):
        budget.begin().settle(Outcome.SUCCESS)
    core.try_launch(0.1)

    assert listener.heard == [
        HedgeRefused(backend="a", reason="without_token"),
        HedgeRefused(backend="a", reason="without_room"),
    ]
