"""The settings of a rate limit.

Responsibility: how much gets through in a minute, and how long a peer can stop it.
Guarantees: refused at construction, naming the setting, when a value cannot work or contradicts another.
Not responsible for: what the limit does with them: see `holdfast.domain.rate_limit`.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.domain.validation import require, require_at_least, require_positive

__all__ = ["RateLimitConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitConfig:
    """How much gets through; at least one of both rates.

    Args:
        requests_per_minute: above 0; None does not limit requests.
        tokens_per_minute: tokens read and written together, above 0; None does not limit tokens.
        burst_requests: requests that are let through at once after a pause, at least 1, and 2 where processes share the
            limit; None for a minute's worth, as with providers whose bucket holds their limit for a minute.
        burst_tokens: as `burst_requests`, of tokens. A request that is estimated at more is never let through.
        max_pause_s: seconds that a peer's hint stops everything at most; 0 ignores hints. Default 60, as the longest
            Retry-After that `RetryPolicy` honours.
        max_debt_s: seconds of the rate that are kept of what calls used beyond a full burst; what is more is forgiven,
            so that one absurd report of a peer does not shut it out for good. Default 3600, unmeasured.

    Raises:
        ConfigurationError: if no rate is set, a burst is set without its rate, or a value is out of its range.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    burst_requests: float | None = None
    burst_tokens: float | None = None
    max_pause_s: float = 60.0
    max_debt_s: float = 3600.0

    def __post_init__(self) -> None:
        require(
            self.requests_per_minute is not None or self.tokens_per_minute is not None,
            "set this or rate_limit.tokens_per_minute",
            path="rate_limit.requests_per_minute",
        )
        for quantity, rate, burst in (
            ("requests", self.requests_per_minute, self.burst_requests),
            ("tokens", self.tokens_per_minute, self.burst_tokens),
        ):
            if rate is not None:
                require_positive(f"rate_limit.{quantity}_per_minute", rate)
            if burst is not None:
                require_at_least(f"rate_limit.burst_{quantity}", burst, 1)
                require(
                    rate is not None,
                    f"limits nothing without rate_limit.{quantity}_per_minute; set both or none",
                    path=f"rate_limit.burst_{quantity}",
                )
        require_at_least("rate_limit.max_pause_s", self.max_pause_s, 0)
        require_at_least("rate_limit.max_debt_s", self.max_debt_s, 0)

    @property
    def most_requests(self) -> float | None:
        """Requests that are let through at once; None where they are not limited."""
        return _most(self.requests_per_minute, self.burst_requests)

    @property
    def most_tokens(self) -> float | None:
        """As `most_requests`, of tokens."""
        return _most(self.tokens_per_minute, self.burst_tokens)


def _most(per_minute: float | None, burst: float | None) -> float | None:
    return max(1.0, per_minute) if burst is None and per_minute is not None else burst
