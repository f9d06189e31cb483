"""What every store of shared retry budgets must hold.

Responsibility: the contract of `holdfast.ports.budget_store.BudgetStore`, as a pytest class to derive from.
Guarantees: a store that passes gives to all processes together no more than their requests have earned, by the rule of
    the port, on random histories.
Not responsible for: a store that is away or emptied: that needs the real thing.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Final

import pytest

from holdfast.ports.budget_store import BudgetEntry, BudgetPart, BudgetReport, BudgetStore
from holdfast.ports.clock import Clock
from holdfast.testing.clock import ManualClock

__all__ = ["BudgetStoreContract"]

_LEASE_S: Final = 2.0


def _report(name: str = "a", *, requests: int = 0, spent: int = 0, ratio: float = 0.25) -> BudgetReport:
    return BudgetReport(name=name, ratio=ratio, requests=requests, spent=spent)


class BudgetStoreContract(ABC):
    """Derive from it, name the class ``Test…`` and open your store; pytest does the rest."""

    pytestmark = pytest.mark.anyio

    @abstractmethod
    def open_store(self, clock: Clock) -> AbstractAsyncContextManager[BudgetStore]:
        """Return this test's store, which is empty and tells time by `clock`, for an ``async with`` block."""

    @pytest.fixture(autouse=True)
    def _begin(self) -> None:
        self.clock = ManualClock()

    async def _tell(self, store: BudgetStore, member: str, report: BudgetReport) -> BudgetPart:
        (part,) = await store.exchange(member, [report], lease_s=_LEASE_S)
        return part

    async def test_exchange_of_one_process_gives_it_what_it_earned_and_has_not_spent(self) -> None:
        """As a budget of its own does."""
        async with self.open_store(self.clock) as store:
            assert await self._tell(store, "p", _report(requests=40, spent=4)) == BudgetPart(tokens=6.0, processes=1)

    async def test_exchange_of_nothing_is_nothing(self) -> None:
        """A process may have no budget yet."""
        async with self.open_store(self.clock) as store:
            assert await store.exchange("p", [], lease_s=_LEASE_S) == ()

    async def test_exchange_gives_an_equal_part_of_what_all_have_left(self) -> None:
        """Whoever earned it, as far as nobody holds it."""
        async with self.open_store(self.clock) as store:
            first = await self._tell(store, "p", _report(requests=40))
            second = await self._tell(store, "q", _report())
            again = await self._tell(store, "p", _report(requests=40))
            third = await self._tell(store, "q", _report())

            assert first == BudgetPart(tokens=10.0, processes=1)
            assert second == BudgetPart(tokens=0.0, processes=2)  # p may spend all of it
            assert again == third == BudgetPart(tokens=5.0, processes=2)

    async def test_exchange_gives_nothing_while_more_is_spent_than_was_earned(self) -> None:
        """A reserve may have been spent."""
        async with self.open_store(self.clock) as store:
            await self._tell(store, "p", _report(spent=3))

            assert (await self._tell(store, "q", _report(requests=4))).tokens == 0.0

    async def test_exchange_told_twice_is_as_told_once(self) -> None:
        """What is told takes the place of what was told before."""
        async with self.open_store(self.clock) as store:
            for _ in range(2):
                part = await self._tell(store, "p", _report(requests=40, spent=2))

                assert part == BudgetPart(tokens=8.0, processes=1)

    async def test_exchange_forgets_who_was_not_heard_of_for_his_lease(self) -> None:
        """And what he had earned and held."""
        async with self.open_store(self.clock) as store:
            await self._tell(store, "p", _report(requests=40))
            self.clock.advance(_LEASE_S - 0.001)
            assert (await self._tell(store, "q", _report())).processes == 2
            self.clock.advance(0.001)

            assert await self._tell(store, "q", _report()) == BudgetPart(tokens=0.0, processes=1)

    async def test_exchange_of_several_budgets_mixes_none_of_them_up(self) -> None:
        """In one call."""
        async with self.open_store(self.clock) as store:
            reports = [_report(name, requests=40 * number) for number, name in enumerate(["ä", "b:c", "{d}"], start=1)]

            parts = await store.exchange("p", reports, lease_s=_LEASE_S)

            assert [part.tokens for part in parts] == [10.0, 20.0, 30.0]

    async def test_exchange_follows_the_rule_on_random_histories(self) -> None:
        """For any processes, some of which are late."""
        draw = random.Random(20261121)  # noqa: S311 - repeatable on purpose
        async with self.open_store(self.clock) as store:
            known: dict[str, dict[str, tuple[BudgetEntry, float]]] = {f"{number}": {} for number in range(50)}
            for _ in range(40):
                self.clock.advance(draw.choice((0.0, 0.25, 1.0)))
                now_s, member = self.clock.monotonic_s(), draw.choice("pqr")
                reports = [
                    _report(name, requests=draw.randrange(50), spent=draw.randrange(10), ratio=0.2) for name in known
                ]
                parts = await store.exchange(member, reports, lease_s=_LEASE_S)
                for report, part in zip(reports, parts, strict=True):
                    others = {
                        name: kept for name, kept in known[report.name].items() if name != member and kept[1] > now_s
                    }
                    expected = report.part([entry for entry, _ in others.values()])
                    assert part.processes == expected.processes
                    assert part.tokens == pytest.approx(expected.tokens)
                    mine = BudgetEntry(requests=report.requests, spent=report.spent, held=part.tokens)
                    known[report.name] = others | {member: (mine, now_s + _LEASE_S)}
