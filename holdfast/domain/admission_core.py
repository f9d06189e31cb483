"""Who is admitted, who waits and who is turned away: the synchronous part of admission.

Responsibility: decide for each arrival, each slot that comes back and each waiter that leaves.
Guarantees: every arrival ends granted, refused, shed, expired or cancelled, exactly once. Nobody waits while a slot is
    free: whoever gives one back hands it to the next in line, with those by which the limit has grown, and no arrival
    takes a slot past the line. An entry whose deadline has passed is never granted. A clock that steps back changes no
    order: time stands still for that step, and goes on from there.
Not responsible for: waiting: see `holdfast.domain.admission`. The order: see `holdfast.domain.admission_line`.

What has waited for too long in an overloaded line is shed when another entry of that line is granted a slot or comes.
No timer is needed for that: before either happens, nobody else could have used the place, and a deadline ends the wait
all the same.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NoReturn

from holdfast.domain.adaptive_limit import AdaptiveLimit, LoadSignal
from holdfast.domain.admission_config import AdmissionConfig
from holdfast.domain.admission_flow import Entry, Flow
from holdfast.domain.admission_line import AdmissionLine
from holdfast.domain.admission_tally import AdmissionTally
from holdfast.domain.admission_wait import PredictedWait
from holdfast.domain.concurrency_limit import ConcurrencyLimit, Permit
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import BackpressureError, DeadlineExceededError
from holdfast.ports.events import EventSink
from holdfast.ports.statistics import AdmissionStatistics, LimitStatistics

__all__ = ["AdmissionCore"]


class _SteadyTime:
    """Time that goes on from where it was when the clock steps back."""

    __slots__ = ("_read_s", "_shift_s")

    def __init__(self) -> None:
        self._read_s = -math.inf
        self._shift_s = 0.0

    def read(self, clock_s: float) -> float:
        if clock_s < self._read_s:
            self._shift_s += self._read_s - clock_s
        self._read_s = clock_s
        return clock_s + self._shift_s


class AdmissionCore:
    """Admits arrivals while there are slots, and puts the others in line. Nothing here awaits.

    Args:
        config: what the line is bounded by, and how it is ordered.
        limit: the slots; only this object may take and release its permits, or waiters would not hear of free ones.
        adaptive: says how many slots there are, from the start; None leaves their number as it is.
        events: is told of what is turned away, and of overload.
    """

    __slots__ = ("_adaptive", "_capacity", "_granted_at_s", "_limit", "_line", "_tally", "_time", "_wait")

    def __init__(
        self,
        config: AdmissionConfig,
        limit: ConcurrencyLimit,
        adaptive: AdaptiveLimit | None = None,
        events: EventSink | None = None,
    ) -> None:
        self._limit = limit
        self._adaptive = adaptive
        if adaptive is not None:
            limit.resize(adaptive.limit)
        self._capacity = config.max_waiting
        self._line = AdmissionLine(config)
        self._tally = AdmissionTally(events)
        self._time = _SteadyTime()
        self._wait = PredictedWait()
        self._granted_at_s: dict[Permit, float] = {}

    def offer(self, *, tenant: str, size_bytes: int, tokens: int, urgency: Urgency, now_s: float) -> Permit | Entry:
        """Return a permit if a slot is free, or the entry that now waits for one.

        Raises:
            DeadlineExceededError, BackpressureError: as `AdmissionQueue.acquire` says.
        """
        now_s = self._time.read(now_s)
        if urgency.deadline.has_passed():
            self._tally.count_late(tenant, urgency)
            raise DeadlineExceededError
        permit = self._limit.try_acquire()
        if permit is not None:  # then nobody is in line, or they would have it
            self._tally.offered += 1
            self._grant(permit, now_s)
            return permit
        entry = self._line.entry(tenant=tenant, size_bytes=size_bytes, tokens=tokens, urgency=urgency, now_s=now_s)
        flow = self._line.flow_of(entry)
        if flow is not None:
            flow.overload.count_arrival(now_s, oldest_s=flow.entries[0].arrived_s)
            self._tend(flow, now_s, served=False)
        self._make_room(entry, now_s)
        self._tally.offered += 1
        self._line.add(entry, now_s)
        return entry

    def release(self, permit: Permit, *, now_s: float, signal: LoadSignal = LoadSignal.NEUTRAL) -> None:
        """Take `permit` back and hand on the slots that are free then; a second time changes nothing.

        Args:
            permit: from `offer`, or the outcome of an entry.
            now_s: when the work ended.
            signal: what its end says about load, for an adaptive limit.
        """
        granted_at_s = self._granted_at_s.get(permit)
        if granted_at_s is None:
            return
        now_s = self._time.read(now_s)
        self._wait.record(now_s - granted_at_s)
        if self._adaptive is not None:
            in_flight = len(self._granted_at_s)
            self._limit.resize(self._adaptive.record(signal, began_s=granted_at_s, in_flight=in_flight, now_s=now_s))
        self._hand_on(permit, now_s)

    def reconfigure(self, config: AdmissionConfig) -> None:
        """Let what comes from now on be bounded and ordered by `config`."""
        self._capacity = config.max_waiting
        self._line.reconfigure(config)

    def resize(self, max_in_flight: int, *, now_s: float) -> None:
        """Set how many slots there are, and hand on those that are free then; an adaptive limit stays as it is."""
        if self._adaptive is None:
            self._limit.resize(max_in_flight)
            self._fill(self._time.read(now_s))

    def withdraw(self, entry: Entry, *, now_s: float) -> None:
        """Take `entry` out, because its owner was cancelled; a slot that it was given meanwhile goes to the next."""
        now_s = self._time.read(now_s)
        if entry.waiting:
            self._line.remove(entry)
            if entry.urgency.deadline.has_passed():
                self._tally.count_expired(entry, now_s - entry.arrived_s)
            else:
                self._tally.cancelled += 1
            self._tally.notice(entry.flow, now_s)
        elif isinstance(entry.outcome, Permit):
            # Not a holding time: nobody has used the slot.
            self._hand_on(entry.outcome, now_s)

    def rise(self, entry: Entry, *, now_s: float) -> None:
        """Move `entry` up to the priority that it has risen to; one that no longer waits stays as it ended."""
        if entry.waiting:
            now_s, left = self._time.read(now_s), entry.flow
            self._line.move_up(entry, now_s)
            self._tally.notice(left, now_s)

    def statistics(self) -> AdmissionStatistics:
        """Return who waits, what is overloaded, and how everybody else ended.

        Complexity: O(tenants).
        """
        line, tally, flows = self._line, self._tally, tuple(self._line.flows)
        return AdmissionStatistics(
            waiting=len(line),
            waiting_bytes=line.size_bytes,
            waiting_tokens=line.tokens,
            waiting_tenants=len({flow.tenant for flow in flows}),
            overloaded=sum(flow.newest_first for flow in flows),
            offered=tally.offered,
            granted=tally.granted,
            refused=tally.refused,
            shed=tally.shed,
            expired=tally.expired,
            cancelled=tally.cancelled,
            limit=self._limit_statistics(),
        )

    def _limit_statistics(self) -> LimitStatistics:
        counted, adaptive = self._limit.statistics(), self._adaptive
        if adaptive is None:
            return counted
        return replace(counted, baseline_s=adaptive.baseline_s, recent_s=adaptive.recent_s)

    def _grant(self, permit: Permit, now_s: float) -> None:
        self._tally.granted += 1
        self._granted_at_s[permit] = now_s

    def _hand_on(self, permit: Permit, now_s: float) -> None:
        del self._granted_at_s[permit]
        self._limit.release(permit)
        self._fill(now_s)

    def _fill(self, now_s: float) -> None:
        while self._line and (freed := self._limit.try_acquire()) is not None:
            entry = self._line.first()
            if entry.urgency.deadline.has_passed():
                self._limit.release(freed)
                self._line.remove(entry)
                entry.end(DeadlineExceededError())
                self._tally.count_expired(entry, now_s - entry.arrived_s)
                self._tally.notice(entry.flow, now_s)
            else:
                self._line.take(entry, now_s)
                self._grant(freed, now_s)
                entry.end(freed)
                self._tend(entry.flow, now_s, served=True)

    def _make_room(self, entry: Entry, now_s: float) -> None:
        excess = self._line.exceeded_by(entry)
        if excess is not None:
            self._refuse(entry, "too large", excess, None)
        self._foresee(entry, now_s)
        leaving = self._line.in_the_way_of(entry)
        if leaving is None:
            lack = self._line.lack_for(entry)
            self._refuse(entry, "full", f"the admission queue {lack}", self._retry_after_s())
        else:
            self._shed(leaving, "full", "the admission queue is full and more urgent work has come", now_s)

    def _foresee(self, entry: Entry, now_s: float) -> None:
        remaining_s, slots = entry.urgency.deadline.remaining_s(), self._limit.max_in_flight
        longest_s = self._wait.wait_s(len(self._line), slots=slots)
        if longest_s is None or longest_s <= remaining_s:  # no need to find out who exactly would go before it
            return
        wait_s = self._wait.wait_s(self._line.ahead_of(entry, now_s), slots=slots)
        if wait_s is not None and wait_s > remaining_s:
            self._refuse(entry, "predicted wait", f"the predicted wait of {wait_s:g} s outlasts the deadline", wait_s)

    def _tend(self, flow: Flow, now_s: float, *, served: bool) -> None:
        self._tally.notice(flow, now_s)
        stale = self._line.stale(flow, now_s, served=served)
        self._shed(stale, "overload", "the line of the tenant is overloaded and newer work goes first", now_s)

    def _refuse(self, entry: Entry, reason: str, words: str, retry_after_s: float | None) -> NoReturn:
        self._tally.count_refused(entry.tenant, entry.urgency, reason, retry_after_s)
        raise self._backpressure(words, retry_after_s)

    def _shed(self, leaving: list[Entry], reason: str, words: str, now_s: float) -> None:
        for entry in leaving:
            retry_after_s = self._retry_after_s()
            refusal = self._backpressure(words, retry_after_s)
            self._line.remove(entry)
            entry.end(refusal)
            self._tally.count_shed(entry, reason, waited_s=now_s - entry.arrived_s, retry_after_s=retry_after_s)
            self._tally.notice(entry.flow, now_s)

    def _retry_after_s(self) -> float:
        return self._wait.retry_after_s(len(self._line), slots=self._limit.max_in_flight)

    def _backpressure(self, words: str, retry_after_s: float | None) -> BackpressureError:
        return BackpressureError(
            depth=len(self._line), capacity=self._capacity, retry_after_s=retry_after_s, reason=words
        )
