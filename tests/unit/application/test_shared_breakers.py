"""Breakers that services share, met by requests that go through `Orchestrator.submit`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace

import anyio
import pytest

from holdfast.adapters.inference.provider import SharedBackendProvider
from holdfast.application.container import Backend, Discovered, Registry
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import GuardSettings, Settings
from holdfast.application.shared_stores import SharedStores
from holdfast.domain.breaker_config import BreakerConfig
from holdfast.domain.discovery import DiscoveryConfig
from holdfast.ports.errors import BackendUnavailableError, BreakerOpenError, DeadlineExceededError
from holdfast.ports.events import BreakerOpened, SharedStoreEmptied, SharedStoreLost, SharedStoreRejoined
from holdfast.ports.statistics import BreakerState, SharedStoreStatistics
from tests.fakes.breakers import BreakerPlace
from tests.fakes.registry import FlakyRegistry, instance
from tests.fakes.service import ONCE, Answering, ask_anew, assert_nothing_is_held, opened, told, unavailable

pytestmark = pytest.mark.anyio

ROUND_S = 0.3
BREAKER = BreakerConfig(failures_in_row=2, probe_calls=1, probe_successes=1)
SETTINGS = Settings(guard=ONCE.model_copy(update={"breaker": BREAKER}))


@asynccontextmanager
async def services(
    count: int, backend: Answering, places: list[BreakerPlace], settings: Settings = SETTINGS
) -> AsyncGenerator[list[Orchestrator]]:
    """Open services of one process each, in effect: they have nothing in common but the backend and the store."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                opened(
                    {"a": backend},
                    settings,
                    random=lambda: 1.0,
                    shared_stores=nullcontext(SharedStores(store=place, breakers=place)),
                )
            )
            for place in places[:count]
        ]


def sides(count: int) -> list[BreakerPlace]:
    place = BreakerPlace()
    return [place.side() for _ in range(count)]


async def fail(service: Orchestrator, times: int = 2) -> None:
    for _ in range(times):
        with pytest.raises(BackendUnavailableError):
            await service.submit(ask_anew())


def state(service: Orchestrator) -> BreakerState:
    return service.health().backends[0].breaker.state


def shared(service: Orchestrator) -> SharedStoreStatistics:
    statistics = service.health().shared
    assert statistics is not None
    return statistics


async def test_submit_that_opens_a_breaker_has_the_other_services_refuse() -> None:
    backend = Answering(failing=unavailable)
    async with services(3, backend, sides(3)) as running:
        await fail(running[0])
        await anyio.sleep(ROUND_S)
        calls = backend.calls

        for service in running:
            with pytest.raises(BreakerOpenError):
                await service.submit(ask_anew())

        assert backend.calls == calls
        assert [event.breaker for event in told(running[2], BreakerOpened)] == ["a"]
        counted = [service.health().backends[0].breaker for service in running]
        assert [(breaker.opened, breaker.adopted) for breaker in counted] == [(1, 0), (0, 1), (0, 1)]
        for service in running:
            assert_nothing_is_held(service.health())


async def test_submit_by_many_services_has_one_probe_call_the_backend() -> None:
    backend = Answering(failing=unavailable)
    async with services(4, backend, sides(4)) as running:
        await fail(running[0])
        await anyio.sleep(5.0 + ROUND_S)
        backend.failing, backend.delay_s = lambda call: None, 1.0
        calls, replies, refused = backend.calls, list[str](), list[Exception]()

        async def submit(service: Orchestrator) -> None:
            try:
                replies.append((await service.submit(ask_anew())).text)
            except BreakerOpenError as error:
                refused.append(error)

        async with anyio.create_task_group() as tasks:
            for service in running * 3:
                tasks.start_soon(submit, service)

        assert (backend.calls - calls, len(replies), len(refused)) == (1, 1, 11)
        await anyio.sleep(ROUND_S)
        assert {state(service) for service in running} == {BreakerState.CLOSED}


async def test_submit_while_the_store_is_away_goes_on_and_is_told_once() -> None:
    places = sides(1)
    async with services(1, Answering(), places) as [service]:
        places[0].leave()
        for _ in range(50):
            await service.submit(ask_anew())
            await anyio.sleep(0.1)
        places[0].come_back()
        await anyio.sleep(2.0)

        assert [type(event) for event in told(service, SharedStoreLost, SharedStoreRejoined)] == [
            SharedStoreLost,
            SharedStoreRejoined,
        ]
        assert (shared(service).lost, shared(service).rejoined, shared(service).joined) == (1, 1, True)


