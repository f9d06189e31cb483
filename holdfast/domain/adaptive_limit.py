"""How many calls may run at once, told from how long they take.

Responsibility: move a limit by the latencies of the calls that it admits.
Guarantees: the limit stays between its bounds and moves at most once in each window, which is also at least one round
    trip; a call that ended without saying anything about load changes nothing; while less than half of
    the limit is in use, latency does not move it, measurements of the baseline aside.
Not responsible for: holding permits: see `holdfast.domain.concurrency_limit`. Waiters: see
    `holdfast.domain.admission_core`.
Sources: Netflix concurrency-limits `Gradient2Limit` and `WindowedLimit`; Envoy's adaptive concurrency filter. Why it
    differs from them: adr/0013.

A window is judged by the 90th percentile of its latencies, against the same percentile of a quiet one, the baseline:

- up to `tolerance_ratio` times the baseline, the limit grows by its square root, to at most twice the calls in flight;
- beyond, it shrinks in proportion to the excess, at most by half;
- pushed back or timed out, it shrinks at least to nine tenths.

Overload must not pass for normal, so the baseline follows falling latencies only. What has become slower for good is
found by measuring it anew every `remeasure_s`, in a window for which the limit is halved; and halved again for as long
as that makes the calls faster by the tolerance, which means that there was load in the baseline.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from holdfast.domain.cancellation import is_cancellation
from holdfast.domain.deadline import Deadline
from holdfast.domain.latency import percentile
from holdfast.domain.outcomes import classify
from holdfast.domain.validation import require_at_least, require_not_below, require_positive
from holdfast.ports.events import EventSink, LimitChanged
from holdfast.ports.outcome import Outcome

__all__ = ["AdaptiveLimit", "AdaptiveLimitConfig", "LoadSignal", "load_signal"]

_PERCENT: Final = 90
"""Which percentile of the latencies counts; failsafe-go's."""

_LEAST_RATIO: Final = 0.5
"""What one window leaves of the limit at least; Netflix' and Envoy's."""

_OVERLOADED_RATIO: Final = 0.9
"""What a window with push-back or a timeout leaves of it at most; the back-off of Netflix' `AIMDLimit`."""

_FOLLOWING_RATIO: Final = 1 / 8
"""Weight of a faster window in the baseline; RFC 6298's alpha."""

_LEAST_BASELINE_S: Final = 0.001
"""The resolution of an event loop's timers: differences between shorter latencies say nothing about load."""

_MOST_SAMPLES: Final = 1000
"""Latencies kept of one window, the latest ones; unmeasured."""


class LoadSignal(enum.Enum):
    """What the end of one call says about the load on what it called."""

    COMPLETED = "completed"
    """It was answered: how long it took is a sample."""
    OVERLOADED = "overloaded"
    """It was pushed back, or not answered in time."""
    NEUTRAL = "neutral"
    """Nothing: it was cancelled or refused, or failed for reasons of its own, often faster than an answer takes."""


def load_signal(error: BaseException, deadline: Deadline) -> LoadSignal:
    """Return what a call that ended with `error` says about load.

    A cancellation says nothing, unless the deadline has passed: then the answer did not come in time (adr/0011).
    """
    if not isinstance(error, Exception):
        late = deadline.has_passed() and is_cancellation(error)
        return LoadSignal.OVERLOADED if late else LoadSignal.NEUTRAL
    outcome = classify(error).outcome
    timed_out = outcome is Outcome.FAILURE and isinstance(error, TimeoutError)
    return LoadSignal.OVERLOADED if timed_out or outcome is Outcome.REJECTED_BY_PEER else LoadSignal.NEUTRAL


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveLimitConfig:
    """Between which bounds the limit moves, and how readily.

    Args:
        min_limit: the lowest limit; default 1, failsafe-go's.
        initial_limit: where it begins; default 20, Netflix' and failsafe-go's.
        max_limit: the highest limit; default 200, Netflix' and failsafe-go's.
        window_s: seconds that a window lasts at least; default 1, Netflix' `WindowedLimit`.
        min_samples: answers that a window needs before it is judged, and at least one for each call in flight;
            default 10, Netflix' `WindowedLimit`.
        tolerance_ratio: how many times the baseline still passes for no load; default 1.5, Netflix' `Gradient2Limit`.
        remeasure_s: seconds between two measurements of the baseline; default 60, Envoy's example. Each costs up
            to half of the throughput for about two round trips.

    Raises:
        ConfigurationError: if the limits are not in order, a time is not above 0, or a number is below 1.
    """

    min_limit: int = 1
    initial_limit: int = 20
    max_limit: int = 200
    window_s: float = 1.0
    min_samples: int = 10
    tolerance_ratio: float = 1.5
    remeasure_s: float = 60.0

    def __post_init__(self) -> None:
        require_at_least("adaptive_limit.min_limit", self.min_limit, 1)
        require_not_below(
            "adaptive_limit.initial_limit", self.initial_limit, "adaptive_limit.min_limit", self.min_limit
        )
        require_not_below(
            "adaptive_limit.max_limit", self.max_limit, "adaptive_limit.initial_limit", self.initial_limit
        )
        require_positive("adaptive_limit.window_s", self.window_s)
        require_at_least("adaptive_limit.min_samples", self.min_samples, 1)
        require_at_least("adaptive_limit.tolerance_ratio", self.tolerance_ratio, 1.0)
        require_positive("adaptive_limit.remeasure_s", self.remeasure_s)


