"""Backends that have to be loaded, met by requests that go through `Orchestrator.submit`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import anyio
import pytest
from dependency_injector import providers

from holdfast.adapters.inference.scripted import ScriptedBackend
from holdfast.application.container import Container, Model
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import GuardSettings, ScriptedSettings, Settings
from holdfast.application.wiring import open_container, open_orchestrator
from holdfast.domain.host_guard import HostGuardConfig
from holdfast.domain.model_slot_config import ModelSlotConfig
from holdfast.domain.rate_limit_config import RateLimitConfig
from holdfast.domain.retry_policy import RetryPolicy
from holdfast.domain.route_choice import RoutingConfig, RoutingStrategy
from holdfast.ports.errors import BackendUnavailableError, ConfigurationError, HostMemoryError
from holdfast.ports.events import Event, FellBack, ModelLoaded, ModelRefused, ModelUnloaded
from holdfast.ports.statistics import BreakerState, ModelSlotStatistics
from holdfast.testing import VirtualClock, sweep_cancellation
from tests.fakes import service
from tests.fakes.model import FakeLoader, Machine
from tests.fakes.service import ONCE, ask, assert_nothing_is_held

pytestmark = pytest.mark.anyio

WITHOUT_RESERVE = HostGuardConfig(reserve_bytes=0)
STICKY = RoutingConfig(strategy=RoutingStrategy.STICKY)
TENANTS = [f"tenant {number}" for number in range(10)]
"""Enough for sticky routing to send some to each of two backends."""


class Sink:
    """Remembers what concerns models."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        if isinstance(event, ModelLoaded | ModelUnloaded | ModelRefused | FellBack):
            self.events.append(event)


def opened(
    backends: Mapping[str, FakeLoader | ScriptedBackend],
    machine: Machine,
    settings: Settings | None = None,
    *,
    sink: Sink | None = None,
) -> AbstractAsyncContextManager[Orchestrator]:
    settings = settings or Settings(host_guard=WITHOUT_RESERVE, guard=ONCE)
    models = {
        name: Model(loader=backend, guard=settings.guard) if isinstance(backend, FakeLoader) else backend
        for name, backend in backends.items()
    }
    return service.opened(models, settings, host_memory=machine, event_sinks=(sink,) if sink else ())


def fallback() -> ScriptedBackend:
    return ScriptedBackend.repeating("remote", "from afar", clock=VirtualClock())


async def test_submit_loads_the_model_for_the_first_request_and_keeps_it_for_the_next() -> None:
    machine, sink = Machine(), Sink()
    local = FakeLoader("local", machine=machine)
    local.on_load = lambda: anyio.sleep(3.0)
    async with opened({"local": local}, machine, sink=sink) as orchestrator:
        first = await orchestrator.submit(ask("first"))
        second = await orchestrator.submit(ask("second"))
        health = orchestrator.health()

    assert (first.text, first.backend, second.text) == ("local", "local", "local")
    assert first.backend_s == pytest.approx(3.0)
    assert second.backend_s == 0.0
    assert (health.models.loads, health.models.granted, health.models.loaded) == (1, 2, 1)
    assert_nothing_is_held(health)
    assert [type(event) for event in sink.events] == [ModelLoaded, ModelUnloaded]
    assert machine.present == []


async def test_submit_to_a_model_that_does_not_fit_falls_back_and_blames_no_backend() -> None:
    machine, sink = Machine(total_bytes=100), Sink()
    local = FakeLoader("local", size_bytes=101, machine=machine)
    async with opened({"local": local, "remote": fallback()}, machine, sink=sink) as orchestrator:
        replies = [await orchestrator.submit(ask(f"question {number}")) for number in range(20)]
        health = orchestrator.health()

    assert {(reply.backend, reply.attempts) for reply in replies} == {("remote", 1)}
    breaker = health.backends[0].breaker
    assert (breaker.state, breaker.opened, breaker.ignored, breaker.failed) == (BreakerState.CLOSED, 0, 20, 0)
    assert local.attempts == 0
    assert (health.models.refused, health.models.asked) == (20, 20)
    assert_nothing_is_held(health)
    assert sink.events[:2] == [
        ModelRefused(model="local", needed_bytes=101, available_bytes=100),
        FellBack(failed="local", following="remote", error="HostMemoryError"),
    ]


async def test_submit_of_what_is_not_idempotent_falls_back_from_a_model_that_was_not_loaded_for_it() -> None:
    machine = Machine(total_bytes=100)
    local = FakeLoader("local", size_bytes=101, machine=machine)
    async with opened({"local": local, "remote": fallback()}, machine) as orchestrator:
        reply = await orchestrator.submit(replace(ask(), idempotent=False))

    assert (reply.backend, reply.attempts) == ("remote", 1)


