"""The built-in answer to when a breaker trips.

Responsibility: trip on the share of failures, on the share of slow calls, or on failures in a row.
Guarantees: below `min_calls` no share trips; push-back counts as a failure, a slow success ends a row of failures.
Not responsible for: where the counts come from: see `holdfast.domain.call_window`.
Source: resilience4j `CircuitBreakerMetrics.checkIfThresholdsExceeded`; failures in a row: Envoy `consecutive_5xx`.
"""

from __future__ import annotations

from typing import Final

from holdfast.domain.breaker_config import BreakerConfig
from holdfast.domain.call_window import CallWindow, CountWindow, TimeWindow
from holdfast.ports.outcome import Outcome
from holdfast.ports.trip import TripPolicy

__all__ = ["RateTripPolicy"]


class RateTripPolicy:
    """Judges the calls of a window, and the row of failures that may end it.

    Args:
        config: the fields from `window_s` to `slow_ratio` are read.
    """

    __slots__ = ("_config", "_failures_in_row", "_window")

    def __init__(self, config: BreakerConfig) -> None:
        self._config = config
        self._window = _window(config)
        self._failures_in_row = 0

    def record(self, outcome: Outcome, *, now_s: float, error: Exception | None = None) -> bool:
        """Count one settled call; return True when a rule says that the breaker should open now."""
        del error  # what it was has been classified; how it looked changes nothing
        config = self._config
        self._window.record(outcome, now_s=now_s)
        counts = self._window.counts
        if outcome is Outcome.SUCCESS or outcome is Outcome.SLOW:
            self._failures_in_row = 0
        else:
            self._failures_in_row += 1
            if config.failures_in_row is not None and self._failures_in_row >= config.failures_in_row:
                return True
        if counts.calls < config.min_calls:
            return False
        if counts.failed >= config.failure_ratio * counts.calls:
            return True
        return config.slow_ratio is not None and counts.slow >= config.slow_ratio * counts.calls

    def reset(self, *, now_s: float) -> None:
        """Start with an empty window and no row of failures."""
        del now_s  # an empty window has no age
        self._window = _window(self._config)
        self._failures_in_row = 0


def _window(config: BreakerConfig) -> CallWindow:
    if config.window_calls is not None:
        return CountWindow(config.window_calls)
    return TimeWindow(config.window_s, config.window_buckets)


_: Final[type[TripPolicy]] = RateTripPolicy
