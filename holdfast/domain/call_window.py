"""The calls that are judged together.

Responsibility: keep the counts of the last calls, by time or by number.
Guarantees: recording is O(1) amortised and memory is fixed; `calls`, `failed` and `slow` always describe the same
    calls.
Not responsible for: what the counts mean: see `holdfast.domain.rate_trip_policy`.
Source: resilience4j `SlidingTimeWindowMetrics` keeps a running total beside its parts.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

from holdfast.ports.outcome import Outcome

__all__ = ["CallCounts", "CallWindow", "CountWindow", "TimeWindow"]


class CallCounts:
    """How many calls there were, and of those how many failed (push-back included) and how many were slow."""

    __slots__ = ("calls", "failed", "slow")

    def __init__(self) -> None:
        self.calls = 0
        self.failed = 0
        self.slow = 0

    def add(self, outcome: Outcome, times: int = 1) -> None:
        """Count one call; with `times` -1, take one away again."""
        self.calls += times
        if outcome is Outcome.SUCCESS:
            return
        if outcome is Outcome.SLOW:
            self.slow += times
        else:
            self.failed += times

    def subtract(self, other: CallCounts) -> None:
        """Take away what `other` counts."""
        self.calls -= other.calls
        self.failed -= other.failed
        self.slow -= other.slow


class CallWindow(Protocol):
    """The last calls, summed up."""

    @property
    def counts(self) -> CallCounts:
        """The sums, as of the last call recorded."""
        ...

    def record(self, outcome: Outcome, *, now_s: float) -> None:
        """Count one call, and forget those that are too old."""
        ...


class TimeWindow:
    """The calls of the last `window_s` seconds, in `buckets` parts; the oldest part is forgotten as a whole."""

    __slots__ = ("_bucket", "_bucket_ends_s", "_bucket_s", "_buckets", "_number", "counts")

    def __init__(self, window_s: float, buckets: int) -> None:
        self.counts = CallCounts()
        self._bucket_s = window_s / buckets
        self._buckets = [CallCounts() for _ in range(buckets)]
        self._number = 0
        self._bucket = self._buckets[0]
        self._bucket_ends_s = -math.inf

    def record(self, outcome: Outcome, *, now_s: float) -> None:
        """Count one call at `now_s`."""
        if now_s >= self._bucket_ends_s:
            self._slide_to(now_s)
        self._bucket.add(outcome)
        self.counts.add(outcome)

    def _slide_to(self, now_s: float) -> None:
        size = len(self._buckets)
        number = int(now_s // self._bucket_s)
        for stale in range(max(self._number, number - size) + 1, number + 1):
            self.counts.subtract(self._buckets[stale % size])
            self._buckets[stale % size] = CallCounts()
        self._number = number
        self._bucket = self._buckets[number % size]
        self._bucket_ends_s = (number + 1) * self._bucket_s


class CountWindow:
    """The last `size` calls, however old."""

    __slots__ = ("_last", "_size", "counts")

    def __init__(self, size: int) -> None:
        self.counts = CallCounts()
        self._size = size
        self._last: deque[Outcome] = deque()

    def record(self, outcome: Outcome, *, now_s: float) -> None:
        """Count one call; when it happened makes no difference."""
        del now_s
        if len(self._last) == self._size:
            self.counts.add(self._last.popleft(), times=-1)
        self._last.append(outcome)
        self.counts.add(outcome)