async def test_submit_when_no_model_fits_is_refused_with_the_numbers() -> None:
    machine = Machine(total_bytes=100)
    local = FakeLoader("local", size_bytes=101, machine=machine)
    async with opened({"local": local}, machine) as orchestrator:
        with pytest.raises(HostMemoryError) as caught:
            await orchestrator.submit(ask())

    assert (caught.value.model, caught.value.needed_bytes, caught.value.available_bytes) == ("local", 101, 100)


async def test_submit_to_a_model_that_is_refused_takes_nothing_of_the_rate_limit() -> None:
    machine = Machine(total_bytes=100)
    local = FakeLoader("local", size_bytes=101, machine=machine)
    guard = GuardSettings(rate_limit=RateLimitConfig(requests_per_minute=10))
    settings = Settings(host_guard=WITHOUT_RESERVE, guard=guard)
    async with opened({"local": local}, machine, settings) as orchestrator:
        with pytest.raises(HostMemoryError):
            await orchestrator.submit(ask())
        limit = orchestrator.health().backends[0].rate_limit

    assert limit is not None
    assert (limit.settled, limit.cancelled) == (0, 1)


async def test_submit_keeps_the_reserve_of_the_settings_free() -> None:
    machine = Machine(total_bytes=100)
    local = FakeLoader("local", size_bytes=60, machine=machine)
    settings = Settings(host_guard=HostGuardConfig(reserve_bytes=41))
    async with opened({"local": local, "remote": fallback()}, machine, settings) as orchestrator:
        assert (await orchestrator.submit(ask())).backend == "remote"


async def test_submit_to_a_model_whose_load_fails_retries_then_falls_back_and_tells_the_breaker() -> None:
    machine = Machine()
    local = FakeLoader("local", machine=machine)

    async def fail() -> None:
        raise BackendUnavailableError("no such file", backend="local")

    local.on_load = fail
    settings = Settings(guard=GuardSettings(retry=RetryPolicy(max_attempts=2)))
    async with opened({"local": local, "remote": fallback()}, machine, settings) as orchestrator:
        reply = await orchestrator.submit(ask())
        health = orchestrator.health()

    assert (reply.backend, reply.attempts) == ("remote", 3)
    assert (local.attempts, health.backends[0].breaker.failed, health.models.failed_loads) == (2, 2, 2)
    assert_nothing_is_held(health)


async def test_submit_to_two_models_with_one_slot_loads_one_at_a_time() -> None:
    machine = Machine(total_bytes=100)
    loaders = {name: FakeLoader(name, size_bytes=60, machine=machine) for name in ("one", "two")}
    async with opened(loaders, machine, Settings(host_guard=WITHOUT_RESERVE, routing=STICKY)) as orchestrator:
        async with anyio.create_task_group() as tasks:
            for tenant in TENANTS:
                tasks.start_soon(orchestrator.submit, replace(ask(), tenant=tenant))
        health = orchestrator.health()

    assert min(loader.loads for loader in loaders.values()) > 0
    assert machine.most_present == 1
    assert health.models.granted == len(TENANTS)
    assert_nothing_is_held(health)


