"""What a rate limit adds to a call: reserve and settle, within the limit."""

from __future__ import annotations

import sys

from harness import Row, measure, report

from holdfast.adapters.system.clock import SystemClock
from holdfast.domain.rate_limit import RateLimit, RateLimitConfig
from holdfast.ports.errors import RateLimitedError

_BUDGET_P50_US = 2.0
_OPEN = 200


def _limit(*, requests: bool = False, tokens: bool = False) -> RateLimit:
    """Return a limit that is always in use and never used up, so that it neither refuses nor runs dry."""
    config = RateLimitConfig(
        requests_per_minute=60.0 if requests else None,
        tokens_per_minute=60.0 if tokens else None,
        burst_requests=1e12 if requests else None,
        burst_tokens=1e12 if tokens else None,
    )
    limit = RateLimit("backend 'a'", config, clock=SystemClock())
    limit.reserve(1000).settle(1000)
    return limit


def _settled(path: str, limit: RateLimit, budget_p50_us: float | None = _BUDGET_P50_US) -> Row:
    return measure(path, lambda: limit.reserve(300).settle(250), budget_p50_us=budget_p50_us)


def _cancelled() -> Row:
    limit = _limit(requests=True, tokens=True)
    return measure("reserve and cancel, both", lambda: limit.reserve(300).cancel(), budget_p50_us=_BUDGET_P50_US)


def _refused() -> Row:
    limit = RateLimit("backend 'a'", RateLimitConfig(requests_per_minute=0.001), clock=SystemClock())
    limit.reserve(1).settle(1)

    def refuse() -> None:
        try:
            limit.reserve(300)
        except RateLimitedError:
            return

    return measure("refusal", refuse)


def main() -> bool:
    """Print the table and return whether a reservation keeps to its budget."""
    crowded = _limit(requests=True, tokens=True)
    others = [crowded.reserve(300) for _ in range(_OPEN)]
    rows = [
        _settled("reserve and settle, requests", _limit(requests=True)),
        _settled("reserve and settle, tokens", _limit(tokens=True)),
        _settled("reserve and settle, both", _limit(requests=True, tokens=True)),
        _settled(f"reserve and settle, both, {_OPEN} others open", crowded, None),
        _cancelled(),
        _refused(),
    ]
    for other in others:
        other.cancel()
    return report("Rate limit", rows)


if __name__ == "__main__":
    sys.exit(not main())