class AdaptiveLimit:
    """A limit that follows what the calls under it experience. Nothing here awaits.

    Args:
        config: its bounds, and how readily it moves.
        events: told of each move.

    Attributes:
        limit: how many calls may run at once now.
        baseline_s: what a call takes without load, in seconds; None before the first window has been judged.
        recent_s: what it took in the last window that was judged, in seconds; None before the first one.

    Example:
        >>> limit = AdaptiveLimit(AdaptiveLimitConfig(initial_limit=4, min_samples=4))
        >>> for second in range(1, 13):
        ...     _ = limit.record(LoadSignal.COMPLETED, began_s=second - 0.5, in_flight=4, now_s=float(second))
        >>> limit.limit, limit.baseline_s
        (6, 0.5)
    """

    __slots__ = (
        "_config",
        "_estimate",
        "_events",
        "_measured_at_s",
        "_overloaded",
        "_peak",
        "_remeasuring",
        "_samples_s",
        "_seen",
        "_window_at_s",
        "baseline_s",
        "limit",
        "recent_s",
    )

    def __init__(self, config: AdaptiveLimitConfig = AdaptiveLimitConfig(), *, events: EventSink | None = None) -> None:
        self._config = config
        self._events = events
        self._estimate = float(config.initial_limit)
        self._measured_at_s = 0.0
        self._remeasuring = False
        self._samples_s: deque[float] = deque(maxlen=_MOST_SAMPLES)
        self._open_window(-math.inf)
        self.limit = config.initial_limit
        self.baseline_s: float | None = None
        self.recent_s: float | None = None

    def _open_window(self, now_s: float) -> None:
        self._window_at_s = now_s
        self._samples_s.clear()
        self._seen = 0
        self._peak = 0
        self._overloaded = False

    def record(self, signal: LoadSignal, *, began_s: float, in_flight: int, now_s: float) -> int:
        """Take note of how one call ended, and return the limit from now on.

        A call that began before the window did counts for nothing: it ran under an earlier limit. So every window is a
        round trip, and one event that hits many calls at once shrinks the limit once.

        Args:
            signal: what its end says.
            began_s: when its permit was granted.
            in_flight: how many calls ran when it ended, itself included.
            now_s: when it ended.

        Complexity: O(1), and once in a window O(n log n) in its samples, of which at most 1000 are kept.
        """
        if signal is LoadSignal.NEUTRAL or began_s < self._window_at_s:
            return self.limit
        if signal is LoadSignal.COMPLETED:
            self._samples_s.append(now_s - began_s)
            self._seen += 1
        else:
            self._overloaded = True
        self._peak = max(self._peak, in_flight)
        if now_s - self._window_at_s >= self._config.window_s:
            if self._seen >= max(self._config.min_samples, self._peak):
                self._judge(now_s)
            elif self._overloaded:
                self._settle(self._estimate, now_s)
        return self.limit

    def _judge(self, now_s: float) -> None:
        recent_s = self.recent_s = max(_LEAST_BASELINE_S, percentile(sorted(self._samples_s), _PERCENT))
        baseline_s, estimate = self.baseline_s, self._estimate
        if baseline_s is None:
            # Taken under the initial limit, which may be too high already: measured anew at once.
            self.baseline_s = recent_s
            self._remeasuring = True
        elif self._remeasuring:
            self.baseline_s = recent_s
            self._measured_at_s = now_s
            self._remeasuring = recent_s * self._config.tolerance_ratio < baseline_s
            if self._remeasuring:  # there was load in the baseline, so there may be some left
                estimate /= 2
        else:
            estimate = self._moved(baseline_s, recent_s)
            self.baseline_s = baseline_s + min(0.0, recent_s - baseline_s) * _FOLLOWING_RATIO
            self._remeasuring = now_s - self._measured_at_s >= self._config.remeasure_s
        self._settle(estimate, now_s)

    def _moved(self, baseline_s: float, recent_s: float) -> float:
        estimate, within_reach = self._estimate, 2.0 * self._peak
        if within_reach < self.limit:  # something else is what limits the calls
            return estimate
        gradient = self._config.tolerance_ratio * baseline_s / recent_s
        if gradient < 1:
            return estimate * max(_LEAST_RATIO, gradient)
        # Growth only without any excess: headroom that is added while shrinking lets the limit creep up under constant
        # overload (Netflix/concurrency-limits, pull request 134).
        return min(estimate + math.sqrt(estimate), within_reach)

    def _settle(self, estimate: float, now_s: float) -> None:
        if self._overloaded:
            estimate = min(estimate, self._estimate * _OVERLOADED_RATIO)
        config = self._config
        self._estimate = min(max(estimate, config.min_limit), config.max_limit)
        before = self.limit
        self.limit = max(config.min_limit, int(self._estimate / 2 if self._remeasuring else self._estimate))
        self._open_window(now_s)
        if self._events is not None and self.limit != before:
            self._events.emit(
                LimitChanged(before=before, after=self.limit, recent_s=self.recent_s, baseline_s=self.baseline_s)
            )
