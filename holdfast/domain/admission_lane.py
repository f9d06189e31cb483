"""The tenants that wait at one priority.

Responsibility: whose turn it is among the tenants of one priority.
Guarantees: of two tenants that wait all along, what each was served for its weight differs by at most one entry of each
    and the burst that one of them may have saved up; a tenant that has used less than its share goes before one that
    has used more; whoever waits has their turn, however many others come; the memory of those who do not wait is
    bounded.
Not responsible for: the order within one tenant: see `holdfast.domain.admission_flow`; between priorities: see
    `holdfast.domain.admission_line`.
Sources: P. Goyal, H. M. Vin, H. Cheng, "Start-time Fair Queueing", SIGCOMM 1996; W. Jin, J. S. Chase, J. Kaur,
    "Interposed proportional sharing for a storage service utility", SIGMETRICS 2004, for the same in front of many
    slots. Why it differs from them: adr/0016.

Each tenant has a tag in virtual time; the lowest is served, and its tag moves on by what the entry costs, over its
weight. The level is the highest that was the lowest of all: where those are who use all of their share.

- Whoever comes back stands where it left, but at most `burst_tokens` behind the level: the share that it saved up.
- Whoever is not known stands one entry beyond the level: its own, or an average one if that costs less. So every
  newcomer that is served lifts the level, and no stream of newcomers keeps anybody waiting for ever.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator
from operator import attrgetter
from typing import Final

from holdfast.domain.admission_backlog import Backlogs
from holdfast.domain.admission_config import AdmissionConfig
from holdfast.domain.admission_flow import Entry, Flow, by_number
from holdfast.domain.admission_overload import OverloadWatch
from holdfast.ports.service import Priority

__all__ = ["FairLane"]

_MOST_REMEMBERED: Final = 1024
"""Tenants whose tag is kept while they do not wait, 0.1 MB; the one that left first is forgotten. Unmeasured."""


class FairLane:
    """Keeps the entries of one priority, and says who is next.

    Args:
        priority: of all its entries.
        config: weights, burst, and when a tenant's line passes for overloaded.

    Attributes:
        entries: all of them, in the order of their arrival.
        flows: the same by tenant, whoever is next first.
    """

    __slots__ = (
        "_backlogs",
        "_config",
        "_level",
        "_orders",
        "_remembered",
        "_tokens",
        "_waiting",
        "entries",
        "flows",
        "priority",
    )

    def __init__(self, priority: Priority, config: AdmissionConfig) -> None:
        self.priority = priority
        self.entries: list[Entry] = []
        self.flows: list[Flow] = []
        self._backlogs = Backlogs()
        self._config = config
        self._waiting: dict[str, Flow] = {}
        self._remembered: OrderedDict[str, float] = OrderedDict()
        self._level = 0.0
        self._tokens = 0
        self._orders = itertools.count()

    def reconfigure(self, config: AdmissionConfig) -> None:
        """Let tenants that come from now on have the weights and the overload of `config`."""
        self._config = config

    def flow_of(self, tenant: str) -> Flow | None:
        """Return what `tenant` has waiting here; None for nothing."""
        return self._waiting.get(tenant)

    def add(self, entry: Entry, now_s: float) -> None:
        """Put `entry` into its place.

        Complexity: O(log n) comparisons, and moves of up to n pointers, here and in the other methods.
        """
        flow = self._waiting.get(entry.tenant)
        if flow is None:
            flow = Flow(
                tenant=entry.tenant,
                priority=self.priority,
                weight=self._weight(entry.tenant),
                tag=self._tag_on_arrival(entry),
                overload=OverloadWatch(
                    after_s=self._config.overload_after_s, wait_s=self._config.overload_timeout_s, now_s=now_s
                ),
            )
            self._remembered.pop(entry.tenant, None)
            self._waiting[entry.tenant] = flow
            self._queue(flow)
        flow.add(entry)
        self._tokens += entry.tokens
        self._backlogs.update(flow)
        insort(self.entries, entry, key=by_number)

    def remove(self, entry: Entry) -> None:
        """Take `entry` out unserved; its tenant is not charged for it."""
        flow = entry.flow
        flow.remove(entry)
        self._tokens -= entry.tokens
        self._backlogs.update(flow)
        del self.entries[bisect_left(self.entries, entry.number, key=by_number)]
        if not flow.entries:
            del self.flows[self._index(flow)]
            self._remember(flow)

    def take(self, entry: Entry, now_s: float) -> None:
        """Take `entry` out to be served, and charge its tenant for it."""
        flow = entry.flow
        flow.overload.count_served(now_s, oldest_s=flow.entries[0].arrived_s)
        self._level = max(self._level, self.flows[0].tag)
        del self.flows[self._index(flow)]
        flow.tag += entry.tokens / flow.weight
        self._queue(flow)
        self.remove(entry)

    def ahead_of(self, newcomer: Entry) -> int:
        """Return about how many entries would be served before `newcomer`, as if all of one tenant cost the same.

        Complexity: O(tenants).
        """
        own = self._waiting.get(newcomer.tenant)
        if own is None:
            tag, ahead = self._tag_on_arrival(newcomer), 0
        elif own.newest_first:
            tag, ahead = own.tag, 0
        else:
            tag, ahead = own.end_tag, len(own.entries)
        for flow in self.flows:
            if flow.tag > tag:
                break
            if flow is not own:
                served_before = (tag - flow.tag) * flow.weight * len(flow.entries) / flow.tokens
                ahead += min(len(flow.entries), int(served_before) + 1)
        return ahead

    def from_last(self, newcomer: Entry | None) -> Iterator[Entry]:
        """Yield the entries and the newcomer to this lane, if any, as they are shed: most backlog for its weight first.

        Complexity: O(log tenants) for each entry that is asked for.
        """
        if newcomer is None:
            return self._backlogs.from_last(None, None, tag=0.0, weight=1.0)
        own = self._waiting.get(newcomer.tenant)
        tag = self._tag_on_arrival(newcomer) if own is None else own.end_tag
        return self._backlogs.from_last(newcomer, own, tag=tag, weight=self._weight(newcomer.tenant))

    def _weight(self, tenant: str) -> float:
        return self._config.weights.get(tenant, 1.0)

    def _tag_on_arrival(self, entry: Entry) -> float:
        left_at = self._remembered.get(entry.tenant)
        if left_at is not None:
            return max(left_at, self._level - self._config.burst_tokens)
        step = min(entry.tokens, self._tokens / len(self.entries)) if self.entries else entry.tokens
        return self._level + step / self._weight(entry.tenant)

    def _queue(self, flow: Flow) -> None:
        flow.place = (flow.tag, next(self._orders))
        insort(self.flows, flow, key=_by_place)

    def _index(self, flow: Flow) -> int:
        return bisect_left(self.flows, flow.place, key=_by_place)

    def _remember(self, flow: Flow) -> None:
        del self._waiting[flow.tenant]
        self._remembered[flow.tenant] = flow.tag
        if len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)


_by_place = attrgetter("place")
