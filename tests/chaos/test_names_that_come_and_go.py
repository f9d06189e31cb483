"""Names that clients and registries make up take no room for good: what a service keeps of them has a bound."""

from __future__ import annotations

import gc
import types
from collections import deque
from contextlib import AsyncExitStack, nullcontext
from typing import Any, Final

import anyio
import pytest

from holdfast.adapters.inference.provider import SharedBackendProvider
from holdfast.adapters.memory import (
    MemoryAnswers,
    MemoryBreakers,
    MemoryBudgets,
    MemoryRates,
    MemoryRegistry,
    MemoryStore,
)
from holdfast.application.container import Backend, Discovered, Registry
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import GuardSettings, SessionSettings, Settings
from holdfast.application.shared_stores import memory_stores
from holdfast.domain.deduplicator import DeduplicationConfig
from holdfast.domain.discovery import DiscoveryConfig
from holdfast.domain.event_hub import EventConfig
from holdfast.domain.latency import RecentLatency
from holdfast.domain.rate_limit_config import RateLimitConfig
from holdfast.domain.route_choice import RoutingConfig, RoutingStrategy
from holdfast.ports.errors import BackendUnavailableError
from holdfast.ports.inference import Completion, Prompt
from holdfast.ports.registry import ServiceInstance
from holdfast.testing import VirtualClock
from tests.fakes.service import ask, assert_nothing_is_held, opened

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SETTINGS: Final = Settings(
    tenant_rate_limit=RateLimitConfig(requests_per_minute=600.0, tokens_per_minute=1e6),
    guard=GuardSettings(rate_limit=RateLimitConfig(requests_per_minute=1e9)),
    deduplication=DeduplicationConfig(max_entries=50),
    sessions=SessionSettings(max_sessions=50),
    events=EventConfig(max_items=50),
    routing=RoutingConfig(strategy=RoutingStrategy.FASTEST),
)
ENOUGH: Final = 10_500
"""Names that reach every bound: so many tenants are remembered, and fewer of anything else."""

_STORES: Final = (MemoryAnswers, MemoryBreakers, MemoryBudgets, MemoryRates, MemoryRegistry, MemoryStore)
_NOT_FOLLOWED: Final = (type, types.ModuleType, types.CodeType, types.FrameType, RecentLatency, *_STORES)


def items_held(*roots: object) -> int:
    """Return how many items are in all collections that can be reached.

    But for those in the stores themselves, and for the latencies, which are a thousand at most and dropped by half.
    """
    seen, waiting, items = {id(root) for root in roots}, deque(roots), 0
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict | list | set | deque):
            items += len(found)  # pyright: ignore[reportUnknownArgumentType] - of whatever
        followed: list[Any] = (
            [found.__closure__, found.__defaults__, found.__kwdefaults__]
            if isinstance(found, types.FunctionType)
            else gc.get_referents(found)
        )
        for referent in followed:
            if id(referent) in seen or isinstance(referent, _NOT_FOLLOWED):
                continue
            if type(referent).__module__.partition(".")[0] in {"asyncio", "trio", "anyio", "_asyncio", "contextvars"}:
                continue
            seen.add(id(referent))
            waiting.append(referent)
    return items


class Fickle:
    """Fails now and then."""

    def __init__(self) -> None:
        self.calls = 0

    async def complete(self, prompt: Prompt) -> Completion:
        self.calls += 1
        if self.calls % 20 == 0:
            raise BackendUnavailableError("is away for a moment", backend="fickle")
        return Completion(text="42", model="fickle-1")


class Visitors:
    """Ask under names that nobody has used before."""

    def __init__(self, service: Orchestrator) -> None:
        self._service = service
        self._number = 0

    async def come(self, count: int) -> None:
        for _ in range(count):
            self._number += 1
            name = f"{self._number:08}"
            session_id = None
            if self._number % 10 == 0:
                session_id = await self._service.sessions.create(tenant=name, session_id=name)
            await self._service.submit(
                ask(
                    f"question {name}",
                    tenant=name,
                    model=name,
                    session_id=session_id,
                    idempotency_key=name,
                    request_id=name,
                )
            )
        await anyio.sleep(5.0)  # until they have paid what they took, and are told of to nobody any more


@pytest.mark.parametrize(  # ten thousand requests each
    ("anyio_backend", "shares"),
    [("asyncio", True), ("trio", False)],
    ids=["shared", "alone"],
    indirect=["anyio_backend"],
)
async def test_clients_that_never_come_back_take_no_room_for_good(shares: bool) -> None:
    stores = nullcontext(memory_stores(VirtualClock()) if shares else None)
    async with opened({"a": Fickle(), "b": Fickle()}, SETTINGS, shared_stores=stores) as service:
        visitors = Visitors(service)
        await visitors.come(ENOUGH)
        before = items_held(service)
        await visitors.come(2000)

        assert items_held(service) <= before + 100
        assert_nothing_is_held(service.health())


@pytest.mark.parametrize("shares", [False, True], ids=["alone", "shared"])
async def test_instances_that_never_come_back_take_no_room_for_good(shares: bool) -> None:
    registry, quick = MemoryRegistry(clock=VirtualClock()), DiscoveryConfig(max_per_s=1000.0, burst=100)
    discovered = Discovered(
        service="asks",
        make=lambda _: Backend(provider=SharedBackendProvider(Fickle()), guard=SETTINGS.guard),
    )
    number = 0

    async def come_and_go(service: Orchestrator, count: int) -> None:
        nonlocal number
        for _ in range(count):
            number += 1
            here = ServiceInstance(service="asks", instance_id=f"asks-{number}", host=f"h{number}", port=8000)
            await registry.register(here, ttl_s=1e6, forget_after_s=1e6)
            await anyio.sleep(1.0)
            await service.submit(ask(f"question {number}"))
            await registry.deregister(here)
            await anyio.sleep(1.0)

    async with AsyncExitStack() as stack:
        stores = nullcontext(memory_stores(VirtualClock()) if shares else None)
        service = await stack.enter_async_context(
            opened(
                {"fleet": discovered},
                SETTINGS,
                registry=Registry(services=registry, discovery=quick),
                shared_stores=stores,
            )
        )
        await come_and_go(service, 100)
        before = items_held(service)
        await come_and_go(service, 200)

        assert items_held(service) <= before + 100
        assert_nothing_is_held(service.health())
