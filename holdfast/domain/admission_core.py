"""Who is admitted, who waits and who is turned away: the synchronous part of admission.

Responsibility: decide for each arrival, each slot that comes back and each waiter that leaves.
Guarantees: every arrival ends granted, refused, shed, expired or cancelled, exactly once. Nobody waits while a slot is
    free: whoever gives one back hands it to the next in line, with those by which the limit has grown, and no arrival
    takes a slot past the line. An entry whose deadline has passed is never granted.
Not responsible for: waiting: see `holdfast.domain.admission`. The order: see `holdfast.domain.admission_line`.
Source: RFC 6298 section 2 for the smoothing of the slots' holding time.
"""

from __future__ import annotations

from dataclasses import replace

from holdfast.domain.adaptive_limit import AdaptiveLimit, LoadSignal
from holdfast.domain.admission_line import AdmissionLine, Entry
from holdfast.domain.concurrency_limit import ConcurrencyLimit, Permit
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import BackpressureError, ClosedError, DeadlineExceededError
from holdfast.ports.statistics import AdmissionStatistics, LimitStatistics

__all__ = ["AdmissionCore"]

_SMOOTHING_RATIO = 1 / 8
"""Weight of the latest holding time in the average; RFC 6298's alpha."""


class AdmissionCore:
    """Admits arrivals while there are slots, and puts the others in line. Nothing here awaits.

    Args:
        line: where entries wait.
        limit: the slots; only this object may take and release its permits, or waiters would not hear of free ones.
        adaptive: says how many slots there are, from the start; None leaves their number as it is.
    """

    __slots__ = (
        "_adaptive",
        "_cancelled",
        "_closed",
        "_expired",
        "_granted",
        "_granted_at_s",
        "_holding_s",
        "_limit",
        "_line",
        "_offered",
        "_refused",
        "_shed",
    )

    def __init__(self, line: AdmissionLine, limit: ConcurrencyLimit, adaptive: AdaptiveLimit | None = None) -> None:
        self._line = line
        self._limit = limit
        self._adaptive = adaptive
        if adaptive is not None:
            limit.resize(adaptive.limit)
        self._closed = False
        self._granted_at_s: dict[Permit, float] = {}
        self._holding_s: float | None = None
        self._offered = 0
        self._granted = 0
        self._refused = 0
        self._shed = 0
        self._expired = 0
        self._cancelled = 0

    def offer(self, *, size_bytes: int, urgency: Urgency, now_s: float) -> Permit | Entry:
        """Return a permit if a slot is free, or the entry that now waits for one.

        Raises:
            ClosedError, DeadlineExceededError, BackpressureError: as `AdmissionQueue.acquire` says.
        """
        self._offered += 1
        if self._closed:
            self._refused += 1
            raise ClosedError("the admission queue")
        if urgency.deadline.has_passed():
            self._expired += 1
            raise DeadlineExceededError
        permit = self._limit.try_acquire()
        if permit is not None:  # then nobody is in line, or they would have it
            self._grant(permit, now_s)
            return permit
        entry = self._line.entry(size_bytes=size_bytes, urgency=urgency, now_s=now_s)
        self._make_room(entry)
        self._line.add(entry)
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
        held_s = now_s - granted_at_s
        if self._holding_s is None:
            self._holding_s = held_s
        else:
            self._holding_s += (held_s - self._holding_s) * _SMOOTHING_RATIO
        if self._adaptive is not None:
            in_flight = len(self._granted_at_s)
            self._limit.resize(self._adaptive.record(signal, began_s=granted_at_s, in_flight=in_flight, now_s=now_s))
        self._hand_on(permit, now_s)

    def withdraw(self, entry: Entry, *, now_s: float) -> None:
        """Take `entry` out, because its owner was cancelled; a slot that it was given meanwhile goes to the next."""
        if entry.waiting:
            self._line.remove(entry)
            if entry.urgency.deadline.has_passed():
                self._expired += 1
            else:
                self._cancelled += 1
        elif isinstance(entry.outcome, Permit):
            # Not a holding time: nobody has used the slot.
            self._hand_on(entry.outcome, now_s)

    def close(self) -> None:
        """Refuse whatever comes from now on; those in line keep their places."""
        self._closed = True

    def statistics(self) -> AdmissionStatistics:
        """Return who waits, and how everybody else ended."""
        return AdmissionStatistics(
            waiting=len(self._line),
            waiting_bytes=self._line.size_bytes,
            offered=self._offered,
            granted=self._granted,
            refused=self._refused,
            shed=self._shed,
            expired=self._expired,
            cancelled=self._cancelled,
            limit=self._limit_statistics(),
        )

    def _limit_statistics(self) -> LimitStatistics:
        counted, adaptive = self._limit.statistics(), self._adaptive
        if adaptive is None:
            return counted
        return replace(counted, baseline_s=adaptive.baseline_s, recent_s=adaptive.recent_s)

    def _grant(self, permit: Permit, now_s: float) -> None:
        self._granted += 1
        self._granted_at_s[permit] = now_s

    def _hand_on(self, permit: Permit, now_s: float) -> None:
        del self._granted_at_s[permit]
        self._limit.release(permit)
        while self._line and (freed := self._limit.try_acquire()) is not None:
            entry = self._line.pop_first()
            if entry.urgency.deadline.has_passed():
                self._expired += 1
                self._limit.release(freed)
                entry.end(DeadlineExceededError())
            else:
                self._grant(freed, now_s)
                entry.end(freed)

    def _make_room(self, entry: Entry) -> None:
        line = self._line
        if entry.size_bytes > line.max_bytes:
            self._refused += 1
            raise self._refusal(f"{entry.size_bytes} bytes are more than may wait, {line.max_bytes}", None)
        wait_s = self._predicted_wait_s(line.ahead_of(entry))
        if wait_s is not None and wait_s > entry.urgency.deadline.remaining_s():
            self._refused += 1
            raise self._refusal(f"the predicted wait of {wait_s:g} s outlasts the deadline", wait_s)
        retry_after_s = self._predicted_wait_s(len(line))
        leaving = line.in_the_way_of(entry)
        if leaving is None:
            self._refused += 1
            raise self._refusal("the admission queue is full", retry_after_s)
        for last in leaving:
            refusal = self._refusal("the admission queue is full and more urgent work has come", retry_after_s)
            line.remove(last)
            self._shed += 1
            last.end(refusal)

    def _predicted_wait_s(self, ahead: int) -> float | None:
        """Return how long `ahead` entries take to be admitted; None before the first slot has come back."""
        if self._holding_s is None:
            return None
        return ahead * self._holding_s / self._limit.statistics().limit

    def _refusal(self, reason: str, retry_after_s: float | None) -> BackpressureError:
        return BackpressureError(
            depth=len(self._line), capacity=self._line.max_waiting, retry_after_s=retry_after_s, reason=reason
        )
