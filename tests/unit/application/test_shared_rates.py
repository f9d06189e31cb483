"""Rate limits that services share, met by requests that go through `Orchestrator.submit`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext

import anyio
import pytest

from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import GuardSettings, Settings
from holdfast.application.shared_stores import SharedStores
from holdfast.domain.rate_limit_config import RateLimitConfig
from holdfast.domain.retry_policy import RetryPolicy
from holdfast.ports.errors import RateLimitedError
from holdfast.ports.events import SharedStoreLost, SharedStoreRejoined
from holdfast.testing import VirtualClock
from tests.fakes.rates import FaultyRates
from tests.fakes.service import ONCE, Answering, ask_anew, assert_nothing_is_held, opened, told

pytestmark = pytest.mark.anyio

LIMIT = RateLimitConfig(requests_per_minute=60, burst_requests=8)
BY_TENANT = Settings(guard=ONCE, tenant_rate_limit=LIMIT)
BY_BACKEND = Settings(guard=GuardSettings(retry=RetryPolicy(max_attempts=1), rate_limit=LIMIT))


@asynccontextmanager
async def services(
    count: int, settings: Settings, backend: Answering, *, store: FaultyRates | None = None
) -> AsyncGenerator[list[Orchestrator]]:
    """Open services that share their limits and know of each other."""
    store = store or FaultyRates(clock=VirtualClock())
    async with AsyncExitStack() as stack:
        them = [
            await stack.enter_async_context(
                opened(
                    {"a": backend},
                    settings,
                    shared_stores=nullcontext(SharedStores(store=store, rates=store)),
                )
            )
            for _ in range(count)
        ]
        await anyio.sleep(2.0)
        yield them
        for service in them:
            assert_nothing_is_held(service.health())


async def flood(service: Orchestrator, *, tenant: str = "t") -> int:
    """Ask until it is refused, and return how often it was not."""
    answered = 0
    while True:
        try:
            await service.submit(ask_anew(tenant=tenant))
        except RateLimitedError:
            return answered
        answered += 1


@pytest.mark.parametrize("settings", [BY_TENANT, BY_BACKEND], ids=["tenant", "backend"])
async def test_submit_to_four_services_lets_no_more_through_than_one_limit(settings: Settings) -> None:
    backend = Answering()
    async with services(4, settings, backend) as them:
        answered = 0
        for _ in range(200):
            for service in them:
                answered += await flood(service)
            await anyio.sleep(0.05)

        assert 10 + 4 <= answered <= 10 + 8
        assert backend.calls == answered


async def test_submit_first_request_of_a_tenant_is_let_through_at_once_by_every_service() -> None:
    async with services(4, BY_TENANT, Answering()) as them:
        answered = [await flood(service, tenant="new") for service in them]

    assert answered == [1, 1, 1, 1]  # of a half of the burst


async def test_submit_to_one_of_four_services_is_given_what_the_others_do_not_need() -> None:
    async with services(4, BY_TENANT, Answering()) as them:
        answered = await flood(them[0])
        await anyio.sleep(0.3)
        answered += await flood(them[0])

        assert answered == 5  # all but what is left to the three others


async def test_submit_while_the_store_is_away_goes_on_with_a_part_of_the_rate_and_tells_it_later() -> None:
    store = FaultyRates(clock=VirtualClock())
    async with services(2, BY_TENANT, Answering(), store=store) as them:
        for service in them:
            await flood(service)
        store.fails = "before"
        await anyio.sleep(1.0)
        answered = 0
        for _ in range(60):
            await anyio.sleep(1.0)
            for service in them:
                answered += await flood(service)
        away = [service.health().shared_rates for service in them]
        store.fails = None
        await anyio.sleep(3.0)
        back = [service.health().shared_rates for service in them]

        assert 56 <= answered <= 62
        assert [(rates.joined, rates.processes) for rates in away if rates] == [(False, 2)] * 2
        assert [rates.joined for rates in back if rates] == [True, True]
        assert [len(told(them[0], SharedStoreLost)), len(told(them[0], SharedStoreRejoined))] == [1, 1]


async def test_submit_is_not_delayed_by_a_store_that_never_answers() -> None:
    class Hanging(FaultyRates):
        async def epoch(self) -> str:
            await anyio.sleep_forever()
            raise AssertionError

    store = Hanging(clock=VirtualClock())
    async with services(1, BY_TENANT, Answering(), store=store) as them:
        begun_s = anyio.current_time()
        assert await flood(them[0]) == 8

        assert anyio.current_time() == begun_s


async def test_submit_that_is_cancelled_gives_back_what_it_took() -> None:
    backend = Answering(delay_s=5.0)
    async with services(1, BY_TENANT, backend) as them:
        with anyio.move_on_after(0.01):
            await them[0].submit(ask_anew(tenant="t"))
        await anyio.wait_all_tasks_blocked()

        tenants = them[0].health().tenants
        assert (tenants.reserved, tenants.cancelled + tenants.settled) == (0, 1)


async def test_health_without_a_store_says_nothing_of_shared_rates() -> None:
    async with opened({"a": Answering()}) as service:
        assert service.health().shared_rates is None