async def test_submit_to_a_model_whose_slot_stays_taken_falls_back_and_blames_no_backend() -> None:
    machine = Machine()
    loaders = {name: FakeLoader(name, machine=machine) for name in ("one", "two")}
    settings = Settings(models=ModelSlotConfig(wait_timeout_s=5.0), guard=ONCE, routing=STICKY)
    tenant_of: dict[str, str] = {}
    async with opened(loaders, machine, settings) as orchestrator:
        for tenant in TENANTS:
            tenant_of[(await orchestrator.submit(replace(ask(), tenant=tenant))).backend] = tenant
        await orchestrator.submit(replace(ask("again"), tenant=tenant_of["one"]))
        machine.present[0].on_complete = lambda: anyio.sleep(20.0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(orchestrator.submit, replace(ask("slow"), tenant=tenant_of["one"]))
            await anyio.sleep(1.0)
            reply = await orchestrator.submit(replace(ask("elsewhere"), tenant=tenant_of["two"]))
        health = orchestrator.health()

    assert (reply.backend, reply.attempts) == ("one", 1)
    assert [backend.breaker.failed for backend in health.backends] == [0, 0]
    assert health.models.refused == 1


@pytest.mark.parametrize("streams", [False, True])
async def test_request_cancelled_at_every_checkpoint_of_a_load_leaves_nothing_behind(streams: bool) -> None:
    machine = Machine(total_bytes=100)
    loaders = {name: FakeLoader(name, size_bytes=60, machine=machine) for name in ("one", "two")}
    opened_at: list[tuple[Orchestrator, ModelSlotStatistics]] = []
    settings = Settings(host_guard=WITHOUT_RESERVE)

    async def scenario() -> None:
        async with opened(loaders, machine, settings) as orchestrator:
            try:
                if streams:
                    async with orchestrator.stream(ask()) as stream:
                        assert [piece async for piece in stream] == ["one"]
                else:
                    await orchestrator.submit(ask())
            finally:
                opened_at.append((orchestrator, orchestrator.health().models))

    async def check() -> None:
        for orchestrator, _ in opened_at:
            assert_nothing_is_held(orchestrator.health())
        assert machine.present == []

    assert await sweep_cancellation(scenario, check) >= 5
    assert opened_at[-1][1].loaded == 1


async def test_close_unloads_the_models() -> None:
    machine = Machine()
    local = FakeLoader("local", machine=machine)
    async with opened({"local": local}, machine) as orchestrator:
        await orchestrator.submit(ask())
        await orchestrator.drain(1.0)

    assert (local.unloads, orchestrator.health().models.loaded) == (1, 0)


async def test_settings_with_model_bytes_have_the_guard_ask_before_the_drill_answers() -> None:
    settings = Settings(
        backends={
            "large": ScriptedSettings(kind="scripted", reply="from the large one", model_bytes=101),
            "small": ScriptedSettings(kind="scripted", reply="from the small one", model_bytes=100),
        },
        host_guard=WITHOUT_RESERVE,
    )
    container = Container(settings=providers.Object(settings))
    container.clock.override(providers.Object(VirtualClock()))
    container.host_memory.override(providers.Object(Machine(total_bytes=100)))
    async with open_container(container) as orchestrator:
        reply = await orchestrator.submit(ask())
        health = orchestrator.health()

    assert reply.text == "from the small one"
    assert (health.models.loaded, health.models.refused) == (1, 1)


async def test_open_orchestrator_with_models_of_ones_own_tries_them_after_the_backends() -> None:
    local = FakeLoader("local")
    remote = ScriptedBackend.repeating("remote", "from afar", clock=VirtualClock())
    async with open_orchestrator(Settings(), backends={"remote": remote}, models={"local": local}) as orchestrator:
        reply = await orchestrator.submit(ask())
        names = [backend.name for backend in orchestrator.health().backends]

    assert (reply.backend, names, local.attempts) == ("remote", ["remote", "local"], 0)


async def test_open_orchestrator_with_models_alone_answers_from_them() -> None:
    async with open_orchestrator(Settings(), models={"local": FakeLoader("local")}) as orchestrator:
        assert (await orchestrator.submit(ask())).text == "local"


@pytest.mark.parametrize(
    ("names", "path"), [(((), ()), "backends"), ((("a", "b"), ("b",)), "models")], ids=["none", "one name twice"]
)
async def test_open_orchestrator_with_names_that_make_no_route_is_refused(
    names: tuple[tuple[str, ...], tuple[str, ...]], path: str
) -> None:
    backends, models = names
    with pytest.raises(ConfigurationError) as caught:
        async with open_orchestrator(
            Settings(),
            backends={name: fallback() for name in backends},
            models={name: FakeLoader(name) for name in models},
        ):
            pytest.fail("it opened")

    assert caught.value.path == path


async def test_open_orchestrator_with_models_and_too_short_attempts_is_refused_with_both_paths() -> None:
    settings = Settings(guard=GuardSettings(attempt_timeout_s=29.0))
    with pytest.raises(ConfigurationError, match=r"models\.wait_timeout_s and models\.load_timeout_s") as caught:
        async with open_orchestrator(settings, models={"local": FakeLoader("local")}):
            pytest.fail("it opened")

    assert caught.value.path == "guard.attempt_timeout_s"


async def test_load_that_never_ends_is_cut_and_the_request_answered_by_another() -> None:
    machine = Machine()
    local = FakeLoader("local", machine=machine)
    local.on_load = lambda: anyio.sleep(math.inf)
    async with opened({"local": local, "remote": fallback()}, machine) as orchestrator:
        reply = await orchestrator.submit(ask())
        health = orchestrator.health()

    assert reply.backend == "remote"
    assert reply.backend_s == pytest.approx(20.0)
    assert_nothing_is_held(health)
