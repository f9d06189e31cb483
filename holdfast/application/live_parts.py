"""The parts of a running service that follow the settings.

Responsibility: hand each changed setting to the part that goes by it.
Guarantees: a part whose settings did not change is left alone; those that changed are in force before the next request
    is let in; state and counts go on.
Not responsible for: which settings are live, and that they are valid: see `holdfast.application.live_settings`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from holdfast.application.guard_settings import GuardSettings
from holdfast.application.pipeline import Pipeline
from holdfast.application.reception import DoorConfig, Reception
from holdfast.application.route import Route
from holdfast.application.settings import Settings
from holdfast.domain.admission import AdmissionQueue
from holdfast.domain.event_hub import EventHub
from holdfast.domain.rate_limit import RateLimit, RateLimitConfig
from holdfast.domain.tenant_limits import TenantLimits
from holdfast.ports.events import EventSink
from holdfast.ports.retry import RetryStrategy
from holdfast.ports.trip import TripPolicy

__all__ = ["LiveGuard", "LiveStages", "door_of", "limits_by_name"]


def door_of(settings: Settings) -> DoorConfig:
    """Return what the door needs to know."""
    return DoorConfig(timeout_s=settings.timeout_s, max_request_bytes=settings.max_request_bytes)


def limits_by_name(settings: Settings) -> dict[str, RateLimitConfig | None]:
    """Return the rate limits of the tenants that have one of their own, or none."""
    return {name: tenant.rate_limit for name, tenant in settings.tenants.items()}


@dataclass(eq=False, slots=True, kw_only=True)
class LiveStages:
    """Door, queue, limits of tenants, retrieval and logging.

    Args:
        settings: by which they go now.
        reception: its deadline and its bound.
        pipeline: how many passages it asks for.
        admission: the queue and its slots.
        tenants: their limits.
        events: whether they are logged.
        make_log_sink: returns the sink that logs them, the same one each time.
    """

    settings: Settings
    reception: Reception
    pipeline: Pipeline
    admission: AdmissionQueue
    tenants: TenantLimits
    events: EventHub
    make_log_sink: Callable[[], EventSink]

    def change_to(self, settings: Settings) -> None:
        """Go by `settings` from now on."""
        before, self.settings = self.settings, settings
        self.reception.reconfigure(door_of(settings))
        self.pipeline.max_passages = settings.retrieval.limit
        if settings.admission != before.admission:
            self.admission.reconfigure(settings.admission)
        if settings.max_in_flight != before.max_in_flight:
            self.admission.resize(settings.max_in_flight)
        if (settings.tenant_rate_limit, settings.tenants) != (before.tenant_rate_limit, before.tenants):
            self.tenants.reconfigure(settings.tenant_rate_limit, limits_by_name(settings))
        if settings.log_events and not before.log_events:
            self.events.add(self.make_log_sink())
        elif before.log_events and not settings.log_events:
            self.events.remove(self.make_log_sink())


@dataclass(eq=False, slots=True, kw_only=True)
class LiveGuard:
    """What stands around one backend.

    Args:
        guard: by which it goes now.
        route: to the backend.
        make_strategy: returns what decides on retries.
        make_trip_policy: returns what decides on opening the breaker.
        make_limit: returns a rate limit, for a backend that had none.
    """

    guard: GuardSettings
    route: Route
    make_strategy: Callable[[GuardSettings], RetryStrategy]
    make_trip_policy: Callable[[GuardSettings], TripPolicy]
    make_limit: Callable[[RateLimitConfig], RateLimit]

    def change_to(self, guard: GuardSettings) -> None:
        """Go by `guard` from now on; hedge, retry budget and pool stay as they were made."""
        before, self.guard = self.guard, guard
        self.route.set_timeouts(attempt_s=guard.attempt_timeout_s, idle_s=guard.stream_idle_timeout_s)
        if guard.retry != before.retry:
            self.route.retry_by(self.make_strategy(guard))
        if guard.breaker != before.breaker:
            self.route.break_by(guard.breaker, self.make_trip_policy(guard))
        if guard.rate_limit != before.rate_limit:
            self.route.limit_to(guard.rate_limit, self.make_limit)
