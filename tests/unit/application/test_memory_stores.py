"""Services of one process that share everything in memory, as processes do in a Redis: one line of the container."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress

import anyio
import pytest

from holdfast.adapters.memory import MemoryStore
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import GuardSettings, Settings
from holdfast.application.shared_stores import memory_stores
from holdfast.domain.breaker_config import BreakerConfig
from holdfast.domain.rate_limit_config import RateLimitConfig
from holdfast.domain.retry_policy import RetryPolicy
from holdfast.ports.errors import (
    BackendUnavailableError,
    BreakerOpenError,
    RateLimitedError,
    SessionNotFoundError,
)
from holdfast.ports.events import SharedStoreEmptied
from holdfast.ports.service import Disposition
from holdfast.testing import VirtualClock
from tests.fakes.service import ONCE, Answering, ask, ask_anew, assert_nothing_is_held, opened, told, unavailable

pytestmark = pytest.mark.anyio

TRIPPING = ONCE.model_copy(update={"breaker": BreakerConfig(failures_in_row=2, open_s=60.0)})


@asynccontextmanager
async def two_services(
    backend: Answering, settings: Settings | None = None
) -> AsyncGenerator[tuple[Orchestrator, Orchestrator, MemoryStore]]:
    stores = memory_stores(VirtualClock())
    assert isinstance(stores.store, MemoryStore)
    settings = settings or Settings(guard=ONCE)
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(opened({"a": backend}, settings, shared_stores=nullcontext(stores)))
            for _ in range(2)
        ]
        await anyio.sleep(1.0)
        yield one, other, stores.store
        await anyio.wait_all_tasks_blocked()
        for service in (one, other):
            assert_nothing_is_held(service.health())


async def test_memory_stores_share_answers() -> None:
    backend = Answering(delay_s=1.0)
    async with two_services(backend) as (one, other, _):
        dispositions = list[Disposition]()

        async def submit(service: Orchestrator) -> None:
            dispositions.append((await service.submit(ask())).disposition)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(submit, one)
            tasks.start_soon(submit, other)

        assert sorted(dispositions) == [Disposition.CALLED, Disposition.JOINED]
        assert backend.calls == 1


async def test_memory_stores_share_breakers() -> None:
    backend = Answering(failing=unavailable)
    async with two_services(backend, Settings(guard=TRIPPING)) as (one, other, _):
        for _ in range(2):
            with pytest.raises(BackendUnavailableError):
                await one.submit(ask_anew())
        await anyio.sleep(1.0)

        with pytest.raises(BreakerOpenError):
            await other.submit(ask_anew())
        assert backend.calls == 2


async def test_memory_stores_share_rates() -> None:
    limit = RateLimitConfig(requests_per_minute=60.0, burst_requests=4)
    async with two_services(Answering(), Settings(guard=ONCE, tenant_rate_limit=limit)) as (one, other, _):
        answered = 0
        for service in (one, other) * 40:
            with suppress(RateLimitedError):
                await service.submit(ask_anew())
                answered += 1
            await anyio.sleep(0.25)

        assert 16 <= answered <= 4 + 20 + 1
        assert [service.health().shared_rates.processes for service in (one, other)] == [2, 2]  # type: ignore[union-attr] # they share


async def test_memory_stores_share_budgets() -> None:
    guard = GuardSettings(
        retry=RetryPolicy(max_attempts=3, base_delay_s=0.001),
        breaker=BreakerConfig(failures_in_row=None, min_calls=1_000_000),
    )
    backend = Answering(failing=unavailable)
    async with two_services(backend, Settings(guard=guard)) as (one, other, _):
        for service in (one, other) * 50:
            with pytest.raises(BackendUnavailableError):
                await service.submit(ask_anew())
            await anyio.sleep(0.05)

        assert backend.calls <= 1.2 * 100 + 4
        assert [service.health().shared_budgets.processes for service in (one, other)] == [2, 2]  # type: ignore[union-attr] # as above


async def test_memory_stores_share_conversations() -> None:
    backend = Answering()
    async with two_services(backend) as (one, other, _):
        name = await one.sessions.create(tenant="default", system="Be brief.")
        await other.submit(ask("why?", session_id=name))

        assert [message.content for message in backend.prompts[-1].messages] == ["Be brief.", "why?"]


async def test_memory_stores_that_lose_everything_are_noticed_as_an_emptied_server_is() -> None:
    backend = Answering(failing=unavailable)
    async with two_services(backend, Settings(guard=TRIPPING)) as (one, other, store):
        name = await one.sessions.create(tenant="default")
        store.lose()
        await anyio.sleep(1.0)

        with pytest.raises(SessionNotFoundError):
            await other.sessions.open(name, tenant="default")
        for service in (one, other):
            assert [event.store for event in told(service, SharedStoreEmptied)] == ["memory"]
            assert service.health().shared.emptied == 1  # type: ignore[union-attr] # as above
