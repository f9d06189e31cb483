"""A percentile that follows the latest durations.

Responsibility: keep a bounded number of durations in order, so that their percentile can be read with every call.
Guarantees: the percentile is exact, by nearest rank, over the durations kept; memory is flat; no call costs much more
    than another, because nothing is sorted anew.
Not responsible for: which durations say something, and what follows from them: see `holdfast.domain.hedge_core`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

from holdfast.domain.latency import percentile

__all__ = ["LivePercentile"]


class LivePercentile:
    """A percentile of the last `max_samples` durations.

    Args:
        percent: which one, 1-99.
        min_samples: how many durations it takes before there is a percentile; from 1.
        max_samples: how many are kept; at least `min_samples`.

    Attributes:
        value_s: the percentile, in seconds; None until there are `min_samples`.

    Example:
        >>> p95 = LivePercentile(95, min_samples=20, max_samples=100)
        >>> for milliseconds in range(1, 21):
        ...     p95.record(milliseconds / 1000)
        >>> p95.value_s
        0.019
    """

    __slots__ = ("_ascending", "_latest", "_max_samples", "_min_samples", "_percent", "value_s")

    def __init__(self, percent: int, *, min_samples: int, max_samples: int) -> None:
        self._percent = percent
        self._min_samples = min_samples
        self._max_samples = max_samples
        self._latest: deque[float] = deque()
        self._ascending: list[float] = []
        self.value_s: float | None = None

    def __len__(self) -> int:
        return len(self._latest)

    def record(self, duration_s: float) -> None:
        """Add a duration, in seconds; at the bound the oldest one makes room.

        Complexity: O(log n) comparisons, and one move of at most n references within a list.
        """
        ascending = self._ascending
        if len(self._latest) == self._max_samples:
            del ascending[bisect_left(ascending, self._latest.popleft())]
        self._latest.append(duration_s)
        insort(ascending, duration_s)
        if len(ascending) >= self._min_samples:
            self.value_s = percentile(ascending, self._percent)
