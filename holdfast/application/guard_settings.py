"""What stands around a backend, as it can be set.

Responsibility: one validated, frozen value for all of it.
Guarantees: each mechanism validates its own numbers.
Not responsible for: which backends there are: see `holdfast.application.settings`.
"""

from __future__ import annotations

from pydantic import Field

from holdfast.application.section import Section
from holdfast.domain.circuit_breaker import BreakerConfig
from holdfast.domain.hedge import HedgeConfig
from holdfast.domain.pool import PoolConfig
from holdfast.domain.rate_limit_config import RateLimitConfig
from holdfast.domain.retry_budget import RetryBudgetConfig
from holdfast.domain.retry_policy import RetryPolicy

__all__ = ["GuardSettings"]


class GuardSettings(Section):
    """What stands around each backend.

    Args:
        attempt_timeout_s: seconds one attempt may take, or until the first piece of one that streams; default 30,
            unmeasured.
        stream_idle_timeout_s: seconds between two pieces of an attempt that streams; those for which a slow reader
            keeps the backend waiting do not count; default 30, unmeasured.
        retry: when a failed attempt is tried again.
        retry_budget: how much of its load may be retries, and second attempts of hedged calls.
        hedge: asks it a second time when it is slower than usual; None, the default, does not.
        breaker: when the backend is left alone for a while.
        rate_limit: how many requests and tokens it gets in a minute; None, the default, for no limit.
        pool: how many calls it gets at once.
    """

    attempt_timeout_s: float = Field(default=30.0, gt=0)
    stream_idle_timeout_s: float = Field(default=30.0, gt=0)
    retry: RetryPolicy = RetryPolicy()
    retry_budget: RetryBudgetConfig = RetryBudgetConfig()
    hedge: HedgeConfig | None = None
    breaker: BreakerConfig = BreakerConfig()
    rate_limit: RateLimitConfig | None = None
    pool: PoolConfig = PoolConfig()
