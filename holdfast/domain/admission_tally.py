"""How every arrival at the admission queue ended.

Responsibility: count it, and tell whoever listens.
Guarantees: `offered = waiting + granted + refused + shed + expired + cancelled` whenever an event is told. No listener
    costs nothing.
Not responsible for: deciding it: see `holdfast.domain.admission_core`.
"""

from __future__ import annotations

from holdfast.domain.admission_flow import Entry, Flow
from holdfast.domain.urgency import Urgency
from holdfast.ports.events import EventSink, OverloadBegan, OverloadEnded, RequestExpired, RequestRefused, RequestShed

__all__ = ["AdmissionTally"]


class AdmissionTally:
    """Counts arrivals by how they ended; each method is called when everything else about it is done.

    Args:
        events: is told of what was turned away, and of overload; None tells nobody.

    Attributes:
        offered: all that came.
        granted: those that got a slot.
        refused: those that were not even let into the line.
        shed: those that had to leave it.
        expired: those whose deadline passed first.
        cancelled: those that gave up.
    """

    __slots__ = ("_events", "cancelled", "expired", "granted", "offered", "refused", "shed")

    def __init__(self, events: EventSink | None) -> None:
        self._events = events
        self.offered = 0
        self.granted = 0
        self.refused = 0
        self.shed = 0
        self.expired = 0
        self.cancelled = 0

    def count_refused(self, tenant: str, urgency: Urgency, reason: str, retry_after_s: float | None) -> None:
        """Count an arrival that was refused; `reason` is one of a few, so that it can label a metric."""
        self.offered += 1
        self.refused += 1
        if self._events is not None:
            priority = urgency.priority
            event = RequestRefused(tenant=tenant, priority=priority, reason=reason, retry_after_s=retry_after_s)
            self._events.emit(event)

    def count_late(self, tenant: str, urgency: Urgency) -> None:
        """Count an arrival whose deadline had passed."""
        self.offered += 1
        self.expired += 1
        if self._events is not None:
            self._events.emit(RequestExpired(tenant=tenant, priority=urgency.priority, waited_s=0.0))

    def count_expired(self, entry: Entry, waited_s: float) -> None:
        """Count an entry whose deadline passed in line."""
        self.expired += 1
        if self._events is not None:
            self._events.emit(RequestExpired(tenant=entry.tenant, priority=entry.urgency.priority, waited_s=waited_s))

    def count_shed(self, entry: Entry, reason: str, *, waited_s: float, retry_after_s: float) -> None:
        """Count an entry that had to leave; `reason` as for `count_refused`."""
        self.shed += 1
        if self._events is not None:
            self._events.emit(
                RequestShed(
                    tenant=entry.tenant,
                    priority=entry.urgency.priority,
                    reason=reason,
                    waited_s=waited_s,
                    retry_after_s=retry_after_s,
                )
            )

    def notice(self, flow: Flow, now_s: float) -> None:
        """Tell of `flow`, in which something has changed, if its overload began or ended."""
        since_s = flow.overload.since_s
        if self._events is None or since_s is None:
            return
        if flow.announced:
            if not flow.entries:
                lasted_s = now_s - since_s
                self._events.emit(OverloadEnded(tenant=flow.tenant, priority=flow.priority, lasted_s=lasted_s))
        elif flow.entries:
            flow.announced = True
            waiting = len(flow.entries)
            self._events.emit(OverloadBegan(tenant=flow.tenant, priority=flow.priority, waiting=waiting))
