"""Retry budgets that several processes share.

Responsibility: what a process tells of a budget and may spend of it, the rule by which it may, and where that is
    decided.
Guarantees: every value is frozen; the rule is pure, so that each store can be held to it.
Not responsible for: deciding about a retry: see `holdfast.domain.retry_budget`, which does so without asking; limits of
    what is in flight: each process has its own.

What a process may still spend counts as spent for all others. So together they never spend more than their requests
have earned, however late they tell: what one earns after it told, only it may spend before it tells again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["BudgetEntry", "BudgetPart", "BudgetReport", "BudgetStore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetEntry:
    """What is known of another process.

    Args:
        requests: that earned, in its latest window.
        spent: tokens, in the same.
        held: tokens that it may spend.
    """

    requests: int
    spent: int
    held: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetPart:
    """What a process may do until the next time.

    Args:
        tokens: which it may spend besides those that it earns from now on.
        processes: how many share the budget.
    """

    tokens: float
    processes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetReport:
    """What a process tells of one budget.

    Args:
        name: of the budget, the same in all processes.
        ratio: tokens that a request earns.
        requests: that earned, in the latest window.
        spent: tokens, in the same.
    """

    name: str
    ratio: float
    requests: int
    spent: int

    def part(self, others: Collection[BudgetEntry]) -> BudgetPart:
        """Return what it may do beside `others`: an equal part of what is unspent, as far as nobody holds it."""
        processes = 1 + len(others)
        requests = self.requests + sum(other.requests for other in others)
        unspent = self.ratio * requests - self.spent - sum(other.spent for other in others)
        free = unspent - sum(other.held for other in others)
        return BudgetPart(tokens=max(0.0, min(free, unspent / processes)), processes=processes)


class BudgetStore(Protocol):
    """Keeps what processes have told of their budgets.

    Atomicity: each call is one change, or none. Duplication: a call that is made twice is as one. Time: the store's
    own; a process that has not told of a budget for its lease is not known there any more. Cancellation: the call was
    made, or not. Errors: `StoreUnavailableError` and `StoreRefusedError`.
    """

    async def exchange(self, member: str, reports: Sequence[BudgetReport], *, lease_s: float) -> tuple[BudgetPart, ...]:
        """Note what a process tells, in place of what it told before, and return what it may do, in the same order.

        Args:
            member: names the process.
            reports: one for each budget that it has.
            lease_s: seconds for which they count.
        """
        ...
