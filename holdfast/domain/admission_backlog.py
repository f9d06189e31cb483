"""The tenants that wait at one priority, by how much they have waiting.

Responsibility: who has to leave when there is no room.
Guarantees: the tenant with the most backlog for its weight gives way first, and of that tenant the entry that would be
    served last.
Not responsible for: how much has to leave: see `holdfast.domain.admission_line`.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left, insort
from collections.abc import Iterator
from operator import attrgetter

from holdfast.domain.admission_flow import Entry, Flow

__all__ = ["Backlogs"]


class Backlogs:
    """Keeps the flows of one priority in the order of their backlog: where in virtual time they will all be served."""

    __slots__ = ("_flows", "_orders")

    def __init__(self) -> None:
        self._flows: list[Flow] = []
        self._orders = itertools.count()

    def update(self, flow: Flow) -> None:
        """Put `flow`, of which an entry has come or gone, where it belongs now; an empty one nowhere.

        Complexity: O(log n) comparisons, and moves of up to n pointers.
        """
        if flow.backlog is not None:
            del self._flows[bisect_left(self._flows, flow.backlog, key=_by_backlog)]
            flow.backlog = None
        if flow.entries:
            flow.backlog = (flow.end_tag, next(self._orders))
            insort(self._flows, flow, key=_by_backlog)

    def from_last(self, newcomer: Entry | None, own: Flow | None, *, tag: float, weight: float) -> Iterator[Entry]:
        """Yield the entries, and the newcomer, as they have to leave; of two as large backlogs the newcomer's first.

        Args:
            newcomer: one that wants to come in; None for none.
            own: what waits of its tenant; None for nothing.
            tag: where its tenant stands after all of that.
            weight: of its tenant.

        Complexity: O(log n) for each entry that is asked for.
        """
        # By backlog, the largest first; those that come later in `_flows` are opened only once it is their turn.
        tails: list[tuple[float, int, Iterator[Entry], float]] = []
        if newcomer is not None:
            tails.append((-tag - newcomer.tokens / weight, 0, _with_newcomer(own, newcomer), weight))
        others = (flow for flow in reversed(self._flows) if flow is not own)
        for order, other in enumerate(itertools.chain(others, (None,)), start=1):
            while tails and (other is None or tails[0][0] <= -other.end_tag):
                end_tag, place, tail, share = tails[0]
                entry = next(tail, None)
                if entry is None:
                    heapq.heappop(tails)
                else:
                    yield entry
                    heapq.heapreplace(tails, (end_tag + entry.tokens / share, place, tail, share))
            if other is not None:
                heapq.heappush(tails, (-other.end_tag, order, other.from_last(), other.weight))


def _with_newcomer(own: Flow | None, newcomer: Entry) -> Iterator[Entry]:
    if own is None:
        return iter((newcomer,))
    if own.newest_first:
        return itertools.chain(own.from_last(), (newcomer,))
    return itertools.chain((newcomer,), own.from_last())


_by_backlog = attrgetter("backlog")
