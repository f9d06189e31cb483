"""Retry budgets that are shared within this process's memory.

Responsibility: `BudgetStore` without a server, for tests in which several parts of one process stand for processes.
Guarantees: those of the port.
Not responsible for: processes: each has a memory of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.ports.budget_store import BudgetEntry, BudgetPart, BudgetReport, BudgetStore
from holdfast.ports.clock import Clock

__all__ = ["MemoryBudgets"]


class MemoryBudgets:
    """Keeps budgets until the process ends. For one event loop; no call waits.

    Args:
        clock: the store's own time.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[str, dict[str, tuple[BudgetEntry, float]]] = {}

    async def exchange(self, member: str, reports: Sequence[BudgetReport], *, lease_s: float) -> tuple[BudgetPart, ...]:
        """Note what a process tells, and return what it may do; see `BudgetStore.exchange`."""
        return tuple(self._exchange(member, report, lease_s) for report in reports)

    def lose(self) -> None:
        """Forget everything, as a server does that is restarted empty."""
        self._entries.clear()

    def _exchange(self, member: str, report: BudgetReport, lease_s: float) -> BudgetPart:
        now_s = self._clock.monotonic_s()
        others = {
            name: kept
            for name, kept in self._entries.get(report.name, {}).items()
            if name != member and kept[1] > now_s
        }
        part = report.part([entry for entry, _ in others.values()])
        mine = BudgetEntry(requests=report.requests, spent=report.spent, held=part.tokens)
        self._entries[report.name] = others | {member: (mine, now_s + lease_s)}
        return part


_: type[BudgetStore] = MemoryBudgets
