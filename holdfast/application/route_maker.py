"""The routes to backends, put together and taken apart again.

Responsibility: make everything that stands around a backend of the settings, or around an instance of one that was
    discovered, and follow its settings for as long as it is there.
Guarantees: what is kept by the name of an instance goes with it.
Not responsible for: which backends there are, and which of them is asked: see `holdfast.application.wiring` and
    `holdfast.application.routing`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import assert_never

from holdfast.adapters.inference.provider import SharedBackendProvider
from holdfast.application.container import Backend, Container, Discovered, Model
from holdfast.application.live_parts import LiveGuard
from holdfast.application.live_settings import LiveSettings
from holdfast.application.recorders import Recorders
from holdfast.application.route import Route
from holdfast.application.settings import GuardSettings
from holdfast.application.shared_parts import SharedParts
from holdfast.domain.breaker_registry import BreakerRegistry
from holdfast.domain.circuit_breaker import CircuitBreaker
from holdfast.domain.event_hub import EventHub
from holdfast.domain.hedge import Hedge
from holdfast.domain.model_slot import ModelSlots
from holdfast.domain.pool import AsyncResourcePool
from holdfast.domain.rate_limit import RateLimit, RateLimitConfig
from holdfast.domain.retry import Retry
from holdfast.domain.retry_budget import RetryBudget
from holdfast.domain.shared_breaker import SharedBreaker
from holdfast.domain.slotted_backend import SlottedBackend
from holdfast.domain.stream_timeout import StreamTimeout
from holdfast.domain.timeout import Timeout
from holdfast.ports.clock import Clock
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.registry import ServiceInstance
from holdfast.ports.resource import ResourceProvider

__all__ = ["RouteMaker"]


class RouteMaker:
    """Makes routes, each for the length of an ``async with`` block.

    Args:
        container: asked for retry strategies and trip policies.
        live: the settings as they are now.
        shared: what other processes have a part in.
        models: what backends that have to be loaded are loaded into.
        recorder: follows each attempt; None if nobody does.
        clock: monotonic time.
        random: returns a number in [0, 1).
        events: told by all of it.
    """

    def __init__(  # noqa: PLR0913 - one for each part
        self,
        container: Container,
        *,
        live: LiveSettings,
        shared: SharedParts,
        models: ModelSlots,
        recorder: Recorders | None,
        clock: Clock,
        random: Callable[[], float],
        events: EventHub,
    ) -> None:
        self._container = container
        self._live = live
        self._shared = shared
        self._models = models
        self._recorder = recorder
        self._clock = clock
        self._random = random
        self._events = events
        self._breakers = BreakerRegistry(lambda name: self._breaker(name, self._guards[name]))
        self._guards: dict[str, GuardSettings] = {}
        self._instances: dict[str, object] = {}
        self._sharing: dict[str, SharedBreaker] = {}

    @asynccontextmanager
    async def open_route(self, name: str, backend: Backend | Model) -> AsyncGenerator[Route]:
        """Give the route to a backend of the settings."""
        async with self._opened(name, backend, of=name) as route:
            yield route

    @asynccontextmanager
    async def open_instance(self, name: str, backend: Discovered, instance: ServiceInstance) -> AsyncGenerator[Route]:
        """Give the route to an instance of the backend called `name`, which guards it."""
        route_name = f"{name}@{instance.address}"
        self._forget(route_name)  # of an earlier one at this address, where the last requests may still be under way
        self._instances[route_name] = appearance = object()
        try:
            async with self._opened(route_name, backend.make(instance), of=name) as route:
                yield route
        finally:
            if self._instances.get(route_name) is appearance:
                self._forget(route_name)

    @asynccontextmanager
    async def _opened(self, name: str, backend: Backend | Model, *, of: str) -> AsyncGenerator[Route]:
        pool = AsyncResourcePool(
            name,
            _provider(backend, self._models),
            backend.guard.pool,
            clock=self._clock,
            random=self._random,
            events=self._events,
        )
        guard = self._live.guard_of(of, backend.guard)
        async with pool:
            self._guards[name] = guard
            route = self._route(name, guard, self._breakers.get(name), pool)
            own = LiveGuard(
                guard=guard,
                route=route,
                make_strategy=partial(self._container.retry_strategy, name),
                make_trip_policy=partial(self._container.trip_policy, name),
                make_limit=partial(self._rate_limit, name),
            )
            with self._live.followed_by(lambda _: own.change_to(self._live.guard_of(of, backend.guard))):
                yield route

    def _forget(self, route_name: str) -> None:
        self._breakers.forget(route_name)
        if (sharing := self._sharing.pop(route_name, None)) is not None:
            sharing.close()
        self._guards.pop(route_name, None)
        self._instances.pop(route_name, None)

    def _route(
        self, name: str, guard: GuardSettings, breaker: CircuitBreaker, pool: AsyncResourcePool[InferenceBackend]
    ) -> Route:
        clock, events = self._clock, self._events
        budget = RetryBudget(guard.retry_budget, clock=clock)
        if self._shared.budgets is not None:
            self._shared.budgets.share(name, budget)
        return Route(
            retry=Retry(
                self._container.retry_strategy(name, guard),
                clock=clock,
                random=self._random,
                budget=budget,
                events=events,
                name=name,
            ),
            hedge=None if guard.hedge is None else Hedge(name, guard.hedge, budget=budget, clock=clock, events=events),
            budget=budget,
            breaker=breaker,
            rate_limit=None if guard.rate_limit is None else self._rate_limit(name, guard.rate_limit),
            timeout=Timeout(guard.attempt_timeout_s),
            stream_timeout=StreamTimeout(first_s=guard.attempt_timeout_s, idle_s=guard.stream_idle_timeout_s),
            pool=pool,
            recorder=self._recorder,
        )

    def _rate_limit(self, name: str, config: RateLimitConfig) -> RateLimit:
        return RateLimit(f"backend {name!r}", config, clock=self._clock, events=self._events, shared=self._shared.rates)

    def _breaker(self, name: str, guard: GuardSettings) -> CircuitBreaker:
        policy = self._container.trip_policy(name, guard)
        breaker = CircuitBreaker(
            name, guard.breaker, clock=self._clock, random=self._random, trip_policy=policy, events=self._events
        )
        if (sharing := self._shared.share_breaker(breaker)) is not None:
            self._sharing[name] = sharing
        return breaker


def _provider(backend: Backend | Model, slots: ModelSlots) -> ResourceProvider[InferenceBackend]:
    match backend:
        case Backend():
            return backend.provider
        case Model():
            return SharedBackendProvider(SlottedBackend(backend.loader, slots))
        case _:
            assert_never(backend)
