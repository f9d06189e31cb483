"""One rate limit for each tenant, and no more tenants than fit.

Responsibility: find the limit of a tenant, made when it is first asked for.
Guarantees: never more than `max_tracked` limits besides those of named tenants, which are always kept; a limit is
    dropped only while it is as good as new, so that nobody gains by being dropped; a tenant without a limit costs no
    memory.
Not responsible for: who a tenant is: names come with the requests, so whoever lets anyone choose a name lets anyone
    have a limit of his own. How long a name may be: see `holdfast.domain.door`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from holdfast.domain.rate_limit import RateLimit, RateLimitConfig, RateLimitCounts
from holdfast.domain.shared_rates import SharedRates
from holdfast.domain.validation import require_at_least
from holdfast.ports.clock import Clock
from holdfast.ports.errors import RateLimitedError
from holdfast.ports.events import EventSink, RateLimited
from holdfast.ports.statistics import TenantLimitStatistics

__all__ = ["TenantLimits"]

_LOOKED_AT: Final = 64
"""Limits looked at to make room for one; bounds what a flood of new names costs for each of them; unmeasured."""


class TenantLimits:
    """The rate limits of all tenants. For one event loop.

    Args:
        default: of every tenant that is not named; None does not limit them.
        named: of tenants by name; None does not limit that one.
        clock: monotonic time.
        events: hears of refusals.
        max_tracked: tenants that are not named and whose limit is kept; default 10 000, which take about
            16 MB with names of a few letters; unmeasured as a need.
        shared: with which other processes the limits are shared; None for limits of this process alone.

    Example:
        >>> from holdfast.testing import ManualClock
        >>> limits = TenantLimits(RateLimitConfig(requests_per_minute=1), {"ours": None}, clock=ManualClock())
        >>> limits.get("ours") is None, limits.get("a") is limits.get("a")
        (True, True)
    """

    def __init__(
        self,
        default: RateLimitConfig | None,
        named: Mapping[str, RateLimitConfig | None],
        *,
        clock: Clock,
        events: EventSink | None = None,
        max_tracked: int = 10_000,
        shared: SharedRates | None = None,
    ) -> None:
        require_at_least("tenants.max_tracked", max_tracked, 1)
        self._default = default
        self._clock = clock
        self._events = events
        self._shared = shared
        self._max_tracked = max_tracked
        self._counts = RateLimitCounts()
        self._dropped = self._crowded_out = 0
        self._named = {name: None if config is None else self._make(name, config) for name, config in named.items()}
        self._others: OrderedDict[str, RateLimit] = OrderedDict()  # the one used longest ago first

    def get(self, tenant: str) -> RateLimit | None:
        """Return the limit of `tenant`, or None if it has none; do not keep it beyond the reservation.

        Raises:
            RateLimitedError: if so many other tenants are active that there is no room for this one.

        Complexity: O(1); a bounded number of limits is looked at to make room.
        """
        if tenant in self._named:
            return self._named[tenant]
        if self._default is None:
            return None
        limit = self._others.get(tenant)
        if limit is not None:
            self._others.move_to_end(tenant)
            return limit
        if len(self._others) >= self._max_tracked:
            self._make_room(tenant)
        limit = self._others[tenant] = self._make(tenant, self._default)
        return limit

    def reconfigure(self, default: RateLimitConfig | None, named: Mapping[str, RateLimitConfig | None]) -> None:
        """Limit tenants so from now on; what each has taken stays taken.

        Args:
            default: as for new ones.
            named: as for new ones.

        Complexity: O(tenants).
        """
        kept = {name: limit for name, limit in self._named.items() if limit is not None} | self._others
        self._default = default
        self._named = {name: self._remade(name, config, kept.pop(name, None)) for name, config in named.items()}
        self._others = OrderedDict[str, RateLimit]()
        if default is not None:
            for limit in kept.values():
                limit.reconfigure(default)
            self._others.update(kept)

    def statistics(self) -> TenantLimitStatistics:
        """Return what became of every reservation that any tenant asked for."""
        counts = self._counts
        return TenantLimitStatistics(
            asked=counts.asked,
            refused=counts.refused,
            reserved=counts.reserved,
            settled=counts.settled,
            cancelled=counts.cancelled,
            tokens_used=counts.tokens_used,
            tracked=len(self._others) + sum(limit is not None for limit in self._named.values()),
            dropped=self._dropped,
            crowded_out=self._crowded_out,
        )

    def _make(self, tenant: str, config: RateLimitConfig) -> RateLimit:
        return RateLimit(
            f"tenant {tenant!r}",
            config,
            clock=self._clock,
            events=self._events,
            counts=self._counts,
            shared=self._shared,
        )

    def _remade(self, tenant: str, config: RateLimitConfig | None, limit: RateLimit | None) -> RateLimit | None:
        if config is None or limit is None:
            return None if config is None else self._make(tenant, config)
        limit.reconfigure(config)
        return limit

    def _make_room(self, tenant: str) -> None:
        soonest_s: float | None = None
        for _ in range(min(_LOOKED_AT, len(self._others))):
            name, limit = next(iter(self._others.items()))
            idle_in_s = limit.idle_in_s()
            if idle_in_s == 0:
                del self._others[name]
                self._dropped += 1
                return
            self._others.move_to_end(name)  # so that the next newcomer looks at others
            if idle_in_s is not None and (soonest_s is None or idle_in_s < soonest_s):
                soonest_s = idle_in_s
        self._crowded_out += 1
        self._counts.refused += 1
        scope = f"tenant {tenant!r}"
        if self._events is not None:
            self._events.emit(RateLimited(scope=scope, quantity="tenants", retry_after_s=soonest_s))
        raise RateLimitedError(scope=scope, quantity="tenants", retry_after_s=soonest_s)
