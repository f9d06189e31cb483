"""The line in front of the admission slots.

Responsibility: the order in which waiting entries are served, and the room that they may take.
Guarantees: urgent entries first; within one priority first come, first served. Nothing starves: a level of priority is
    worth a fixed time of waiting, so an entry is overtaken only by those that come within that time after it, for each
    level they are above it. Whoever is last in this order is the first to be shed.
Not responsible for: deadlines, slots and waking: see `holdfast.domain.admission_core`.
Source: J. R. Jackson, "Queues with dynamic priority discipline", Management Science 8 (1961): serving by arrival time
    plus a constant per priority ages every entry at the same rate, so that no two ever change places while they wait.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, insort
from collections.abc import Callable
from operator import attrgetter

from holdfast.domain.concurrency_limit import Permit
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import HoldfastError

__all__ = ["AdmissionLine", "Entry"]


class Entry:
    """One piece of work that could not be admitted at once, and how its waiting ended. Made by `AdmissionLine.entry`.

    Args:
        size_bytes: what it takes in memory.
        urgency: its priority and deadline.
        arrived_s: when it came, on the queue's clock.
        number: tells apart those that came at the same moment.
    """

    __slots__ = ("arrived_s", "number", "outcome", "rank", "size_bytes", "urgency", "waiting", "wake")

    rank: tuple[float, int]
    """Its place in the order; the lowest is served first, and no two are equal. Set by the line."""
    outcome: Permit | HoldfastError
    """What it waited for, or why it did not get it. Set by `end`."""
    wake: Callable[[], object]
    """Called by `end`. Set by its owner as soon as it gets the entry, before anything else can happen."""

    def __init__(self, *, size_bytes: int, urgency: Urgency, arrived_s: float, number: int) -> None:
        self.size_bytes = size_bytes
        self.urgency = urgency
        self.arrived_s = arrived_s
        self.number = number
        self.waiting = False

    def end(self, outcome: Permit | HoldfastError) -> None:
        """Set how its waiting ended and wake its owner; called once, after it has left the line."""
        self.outcome = outcome
        self.wake()


class AdmissionLine:
    """Keeps entries in order, within a bound on their number and on their bytes.

    Args:
        max_waiting: entries it has room for; at least 1.
        max_bytes: bytes it has room for.
        ageing_s: seconds of waiting that are worth one level of priority.
    """

    __slots__ = ("_ageing_s", "_entries", "_numbers", "max_bytes", "max_waiting", "size_bytes")

    def __init__(self, *, max_waiting: int, max_bytes: int, ageing_s: float) -> None:
        self.max_waiting = max_waiting
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._ageing_s = ageing_s
        self._entries: list[Entry] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, *, size_bytes: int, urgency: Urgency, now_s: float) -> Entry:
        """Return an entry that comes now; it is not in the line yet."""
        entry = Entry(size_bytes=size_bytes, urgency=urgency, arrived_s=now_s, number=next(self._numbers))
        self._rank(entry)
        return entry

    def ahead_of(self, entry: Entry) -> int:
        """Return how many would be served before `entry`."""
        return bisect_left(self._entries, entry.rank, key=_by_rank)

    def in_the_way_of(self, entry: Entry) -> list[Entry] | None:
        """Return who must leave so that `entry` fits, the last in line first; None if that takes one ahead of it.

        `entry` alone must not exceed `max_bytes`.
        """
        leaving: list[Entry] = []
        count = len(self._entries) + 1
        size_bytes = self.size_bytes + entry.size_bytes
        for last in reversed(self._entries):
            if count <= self.max_waiting and size_bytes <= self.max_bytes:
                break
            if last.rank < entry.rank:
                return None
            leaving.append(last)
            count -= 1
            size_bytes -= last.size_bytes
        return leaving

    def add(self, entry: Entry) -> None:
        """Put `entry` in its place, and move it up whenever its priority rises; there must be room for it.

        Complexity: O(log n) comparisons, and one move of up to n pointers (8 KB for 1000 entries).
        """
        insort(self._entries, entry, key=_by_rank)
        self.size_bytes += entry.size_bytes
        entry.waiting = True
        entry.urgency.watch(lambda: self._move_up(entry))

    def remove(self, entry: Entry) -> None:
        """Take `entry` out of the line, which it is in."""
        del self._entries[self.ahead_of(entry)]
        self.size_bytes -= entry.size_bytes
        entry.waiting = False
        entry.urgency.watch(None)

    def pop_first(self) -> Entry:
        """Take out and return the entry that is served next."""
        first = self._entries[0]
        self.remove(first)
        return first

    def _move_up(self, entry: Entry) -> None:
        del self._entries[self.ahead_of(entry)]
        self._rank(entry)
        insort(self._entries, entry, key=_by_rank)

    def _rank(self, entry: Entry) -> None:
        entry.rank = (entry.arrived_s + entry.urgency.priority * self._ageing_s, entry.number)


_by_rank = attrgetter("rank")
