"""What a circuit breaker can be told.

Responsibility: every tunable of `CircuitBreaker`, with its default, its unit and where the default comes from.
Guarantees: a value that exists is valid; a wrong one raises `ConfigurationError` naming its path.
Not responsible for: reading it from anywhere: see `holdfast.application.settings`.
Sources: Polly v8 `CircuitBreakerStrategyOptions` (https://www.pollydocs.org/strategies/circuit-breaker), resilience4j
    `CircuitBreakerConfig`, Envoy outlier detection and gRFC A50, which restates it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from holdfast.domain.validation import (
    require,
    require_at_least,
    require_between,
    require_not_below,
    require_positive,
    require_ratio,
)

__all__ = ["BreakerConfig", "BreakerMode"]


class BreakerMode(enum.StrEnum):
    """Who decides whether calls are admitted."""

    AUTOMATIC = "automatic"
    """The breaker does, from what it sees: closed, open, half-open."""
    FORCED_OPEN = "forced_open"
    """An operator does: no call is admitted."""
    DISABLED = "disabled"
    """An operator does: every call is admitted and counted, none is judged."""
    METRICS_ONLY = "metrics_only"
    """An operator does: every call is admitted and judged, and `would_have_opened` says what that would have done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerConfig:
    """When a breaker opens, for how long, and what closes it again.

    The fields up to `slow_ratio` are for the built-in `RateTripPolicy`; a trip policy of your own has its own.

    Args:
        window_s: seconds of calls that are judged together (default 30; Polly).
        window_buckets: parts of the window; the oldest is dropped as a whole, so that the window is exact to
            `window_s / window_buckets` (1000 at most, unmeasured; default 10; Hystrix
            `metrics.rollingStats.numBuckets`).
        window_calls: judge the last so many calls instead of the last seconds; None judges by time (default None).
        min_calls: calls that the window must hold before a ratio means anything (default 20; Hystrix
            `requestVolumeThreshold`).
        failure_ratio: share of failures and push-backs in the window, 0-1, at which the breaker opens (default 0.5;
            resilience4j `failureRateThreshold`).
        failures_in_row: failures and push-backs in a row at which it opens, however few calls there were; None switches
            this rule off (default 5; Envoy `consecutive_5xx`).
        slow_ratio: share of slow calls in the window, 0-1, at which it opens; needs `slow_after_s`; None switches this
            rule off (default None).
        slow_after_s: seconds from which a successful call counts as slow; a slow probe is a failed one; None: no call
            is slow (default None).
        open_s: seconds that it stays open the first time, before jitter (default 5; Polly `BreakDuration`).
        max_open_s: seconds that it stays open at most, whatever the peer asks for (default 300; Envoy
            `max_ejection_time`).
        forget_opening_s: each time it has been closed for so many seconds, one earlier opening no longer lengthens the
            next (default 10; Envoy and gRFC A50 lower the multiplier by one at each healthy `interval`).
        probe_calls: probes that are judged together when half-open (default 3; unmeasured).
        probe_successes: how many of them must succeed to close it; it opens again as soon as too many have failed for
            that (default 3, so that one failure is enough; unmeasured).
        probe_timeout_s: seconds after which a probe that has not settled opens it again; more than a call that succeeds
            may take (default 60; unmeasured).
        mode: who decides at the start; `CircuitBreaker.switch_to` changes it (default automatic).
    """

    window_s: float = 30.0
    window_buckets: int = 10
    window_calls: int | None = None
    min_calls: int = 20
    failure_ratio: float = 0.5
    failures_in_row: int | None = 5
    slow_ratio: float | None = None
    slow_after_s: float | None = None
    open_s: float = 5.0
    max_open_s: float = 300.0
    forget_opening_s: float = 10.0
    probe_calls: int = 3
    probe_successes: int = 3
    probe_timeout_s: float = 60.0
    mode: BreakerMode = BreakerMode.AUTOMATIC

    def __post_init__(self) -> None:
        require_positive("breaker.window_s", self.window_s)
        require_between("breaker.window_buckets", self.window_buckets, 1, 1000)
        require_at_least("breaker.min_calls", self.min_calls, 1)
        if self.window_calls is not None:
            # A smaller window could never hold min_calls, and the ratios would silently never apply.
            require_not_below("breaker.window_calls", self.window_calls, "breaker.min_calls", self.min_calls)
        require_ratio("breaker.failure_ratio", self.failure_ratio)
        if self.failures_in_row is not None:
            require_at_least("breaker.failures_in_row", self.failures_in_row, 1)
        if self.slow_after_s is not None:
            require_positive("breaker.slow_after_s", self.slow_after_s)
        if self.slow_ratio is not None:
            require_ratio("breaker.slow_ratio", self.slow_ratio)
            require(
                self.slow_after_s is not None, "needs breaker.slow_after_s to be set too", path="breaker.slow_ratio"
            )
        require_positive("breaker.open_s", self.open_s)
        require_not_below("breaker.max_open_s", self.max_open_s, "breaker.open_s", self.open_s)
        require_positive("breaker.forget_opening_s", self.forget_opening_s)
        require_at_least("breaker.probe_successes", self.probe_successes, 1)
        require_not_below("breaker.probe_calls", self.probe_calls, "breaker.probe_successes", self.probe_successes)
        require_positive("breaker.probe_timeout_s", self.probe_timeout_s)
