"""Retry budgets that several processes share.

Responsibility: tell the store in each round what this process's budgets earned and spent, and give each its part of
    what all of them have left.
Guarantees: nothing waits; together, processes that reach the store spend no more tokens in a window than their
    requests earned, beside a reserve of `min_retries` of which each has its part, one token at least; one that does not
    reach it goes by its own numbers.
Not responsible for: deciding about a retry: see `holdfast.domain.retry_budget`; who gets how much: see
    `holdfast.ports.budget_store`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

from holdfast.domain.retry_budget import RetryBudget
from holdfast.domain.store_link import StoreLink, StoreMember
from holdfast.ports.budget_store import BudgetReport, BudgetStore
from holdfast.ports.clock import Clock
from holdfast.ports.statistics import SharedBudgetStatistics

__all__ = ["SharedBudgets"]

_ROUNDS_PER_LEASE: Final = 8


class SharedBudgets:
    """This process's part in all budgets that are shared. For one event loop.

    Args:
        store: where they are kept.
        link: says when; this is added to it.
        refresh_s: seconds from one round to the next; what was told counts for eight of them.
        make_token: returns a name that nobody else has.
        clock: monotonic time.
    """

    def __init__(
        self, store: BudgetStore, *, link: StoreLink, refresh_s: float, make_token: Callable[[], str], clock: Clock
    ) -> None:
        self._store = store
        self._lease_s = _ROUNDS_PER_LEASE * refresh_s
        self._member = make_token()
        self._clock = clock
        # Weakly: a backend that has vanished takes its budget along.
        self._budgets: WeakValueDictionary[str, RetryBudget] = WeakValueDictionary()
        self._told = 0
        self._processes = 1
        link.add(self)

    def share(self, name: str, budget: RetryBudget) -> None:
        """Let the processes share `budget` under `name`."""
        self._budgets[name] = budget

    async def refresh(self, *, emptied: bool) -> None:
        """Tell and learn; see `StoreMember.refresh`. What a store that was emptied has forgotten is told it anew."""
        del emptied
        budgets = list(self._budgets.items())
        until_s = self._clock.monotonic_s() + self._lease_s
        told = [budget.earned() for _, budget in budgets]
        reports = [
            BudgetReport(name=name, ratio=earned.ratio, requests=earned.requests, spent=earned.spent)
            for (name, _), earned in zip(budgets, told, strict=True)
        ]
        parts = await self._store.exchange(self._member, reports, lease_s=self._lease_s) if reports else ()
        self._told += len(parts)
        for (_, budget), earned, part in zip(budgets, told, parts, strict=True):
            budget.adopt(part, earned, until_s=until_s)
            self._processes = part.processes

    def statistics(self) -> SharedBudgetStatistics:
        """Return who shares, and how often this process told."""
        return SharedBudgetStatistics(processes=self._processes, budgets=len(self._budgets), told=self._told)


_: type[StoreMember] = SharedBudgets
