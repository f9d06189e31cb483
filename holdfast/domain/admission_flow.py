"""What one tenant has waiting at one priority.

Responsibility: the entries of one tenant at one priority, and which of them goes first.
Guarantees: first come, first served, unless it is overloaded: from then on the newest goes first, until it is empty. Of
    two entries, the one that would be served later is shed earlier.
Not responsible for: its turn among other tenants: see `holdfast.domain.admission_lane`. When it is overloaded: see
    `holdfast.domain.admission_overload`.
Sources: B. Maurer, "Fail at Scale", ACM Queue 13 (2015), which has both adaptive LIFO and the short timeout that goes
    with it; RFC 8289 (CoDel) section 5, for never dropping the last entry.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from operator import attrgetter

from holdfast.domain.admission_overload import OverloadWatch
from holdfast.domain.concurrency_limit import Permit
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import HoldfastError
from holdfast.ports.service import Priority

__all__ = ["Entry", "Flow", "by_number"]


class Entry:
    """One piece of work that could not be admitted at once, and how its waiting ended. Made by `AdmissionLine.entry`.

    Args:
        tenant: whose it is.
        size_bytes: what it takes in memory.
        tokens: about what it costs to serve; less than 1 counts as 1, as nothing is free.
        urgency: its priority and deadline.
        arrived_s: when it came.
        number: its place in the order of arrival, which tells apart those that came at the same moment.
    """

    __slots__ = (
        "arrived_s",
        "flow",
        "number",
        "outcome",
        "size_bytes",
        "tenant",
        "tokens",
        "urgency",
        "waiting",
        "wake",
    )

    flow: Flow
    """What it waits in. Set by the lane that it is put into."""
    outcome: Permit | HoldfastError
    """What it waited for, or why it did not get it. Set by `end`."""
    wake: Callable[[], object]
    """Called by `end`. Set by its owner as soon as it gets the entry, before anything else can happen."""

    def __init__(
        self, *, tenant: str, size_bytes: int, tokens: int, urgency: Urgency, arrived_s: float, number: int
    ) -> None:
        self.tenant = tenant
        self.size_bytes = size_bytes
        self.tokens = max(1, tokens)
        self.urgency = urgency
        self.arrived_s = arrived_s
        self.number = number
        self.waiting = False

    def end(self, outcome: Permit | HoldfastError) -> None:
        """Set how its waiting ended and wake its owner; called once, after it has left the line."""
        self.outcome = outcome
        self.wake()


class Flow:
    """The entries of one tenant at one priority, in the order of their arrival; never empty between two decisions.

    Args:
        tenant: whose they are.
        priority: at which priority.
        weight: the tenant's share.
        tag: where its next entry stands in virtual time, in tokens for a weight of 1.
        overload: whether it is overloaded.

    Attributes:
        place: its turn among the others; the lowest is next. Set by the lane.
        backlog: its place among the others by backlog; the highest gives way first. None while it is empty.
        tokens: what its entries cost, together.
        announced: whether anybody was told that it is overloaded.
    """

    __slots__ = (
        "announced",
        "backlog",
        "entries",
        "overload",
        "place",
        "priority",
        "tag",
        "tenant",
        "tokens",
        "weight",
    )

    place: tuple[float, int]

    def __init__(self, *, tenant: str, priority: Priority, weight: float, tag: float, overload: OverloadWatch) -> None:
        self.tenant = tenant
        self.priority = priority
        self.weight = weight
        self.tag = tag
        self.overload = overload
        self.entries: list[Entry] = []
        self.tokens = 0
        self.announced = False
        self.backlog: tuple[float, int] | None = None

    @property
    def end_tag(self) -> float:
        """Where an entry stands in virtual time that is served after all of these."""
        return self.tag + self.tokens / self.weight

    @property
    def newest_first(self) -> bool:
        """Whether it is overloaded, so that the newest entry goes first."""
        return self.overload.since_s is not None

    @property
    def first(self) -> Entry:
        """The entry that goes first."""
        return self.entries[-1 if self.newest_first else 0]

    def from_last(self) -> Iterator[Entry]:
        """Yield the entries, the one that would be served last first."""
        return iter(self.entries) if self.newest_first else reversed(self.entries)

    def older_than(self, arrived_s: float) -> list[Entry]:
        """Return the entries that came before `arrived_s`, other than the newest one."""
        count = bisect_left(self.entries, arrived_s, hi=len(self.entries) - 1, key=_by_arrival)
        return self.entries[:count]

    def add(self, entry: Entry) -> None:
        """Put `entry` among the others.

        Complexity: O(log n) comparisons, and one move of up to n pointers (8 KB for 1000 entries).
        """
        insort(self.entries, entry, key=by_number)
        self.tokens += entry.tokens
        entry.flow = self

    def remove(self, entry: Entry) -> None:
        """Take `entry` out; it is one of these. Complexity: as `add`."""
        del self.entries[bisect_left(self.entries, entry.number, key=by_number)]
        self.tokens -= entry.tokens


by_number = attrgetter("number")
"""Sorts entries by their arrival."""

_by_arrival = attrgetter("arrived_s")
