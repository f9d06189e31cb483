"""When a call is asked a second time beside the first, decided without waiting.

Responsibility: how long a call may take before it is hedged, whether it may be, and what came of it.
Guarantees: second attempts are never more than `max_ratio` of the calls, over any history, and at most
    `MOST_SAVED_HEDGES` follow on each other without calls that earn them; each one holds a permit of the retry budget;
    the delay comes from first attempts only, so hedging does not change what it is measured by.
Not responsible for: running the attempts, and cancelling the one that lost: see `holdfast.domain.hedge`.
Sources: J. Dean, L. A. Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013: hedge at the 95th
    percentile, for about 5 % more load; Finagle's `BackupRequestFilter`: a budget of its own, and that of the retries.

What is a sample. Each call gives at most one: how long its first attempt took to succeed. An attempt that was cancelled
because the second one won has no such time, but leaving it out would take the slowest calls out of the samples, move
the percentile down, and make ever more calls look slow. So it counts with the time for which it had run by then: too
little, but more than the percentile when it was hedged, and a rank needs to know no more than that. The second attempt
gives no sample, however it ends: one that won was fast because it won, and one that was cancelled was cancelled early.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, assert_never

from holdfast.domain.live_percentile import LivePercentile
from holdfast.domain.retry_budget import RetryBudget, RetryPermit
from holdfast.domain.validation import (
    require_at_least,
    require_between,
    require_not_below,
    require_positive,
    require_ratio,
)
from holdfast.ports.events import EventSink, HedgeLaunched, HedgeRefused, HedgeWon
from holdfast.ports.statistics import HedgeStatistics

__all__ = ["MOST_SAVED_HEDGES", "HedgeConfig", "HedgeCore", "HedgeEnd"]

MOST_SAVED_HEDGES: Final = 10
"""Second attempts that may be saved up: when a peer stalls after a quiet hour, no more follow at once; unmeasured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeConfig:
    """When a call is hedged.

    Args:
        percent: the percentile of the latencies after which a call is hedged, from 1 to 99. Default 95, as in "The Tail
            at Scale".
        max_ratio: share of the calls that may be hedged, above 0 and at most 1. Default 0.05, the share that is slower
            than the 95th percentile.
        min_samples: latencies to know before the first hedge, from 1. Default 100, of which five are slower than the
            95th percentile; unmeasured.
        max_samples: latest latencies that count, at least `min_samples`. Default 1000; unmeasured.
        min_delay_s: seconds before which no call is hedged, above 0. Default 0.001, Finagle's `MinSendBackupAfterMs`,
            and what an event loop's timers can tell apart.

    Raises:
        ConfigurationError: if a value is out of its range.
    """

    percent: int = 95
    max_ratio: float = 0.05
    min_samples: int = 100
    max_samples: int = 1000
    min_delay_s: float = 0.001

    def __post_init__(self) -> None:
        require_between("hedge.percent", self.percent, 1, 99)
        require_ratio("hedge.max_ratio", self.max_ratio)
        require_at_least("hedge.min_samples", self.min_samples, 1)
        require_not_below("hedge.max_samples", self.max_samples, "hedge.min_samples", self.min_samples)
        require_positive("hedge.min_delay_s", self.min_delay_s)


class HedgeEnd(enum.Enum):
    """How a call ended that was hedged."""

    WON = enum.auto()
    """The second attempt answered, and the first had not."""
    LOST = enum.auto()
    """The first attempt answered."""
    FAILED = enum.auto()
    """Neither did."""
    ABANDONED = enum.auto()
    """The caller was cancelled before either did."""


