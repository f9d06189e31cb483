"""How long the last requests took.

Responsibility: keep the latest durations within a `MemorySafeBuffer`, and their percentiles.
Guarantees: flat memory, however many requests there are.
Not responsible for: histograms over hours: a telemetry system keeps those.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.domain.buffer import BufferConfig, MemorySafeBuffer
from holdfast.ports.statistics import LatencyStatistics

__all__ = ["RecentLatency", "percentile"]

_FLOAT_BYTES = 32  # a float object and the reference to it; CPython on 64 bits


class RecentLatency:
    """The durations of the last 500 to 1000 requests: at 1000 the buffer drops its older half.

    Example:
        >>> latency = RecentLatency()
        >>> for milliseconds in range(1, 101):
        ...     latency.record(milliseconds / 1000)
        >>> latency.statistics().p50_s, latency.statistics().p99_s
        (0.05, 0.099)
    """

    __slots__ = ("_durations_s",)

    def __init__(self) -> None:
        self._durations_s = MemorySafeBuffer[float](BufferConfig(max_items=1000), size_of=lambda _: _FLOAT_BYTES)

    def record(self, duration_s: float) -> None:
        """Add the duration of one request, in seconds."""
        self._durations_s.append(duration_s)

    def statistics(self) -> LatencyStatistics:
        """Return the percentiles, by nearest rank; None before the first request.

        Complexity: O(n log n) in the durations kept.
        """
        ascending = sorted(self._durations_s.items())
        return LatencyStatistics(
            p50_s=percentile(ascending, 50) if ascending else None,
            p99_s=percentile(ascending, 99) if ascending else None,
            buffer=self._durations_s.statistics(),
        )


def percentile(ascending: Sequence[float], percent: int) -> float:
    """Return a percentile of numbers in ascending order, of which there is at least one, by nearest rank.

    Example:
        >>> percentile([1.0, 2.0, 3.0, 4.0], 50)
        2.0
    """
    # In whole numbers: 0.99 * 100 is not 99 in binary.
    return ascending[-(-len(ascending) * percent // 100) - 1]
