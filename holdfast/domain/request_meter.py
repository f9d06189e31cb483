"""How many requests there are, and how they end.

Responsibility: count every request once when it comes and once when it ends, and how many there were lately.
Guarantees: `statistics()` adds up at every moment; memory is fixed; a clock that goes back counts into the newest part
    of the window and forgets nothing early.
Not responsible for: how long requests take: see `holdfast.domain.latency`.
"""

from __future__ import annotations

import enum
from typing import Final

from holdfast.domain.cancellation import is_cancellation
from holdfast.ports.errors import DeadlineExceededError, RefusedError, RequestError
from holdfast.ports.statistics import RequestStatistics

__all__ = ["Ending", "RequestMeter", "ending_of"]

_WINDOW_S: Final = 60
"""Seconds over which rates are told, as the first of the three load averages of uptime(1)."""


class Ending(enum.StrEnum):
    """How a request ended."""

    ANSWERED = "answered"
    INVALID = "invalid"
    """The request was wrong as it stood."""
    REFUSED = "refused"
    EXPIRED = "expired"
    """Its deadline passed."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    """Its caller went away."""


def ending_of(raised: BaseException | None) -> Ending:
    """Return how a request ended that raised `raised`, or nothing."""
    match raised:
        case None:
            return Ending.ANSWERED
        case RequestError():
            return Ending.INVALID
        case RefusedError():
            return Ending.REFUSED
        case DeadlineExceededError():
            return Ending.EXPIRED
        case Exception():
            return Ending.FAILED
        case _:
            gone = isinstance(raised, GeneratorExit) or is_cancellation(raised)
            return Ending.CANCELLED if gone else Ending.FAILED


class RequestMeter:
    """Counts requests. For one event loop.

    Example:
        >>> meter = RequestMeter()
        >>> meter.begin(now_s=0.0)
        >>> meter.end(Ending.ANSWERED, now_s=0.5)
        >>> meter.statistics(now_s=1.0).answered
        1
    """

    __slots__ = ("_ended", "_ended_lately", "_received", "_received_lately")

    def __init__(self) -> None:
        self._received = 0
        self._received_lately = _LastMinute()
        self._ended = dict.fromkeys(Ending, 0)
        self._ended_lately = _LastMinute()

    def begin(self, *, now_s: float) -> None:
        """Count a request that comes."""
        self._received += 1
        self._received_lately.count(now_s)

    def end(self, ending: Ending, *, now_s: float) -> None:
        """Count the end of a request; once for each that came."""
        self._ended[ending] += 1
        if ending is Ending.ANSWERED:
            self._ended_lately.count(now_s)

    def statistics(self, *, now_s: float) -> RequestStatistics:
        """Return what was counted, with the rates of the last minute."""
        ended = self._ended
        return RequestStatistics(
            received=self._received,
            in_flight=self._received - sum(ended.values()),
            answered=ended[Ending.ANSWERED],
            invalid=ended[Ending.INVALID],
            refused=ended[Ending.REFUSED],
            expired=ended[Ending.EXPIRED],
            failed=ended[Ending.FAILED],
            cancelled=ended[Ending.CANCELLED],
            received_per_s=self._received_lately.per_s(now_s),
            answered_per_s=self._ended_lately.per_s(now_s),
        )


class _LastMinute:
    """Counts by the second, in a ring."""

    __slots__ = ("_counts", "_newest")

    def __init__(self) -> None:
        self._counts = [0] * _WINDOW_S
        self._newest: int | None = None

    def count(self, now_s: float) -> None:
        self._counts[self._slide_to(now_s) % _WINDOW_S] += 1

    def per_s(self, now_s: float) -> float:
        self._slide_to(now_s)
        return sum(self._counts) / _WINDOW_S

    def _slide_to(self, now_s: float) -> int:
        second = int(now_s // 1)
        newest = second if self._newest is None else self._newest
        for stale in range(max(newest, second - _WINDOW_S) + 1, second + 1):
            self._counts[stale % _WINDOW_S] = 0
        self._newest = max(newest, second)
        return self._newest
