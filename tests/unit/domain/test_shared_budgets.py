"""A retry budget that several processes share: what each of them may spend, with the store and without it."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.adapters.memory.budgets import MemoryBudgets
from holdfast.domain.retry_budget import RetryBudget, RetryBudgetConfig, RetryPermit
from holdfast.domain.shared_budgets import SharedBudgets
from holdfast.domain.store_link import StoreLink
from holdfast.ports.budget_store import BudgetPart, BudgetReport
from holdfast.ports.errors import StoreUnavailableError
from holdfast.ports.outcome import Outcome
from holdfast.ports.statistics import SharedBudgetStatistics
from holdfast.testing import ManualClock, VirtualClock
from tests.fakes.rates import REFRESH_S, FaultyRates, run

EARNING = RetryBudgetConfig(min_retries=0)


class FaultyBudgets(MemoryBudgets):
    """May be away, and may let something happen before it answers."""

    is_away = False
    meanwhile = staticmethod(lambda: None)

    async def exchange(self, member: str, reports: Sequence[BudgetReport], *, lease_s: float) -> tuple[BudgetPart, ...]:
        if self.is_away:
            raise StoreUnavailableError("it is away", store="faulty")
        parts = await super().exchange(member, reports, lease_s=lease_s)
        self.meanwhile()
        return parts


class World:
    """A clock, a store and some processes with a budget each."""

    def __init__(self, processes: int, config: RetryBudgetConfig = EARNING) -> None:
        names = count()
        self.clock = ManualClock()
        self.store = FaultyBudgets(clock=self.clock)
        link = StoreLink(FaultyRates(clock=self.clock), clock=self.clock, random=lambda: 0.5)
        self.hubs = [
            SharedBudgets(
                self.store, link=link, refresh_s=REFRESH_S, make_token=lambda: f"{next(names)}", clock=self.clock
            )
            for _ in range(processes)
        ]
        self.budgets = [RetryBudget(config, clock=self.clock) for _ in range(processes)]
        for hub, budget in zip(self.hubs, self.budgets, strict=True):
            hub.share("a", budget)

    def round(self) -> None:
        for hub in self.hubs:
            run(hub.refresh(emptied=False))


def serve(budget: RetryBudget, requests: int) -> None:
    for _ in range(requests):
        budget.begin().settle(Outcome.FAILURE)


def spend(budget: RetryBudget) -> list[RetryPermit]:
    return list(iter(budget.try_spend, None))


def test_tokens_that_one_earned_are_there_for_another_after_two_rounds() -> None:
    world = World(2)
    serve(world.budgets[0], 100)
    world.round()
    world.round()

    assert [len(spend(budget)) for budget in world.budgets] == [10, 10]


def test_tokens_that_one_has_spent_are_there_for_nobody_else() -> None:
    world = World(2)
    serve(world.budgets[0], 100)
    assert len(spend(world.budgets[0])) == 20
    for _ in range(3):
        world.round()

    assert [spend(budget) for budget in world.budgets] == [[], []]


def test_tokens_that_are_earned_between_two_rounds_are_there_at_once() -> None:
    world = World(2)
    world.round()
    serve(world.budgets[0], 10)

    assert [len(spend(budget)) for budget in world.budgets] == [2, 0]


def test_token_that_is_given_back_is_there_again() -> None:
    world = World(1)
    serve(world.budgets[0], 5)
    world.round()
    (permit,) = spend(world.budgets[0])
    world.round()
    permit.settle(None)

    assert len(spend(world.budgets[0])) == 1


def test_what_is_spent_while_the_store_is_told_counts() -> None:
    world = World(1)
    serve(world.budgets[0], 10)
    world.round()
    taken: list[RetryPermit] = []
    world.store.meanwhile = lambda: taken.extend(spend(world.budgets[0]))
    world.round()

    assert (len(taken), spend(world.budgets[0])) == (2, [])


def test_reserve_is_one_for_all_and_one_token_each_at_least() -> None:
    world = World(4, RetryBudgetConfig())
    assert len(spend(RetryBudget(clock=world.clock))) == 3
    world.round()
    world.round()

    assert [len(spend(budget)) for budget in world.budgets] == [1, 1, 1, 1]


def test_budget_that_hears_nothing_for_its_lease_goes_by_its_own_numbers() -> None:
    world = World(2, RetryBudgetConfig())
    serve(world.budgets[0], 40)
    world.round()
    world.round()
    world.store.is_away = True
    with pytest.raises(StoreUnavailableError):
        world.hubs[0].refresh(emptied=False).send(None)
    before = world.budgets[0].statistics().tokens, world.budgets[1].statistics().tokens
    world.clock.advance(8 * REFRESH_S + 0.001)

    assert before == (4, 4)
    assert [world.budgets[0].statistics().tokens, world.budgets[1].statistics().tokens] == [8, 3]


def test_store_that_was_emptied_is_told_anew() -> None:
    world = World(2)
    serve(world.budgets[0], 100)
    world.round()
    world.store._entries.clear()
    for _ in range(2):
        world.round()

    assert [len(spend(budget)) for budget in world.budgets] == [10, 10]


def test_clock_that_is_set_back_frees_nothing() -> None:
    world = World(1)
    serve(world.budgets[0], 10)
    world.round()
    spend(world.budgets[0])
    world.clock._now_s -= 3600.0
    world.round()

    assert spend(world.budgets[0]) == []


def test_budget_that_nobody_keeps_is_told_no_more() -> None:
    world = World(1)
    world.round()
    assert world.hubs[0].statistics() == SharedBudgetStatistics(processes=1, budgets=1, told=1)
    world.budgets.clear()
    gc.collect()
    world.round()

    assert world.hubs[0].statistics() == SharedBudgetStatistics(processes=1, budgets=0, told=1)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(("serve", "spend", "spend", "round", "wait", "give back"))),
        max_size=80,
    )
)
def test_all_together_never_spend_more_than_their_requests_earned(steps: list[tuple[int, str]]) -> None:
    world = World(3, RetryBudgetConfig(min_retries=0, window_s=1000.0))
    world.round()
    requests = 0
    permits: list[RetryPermit] = []
    for process, step in steps:
        match step:
            case "serve":
                serve(world.budgets[process], 7)
                requests += 7
            case "spend":
                permits += spend(world.budgets[process])
            case "give back":
                if permits:
                    permits.pop().settle(None)
            case "wait":
                world.clock.advance(REFRESH_S)
            case _:
                run(world.hubs[process].refresh(emptied=False))
        if step == "wait":
            world.round()

        assert len(permits) <= 0.2 * requests


@pytest.mark.anyio
async def test_link_that_opens_runs_the_rounds_of_a_budget_that_was_shared_by_it() -> None:
    clock = VirtualClock()
    link = StoreLink(FaultyRates(clock=clock), clock=clock, random=lambda: 0.5)
    hub = SharedBudgets(FaultyBudgets(clock=clock), link=link, refresh_s=REFRESH_S, make_token=lambda: "p", clock=clock)
    budget = RetryBudget(EARNING, clock=clock)
    hub.share("a", budget)

    async with link:
        assert hub.statistics().told == 1