async def test_submit_after_the_store_was_emptied_finds_the_breaker_as_open_as_before() -> None:
    places = sides(2)
    backend = Answering(failing=unavailable)
    async with services(2, backend, places) as running:
        await fail(running[0])
        await anyio.sleep(ROUND_S)
        places[0].lose(*places)
        await anyio.sleep(2 * ROUND_S)

        assert {state(service) for service in running} == {BreakerState.OPEN}
        assert (await places[0].breakers.look("a")).state is BreakerState.OPEN
        assert [shared(service).emptied for service in running] == [1, 1]
        assert len(told(running[0], SharedStoreEmptied)) == 1


async def test_submit_whose_probe_is_cut_at_the_deadline_within_the_claim_blames_nobody() -> None:
    places = sides(1)
    backend = Answering(failing=unavailable)
    async with services(1, backend, places) as [service]:
        await fail(service)
        await anyio.sleep(5.0 + ROUND_S)
        places[0].deaf = True
        failed = service.health().backends[0].breaker.failed

        with pytest.raises(DeadlineExceededError):
            await service.submit(replace(ask_anew(), timeout_s=0.05))
        await anyio.sleep(0.01)  # the flight ends after its caller

        assert service.health().backends[0].breaker.failed == failed
        assert_nothing_is_held(service.health())


async def test_submit_cancelled_at_any_moment_of_a_probe_gives_it_back() -> None:
    places = sides(2)
    backend = Answering(failing=unavailable)
    async with services(2, backend, places) as running:
        await fail(running[0])
        await anyio.sleep(5.0 + ROUND_S)
        backend.failing, backend.delay_s = lambda call: None, 0.1
        for place in places:
            place.latency_s = 0.01
        for step in range(50):
            with anyio.move_on_after(step * 0.002) as cut:
                await running[0].submit(ask_anew())
            await anyio.sleep(2 * ROUND_S)

            assert cut.cancelled_caught
            assert (await places[1].breakers.look("a")).probe is None
            assert {state(service) for service in running} == {BreakerState.HALF_OPEN}
            assert_nothing_is_held(running[0].health())


async def test_health_without_a_store_says_so() -> None:
    async with opened({"a": Answering()}) as service:
        assert service.health().shared is None


async def test_store_whose_breakers_are_not_shared_leaves_each_service_its_own() -> None:
    places = sides(2)
    backend = Answering(failing=unavailable)
    async with AsyncExitStack() as stack:
        running = [
            await stack.enter_async_context(
                opened({"a": backend}, SETTINGS, shared_stores=nullcontext(SharedStores(store=place)))
            )
            for place in places
        ]
        await fail(running[0])
        await anyio.sleep(ROUND_S)

        assert [state(service) for service in running] == [BreakerState.OPEN, BreakerState.CLOSED]
        assert set(places[0].asked) == {"epoch"}


async def test_retries_within_one_request_meet_the_shared_breaker_too() -> None:
    places = sides(2)
    backend = Answering(failing=unavailable)
    settings = Settings(guard=GuardSettings(breaker=BREAKER))
    async with services(2, backend, places, settings) as running:
        with pytest.raises((BackendUnavailableError, BreakerOpenError)):
            await running[0].submit(ask_anew())
        await anyio.sleep(ROUND_S)

        assert state(running[1]) is BreakerState.OPEN


async def test_breaker_of_an_instance_that_vanished_is_kept_in_step_no_longer() -> None:
    registry, place = FlakyRegistry(), BreakerPlace()
    fleet = Discovered(
        service="asks", make=lambda _: Backend(provider=SharedBackendProvider(Answering()), guard=SETTINGS.guard)
    )
    found = instance(1)
    await registry.register(found, ttl_s=1e6, forget_after_s=1e6)
    async with opened(
        {"fleet": fleet},
        SETTINGS,
        registry=Registry(services=registry, discovery=DiscoveryConfig(max_per_s=100.0, burst=100)),
        shared_stores=nullcontext(SharedStores(store=place, breakers=place)),
    ) as service:
        await service.submit(ask_anew())
        await anyio.sleep(1.0)
        assert place.asked.count("look") >= 4

        await registry.deregister(found)
        await anyio.sleep(1.0)
        place.asked.clear()
        await anyio.sleep(1.0)

        assert set(place.asked) == {"epoch"}
        assert shared(service).joined
