"""The line in front of the admission slots.

Responsibility: the order in which waiting entries are served, and the room that they may take.
Guarantees: urgent entries first, tenants in fair turns within one priority. An entry goes before one of a higher
    priority only if it came so much earlier: a level of priority is worth a fixed time of waiting. Nothing starves: a
    priority is served as soon as its oldest entry has waited for so long, and if it is nobody else's turn then, that
    entry goes. Whoever is last in this order is the first to be shed.
Not responsible for: deadlines, slots and waking: see `holdfast.domain.admission_core`. Turns: see
    `holdfast.domain.admission_lane`.
Source: J. R. Jackson, "Queues with dynamic priority discipline", Management Science 8 (1961): serving by arrival time
    plus a constant per priority ages every entry at the same rate, so that no two ever change places while they wait.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator
from operator import attrgetter

from holdfast.domain.admission_config import AdmissionConfig
from holdfast.domain.admission_flow import Entry, Flow
from holdfast.domain.admission_lane import FairLane
from holdfast.domain.urgency import Urgency
from holdfast.ports.service import Priority

__all__ = ["AdmissionLine"]


class AdmissionLine:
    """Keeps entries in order, within bounds on their number, their bytes and their tokens. Its time never goes back.

    Args:
        config: the bounds, the ageing and what makes the turns.

    Attributes:
        size_bytes: what the entries take in memory, together.
        tokens: what they cost, together.
    """

    __slots__ = ("_config", "_count", "_lanes", "_numbers", "size_bytes", "tokens")

    def __init__(self, config: AdmissionConfig) -> None:
        self.size_bytes = 0
        self.tokens = 0
        self._config = config
        self._count = 0
        self._lanes = tuple(FairLane(priority, config) for priority in Priority)
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return self._count

    def reconfigure(self, config: AdmissionConfig) -> None:
        """Let what comes from now on be bounded and ordered by `config`."""
        self._config = config
        for lane in self._lanes:
            lane.reconfigure(config)

    @property
    def flows(self) -> Iterator[Flow]:
        """What waits, by priority and tenant."""
        return itertools.chain.from_iterable(lane.flows for lane in self._lanes)

    def flow_of(self, entry: Entry) -> Flow | None:
        """Return what waits of the tenant and at the priority of `entry`; None for nothing."""
        return self._lane(entry).flow_of(entry.tenant)

    def entry(self, *, tenant: str, size_bytes: int, tokens: int, urgency: Urgency, now_s: float) -> Entry:
        """Return an entry that comes now; it is not in the line yet."""
        return Entry(
            tenant=tenant,
            size_bytes=size_bytes,
            tokens=tokens,
            urgency=urgency,
            arrived_s=now_s,
            number=next(self._numbers),
        )

    def add(self, entry: Entry, now_s: float) -> None:
        """Put `entry` in its place; there must be room for it."""
        self._lane(entry).add(entry, now_s)
        self._count += 1
        self.size_bytes += entry.size_bytes
        self.tokens += entry.tokens
        entry.waiting = True

    def remove(self, entry: Entry) -> None:
        """Take `entry`, which is in the line, out unserved."""
        self._lanes[entry.flow.priority].remove(entry)
        self._leave(entry)

    def take(self, entry: Entry, now_s: float) -> None:
        """Take `entry`, which is in the line, out to be served: its tenant's next turn comes later for it."""
        self._lanes[entry.flow.priority].take(entry, now_s)
        self._leave(entry)

    def move_up(self, entry: Entry, now_s: float) -> None:
        """Put `entry`, whose priority has risen, where it would be if it had come with it."""
        self._lanes[entry.flow.priority].remove(entry)
        self._lane(entry).add(entry, now_s)

    def first(self) -> Entry:
        """Return the entry that is served next; there must be one.

        The priority whose oldest entry ranks first has the slot, and its tenants have their turns: but an entry that
        has not itself waited for long enough to go before those of higher priorities lets that oldest one go.
        """
        waiting = [lane for lane in self._lanes if lane.entries]
        lane = min(waiting, key=lambda lane: self._rank(lane.entries[0], lane.priority))
        in_turn = lane.flows[0].first
        rank = self._rank(in_turn, lane.priority)
        higher = (other for other in waiting if other.priority < lane.priority)
        if any(self._rank(other.entries[0], other.priority) < rank for other in higher):
            return lane.entries[0]
        return in_turn

    def ahead_of(self, newcomer: Entry, now_s: float) -> int:
        """Return about how many would be served before `newcomer`, which comes now, if nobody came after it.

        Complexity: O(tenants), and O(log n).
        """
        own = self._lane(newcomer)
        ahead = own.ahead_of(newcomer)
        for lane in self._lanes:
            if lane.priority < own.priority:
                ahead += len(lane.entries)
            elif lane.priority > own.priority:
                aged_s = now_s - (lane.priority - own.priority) * self._config.ageing_s
                ahead += bisect_left(lane.entries, aged_s, key=_by_arrival)
        return ahead

    def exceeded_by(self, newcomer: Entry) -> str | None:
        """Return which bound `newcomer` exceeds all by itself, in words; None for none."""
        config = self._config
        if newcomer.size_bytes > config.max_bytes:
            return f"{newcomer.size_bytes} bytes are more than may wait, {config.max_bytes}"
        if newcomer.tokens > config.max_tokens:
            return f"{newcomer.tokens} tokens are more than may wait, {config.max_tokens}"
        return None

    def lack_for(self, newcomer: Entry) -> str:
        """Return what there is too little of for `newcomer`, in words."""
        config = self._config
        if self.size_bytes + newcomer.size_bytes > config.max_bytes:
            return f"has no room for {newcomer.size_bytes} more bytes"
        if self.tokens + newcomer.tokens > config.max_tokens:
            return f"has no room for {newcomer.tokens} more tokens"
        return "is full"

    def in_the_way_of(self, newcomer: Entry) -> list[Entry] | None:
        """Return who must leave so that `newcomer` fits, the first to go first; None if it would be among them.

        Of the priorities, the one whose candidate ranks last, where `newcomer` stands for its own; within it, the
        tenant with the most backlog for its weight; and of that tenant, the entry that would be served last.

        Args:
            newcomer: it alone must not exceed a bound.
        """
        leaving: list[Entry] = []
        count, size_bytes, tokens = len(self) + 1, self.size_bytes + newcomer.size_bytes, self.tokens + newcomer.tokens
        config, from_last = self._config, self._from_last(newcomer)
        while count > config.max_waiting or size_bytes > config.max_bytes or tokens > config.max_tokens:
            last = next(from_last)
            if last is newcomer:
                return None
            leaving.append(last)
            count, size_bytes, tokens = count - 1, size_bytes - last.size_bytes, tokens - last.tokens
        return leaving

    def stale(self, flow: Flow, now_s: float, *, served: bool) -> list[Entry]:
        """Return who has waited for too long in `flow`, if it is overloaded; never its newest.

        Args:
            flow: which one.
            now_s: now.
            served: whether an entry of it was just served. Otherwise the oldest entry of the whole priority stays: it
                is the one that ageing will bring in.
        """
        if not flow.entries or not flow.newest_first:
            return []
        stale = flow.older_than(now_s - self._config.overload_timeout_s)
        oldest = self._lanes[flow.priority].entries[0]
        return stale[1:] if stale and not served and stale[0] is oldest else stale

    def _lane(self, entry: Entry) -> FairLane:
        return self._lanes[entry.urgency.priority]

    def _from_last(self, newcomer: Entry) -> Iterator[Entry]:
        own = self._lane(newcomer)
        tails = {lane: lane.from_last(newcomer if lane is own else None) for lane in self._lanes}
        candidates = {lane: last for lane, tail in tails.items() if (last := next(tail, None)) is not None}

        def rank(lane: FairLane) -> tuple[float, int]:
            return self._rank(newcomer if lane is own else candidates[lane], lane.priority)

        while True:  # ends with the newcomer, at the latest, which fits by itself
            lane = max(candidates, key=rank)
            yield candidates.pop(lane)
            following = next(tails[lane], None)
            if following is not None:
                candidates[lane] = following

    def _leave(self, entry: Entry) -> None:
        self._count -= 1
        self.size_bytes -= entry.size_bytes
        self.tokens -= entry.tokens
        entry.waiting = False

    def _rank(self, entry: Entry, priority: Priority) -> tuple[float, int]:
        return (entry.arrived_s + priority * self._config.ageing_s, entry.number)


_by_arrival = attrgetter("arrived_s")