class HedgeCore:
    """What all calls of one peer share. Nothing here awaits.

    Args:
        name: the peer's, in events.
        config: when to hedge.
        budget: that of the peer's retries; a hedge is one of them.
        events: who hears of hedges.

    Example:
        >>> from holdfast.testing import ManualClock
        >>> core = HedgeCore("echo", HedgeConfig(min_samples=20), budget=RetryBudget(clock=ManualClock()))
        >>> for milliseconds in range(1, 21):
        ...     core.begin()
        ...     core.record(milliseconds / 1000)
        >>> core.begin()
        0.019
        >>> permit = core.try_launch(0.019)
        >>> core.settle(HedgeEnd.WON)
        >>> core.statistics().won, core.try_launch(0.019)
        (1, None)
    """

    __slots__ = (
        "_abandoned",
        "_budget",
        "_calls",
        "_calls_for_a_hedge",
        "_events",
        "_failed",
        "_latency",
        "_lost",
        "_min_delay_s",
        "_most_saved_calls",
        "_name",
        "_running",
        "_saved_calls",
        "_without_credit",
        "_without_room",
        "_without_token",
        "_won",
    )

    def __init__(self, name: str, config: HedgeConfig, *, budget: RetryBudget, events: EventSink | None = None) -> None:
        self._name = name
        self._budget = budget
        self._events = events
        self._latency = LivePercentile(config.percent, min_samples=config.min_samples, max_samples=config.max_samples)
        self._min_delay_s = config.min_delay_s
        # Counted in calls, of which a hedge uses up 1 / max_ratio: 20 of them add up exactly, and 20 times 0.05 do not.
        self._calls_for_a_hedge = 1 / config.max_ratio
        self._most_saved_calls = MOST_SAVED_HEDGES * self._calls_for_a_hedge
        self._saved_calls = 0.0
        self._calls = 0
        self._without_credit = self._without_token = self._without_room = 0
        self._running = self._won = self._lost = self._failed = self._abandoned = 0

    def begin(self) -> float | None:
        """Count a call, and return the seconds after which it is to be hedged; None while too few latencies are known.

        Complexity: O(1).
        """
        self._calls += 1
        self._saved_calls = min(self._saved_calls + 1, self._most_saved_calls)
        latency_s = self._latency.value_s
        return None if latency_s is None else max(latency_s, self._min_delay_s)

    def record(self, latency_s: float) -> None:
        """Take note of how long a first attempt took to succeed, or how long it had run when the second one won.

        A time below zero says that the clock was set back, and is left out.
        """
        if latency_s >= 0:
            self._latency.record(latency_s)

    def try_launch(self, after_s: float) -> RetryPermit | None:
        """Return the permit of a second attempt, which begins now, or None if it may not.

        Settle both in every case: the permit when the attempt ends, and the call with `settle`.
        """
        reason = "without_credit"
        if self._saved_calls < self._calls_for_a_hedge:
            self._without_credit += 1
        elif (permit := self._budget.try_spend()) is None:
            self._without_token += 1
            reason = "without_token"
        elif not permit.try_begin():
            self._without_room += 1
            reason = "without_room"
        else:
            self._saved_calls -= self._calls_for_a_hedge
            self._running += 1
            if self._events is not None:
                self._events.emit(HedgeLaunched(backend=self._name, after_s=after_s))
            return permit
        if self._events is not None:
            self._events.emit(HedgeRefused(backend=self._name, reason=reason))
        return None

    def settle(self, end: HedgeEnd) -> None:
        """Say how a call ended for which `try_launch` gave a permit; once for each."""
        self._running -= 1
        match end:
            case HedgeEnd.WON:
                self._won += 1
                if self._events is not None:
                    self._events.emit(HedgeWon(backend=self._name))
            case HedgeEnd.LOST:
                self._lost += 1
            case HedgeEnd.FAILED:
                self._failed += 1
            case HedgeEnd.ABANDONED:
                self._abandoned += 1
            case _:
                assert_never(end)

    def statistics(self) -> HedgeStatistics:
        """Return what was counted so far, and the delay that holds now."""
        hedged = self._running + self._won + self._lost + self._failed + self._abandoned
        latency_s = self._latency.value_s
        return HedgeStatistics(
            calls=self._calls,
            due=hedged + self._without_credit + self._without_token + self._without_room,
            hedged=hedged,
            running=self._running,
            won=self._won,
            lost=self._lost,
            failed=self._failed,
            abandoned=self._abandoned,
            without_credit=self._without_credit,
            without_token=self._without_token,
            without_room=self._without_room,
            samples=len(self._latency),
            delay_s=None if latency_s is None else max(latency_s, self._min_delay_s),
        )
