"""This process in the registry: from when it can answer until it drains, met through the orchestrator."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from holdfast.application.container import Registry
from holdfast.application.orchestrator import Orchestrator
from holdfast.domain.registration import RegistrationConfig
from holdfast.ports.errors import ClosedError
from holdfast.ports.events import (
    DeregistrationFailed,
    RegistrationForgotten,
    RegistryLost,
    ServiceClosed,
    ServiceDraining,
)
from holdfast.ports.statistics import RegistrationStatistics, ServiceState
from holdfast.testing import sweep_cancellation
from tests.fakes.registry import FlakyRegistry, instance
from tests.fakes.service import Answering, ask_anew, assert_nothing_is_held, opened, told

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def registered(registry: FlakyRegistry, backend: Answering | None = None) -> AsyncGenerator[Orchestrator]:
    own = Registry(services=registry, instance=instance(1), registration=RegistrationConfig(leave_timeout_s=3.0))
    async with opened({"a": backend or Answering()}, registry=own) as service:
        await anyio.sleep(0.1)
        yield service


def registration_of(service: Orchestrator) -> RegistrationStatistics:
    registry = service.health().registry
    assert registry is not None
    assert registry.registration is not None
    return registry.registration


async def test_open_registers_and_close_deregisters() -> None:
    registry = FlakyRegistry()

    async with registered(registry) as service:
        assert await registry.listed() == ["asks-1"]
        assert registration_of(service).listed
    assert await registry.listed() == []


async def test_registry_that_is_away_delays_neither_opening_nor_requests() -> None:
    registry = FlakyRegistry()
    registry.go_away()

    async with registered(registry) as service:
        began_s = anyio.current_time()
        await service.submit(ask_anew())

        assert anyio.current_time() == began_s
        assert [event.role for event in told(service, RegistryLost)] == ["registration"]
        assert not registration_of(service).listed


async def test_registry_that_forgets_this_process_is_told_it_again_and_says_so() -> None:
    registry = FlakyRegistry()

    async with registered(registry) as service:
        registry.clear()
        await anyio.sleep(RegistrationConfig().ttl_s)

        assert await registry.listed() == ["asks-1"]
        assert told(service, RegistrationForgotten) == [RegistrationForgotten(service="asks", instance="asks-1")]


async def test_drain_ends_readiness_then_leaves_the_registry_then_closes_the_door() -> None:
    registry = FlakyRegistry()

    async with registered(registry) as service, anyio.create_task_group() as tasks:
        registry.delay_s = 1.0
        tasks.start_soon(service.drain, 10.0)
        await anyio.sleep(0.5)
        while_leaving = service.health().state
        answered = await service.submit(ask_anew())
        listed_while_leaving = await registry.listed()
        await anyio.sleep(0.6)
        listed_then = await registry.listed()
        with pytest.raises(ClosedError):
            await service.submit(ask_anew())

    assert while_leaving is ServiceState.DRAINING
    assert answered.text == "42"
    assert (listed_while_leaving, listed_then) == (["asks-1"], [])


async def test_drain_waits_for_running_requests_only_after_others_were_told_to_go_elsewhere() -> None:
    registry, backend = FlakyRegistry(), Answering(delay_s=5.0)

    async with registered(registry, backend) as service, anyio.create_task_group() as tasks:
        tasks.start_soon(service.submit, ask_anew())
        await anyio.sleep(0.1)
        tasks.start_soon(service.drain, 60.0)
        await anyio.sleep(0.1)
        listed = await registry.listed()
        inside = service.health().requests.in_flight

    assert (listed, inside) == ([], 1)
    assert service.health().requests.answered == 1


async def test_drain_while_the_registry_hangs_is_bounded_and_told_once() -> None:
    registry = FlakyRegistry()

    async with registered(registry) as service:
        registry.delay_s = 1000.0
        began_s = anyio.current_time()
        await service.drain(10.0)
        took_s = anyio.current_time() - began_s
        health = service.health()

    assert took_s == pytest.approx(3.0)
    assert health.state is ServiceState.CLOSED
    (failed,) = told(service, DeregistrationFailed)
    assert failed == DeregistrationFailed(service="asks", instance="asks-1", error="TimeoutError")
    assert_nothing_is_held(health)


async def test_drain_while_the_registry_is_away_goes_on_and_tells_it_once() -> None:
    registry = FlakyRegistry()

    async with registered(registry) as service:
        registry.go_away()
        began_s = anyio.current_time()
        await service.drain(10.0)

        assert anyio.current_time() == began_s
    assert [type(event) for event in told(service, DeregistrationFailed, ServiceDraining, ServiceClosed)] == [
        ServiceDraining,
        DeregistrationFailed,
        ServiceClosed,
    ]


async def test_drain_that_is_cancelled_while_leaving_keeps_the_door_closed() -> None:
    registry = FlakyRegistry()

    async with registered(registry) as service:
        registry.delay_s = 1.0
        with anyio.move_on_after(0.5):
            await service.drain(10.0)
        with pytest.raises(ClosedError):
            await service.submit(ask_anew())
        await anyio.sleep(1.0)

        assert await registry.listed() == []


async def test_drain_twice_leaves_once() -> None:
    registry = FlakyRegistry()

    async with registered(registry) as service:
        await service.drain(1.0)
        await service.drain(1.0)

    assert len(registry.named("deregister")) == 1
    assert len(told(service, ServiceDraining)) == 1


async def test_drain_without_a_registry_closes_the_door_at_once() -> None:
    async with opened({"a": Answering(delay_s=5.0)}) as service, anyio.create_task_group() as tasks:
        tasks.start_soon(service.submit, ask_anew())
        await anyio.sleep(0.1)
        tasks.start_soon(service.drain, 60.0)
        await anyio.sleep(0.1)

        with pytest.raises(ClosedError):
            await service.submit(ask_anew())


async def test_life_cancelled_at_every_checkpoint_leaves_the_registry() -> None:
    registries: list[FlakyRegistry] = []

    async def scenario() -> None:
        registries.append(FlakyRegistry())
        async with registered(registries[-1]) as service:
            await service.submit(ask_anew())
            await service.drain(1.0)

    async def check() -> None:
        assert await registries[-1].listed() == []

    assert await sweep_cancellation(scenario, check) > 5
