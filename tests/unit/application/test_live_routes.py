"""Backends whose instances appear and vanish, met by requests that go through `Orchestrator.submit`."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from holdfast.adapters.inference.provider import SharedBackendProvider
from holdfast.application.container import Backend, Discovered, Registry
from holdfast.application.live_routes import LiveRoutes
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.route import Route
from holdfast.application.routing import FallbackRouter
from holdfast.application.settings import GuardSettings, Settings
from holdfast.domain.circuit_breaker import BreakerConfig
from holdfast.domain.discovery import DiscoveryConfig
from holdfast.domain.rate_limit_config import RateLimitConfig
from holdfast.domain.route_choice import RouteChoice
from holdfast.ports.errors import ConfigurationError, NoInstanceError
from holdfast.ports.events import FellBack, InstanceAppeared, InstanceRefused, InstanceVanished
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.registry import ServiceInstance
from holdfast.ports.statistics import BreakerState, Health
from holdfast.testing import ManualClock, sweep_cancellation
from tests.fakes.registry import FlakyRegistry, instance
from tests.fakes.service import ONCE, Answering, ask_anew, assert_nothing_is_held, opened, told, unavailable

pytestmark = pytest.mark.anyio

QUICK = DiscoveryConfig(max_per_s=100.0, burst=100)
"""Follows changes at once, so that tests need not wait for the rate limit."""


class Fleet:
    """A service with a backend for each of its instances, which may be told how to behave by its number."""

    def __init__(self, *, guard: GuardSettings = ONCE, make: Callable[[int], Answering] | None = None) -> None:
        self.registry = FlakyRegistry()
        self.backends: dict[int, Answering] = {}
        self.closed: list[int] = []
        self._guard = guard
        self._make = make or (lambda number: Answering(text=str(number)))

    @property
    def discovered(self) -> Discovered:
        return Discovered(service="asks", make=self.make)

    def make(self, found: ServiceInstance) -> Backend:
        number = found.port - 8000
        self.backends[number] = backend = self._make(number)
        return Backend(provider=_Closing(backend, lambda: self.closed.append(number)), guard=self._guard)

    async def start(self, *numbers: int) -> None:
        for number in numbers:
            await self.registry.register(instance(number), ttl_s=1e6, forget_after_s=1e6)
        await anyio.sleep(0.1)

    async def stop(self, *numbers: int) -> None:
        for number in numbers:
            await self.registry.deregister(instance(number))
        await anyio.sleep(0.1)


class _Closing(SharedBackendProvider):
    def __init__(self, backend: InferenceBackend, close: Callable[[], object]) -> None:
        super().__init__(backend)
        self._close = close

    async def close(self, resource: InferenceBackend) -> None:
        self._close()


@asynccontextmanager
async def opened_over(
    fleet: Fleet,
    others: Mapping[str, InferenceBackend] | None = None,
    *,
    discovery: DiscoveryConfig = QUICK,
    settings: Settings | None = None,
    **parts: Any,  # noqa: ANN401 - any part of the container
) -> AsyncGenerator[Orchestrator]:
    backends: dict[str, InferenceBackend | Discovered] = {"fleet": fleet.discovered, **(others or {})}
    registry = Registry(services=fleet.registry, discovery=discovery)
    async with opened(backends, settings, registry=registry, **parts) as service:
        yield service


async def answers(service: Orchestrator, count: int) -> Counter[str]:
    return Counter([(await service.submit(ask_anew())).text for _ in range(count)])


def named(health: Health) -> list[str]:
    return [backend.name for backend in health.backends]


async def test_submit_first_request_after_opening_meets_the_instances_that_are_registered() -> None:
    fleet = Fleet()
    await fleet.start(1)

    async with opened_over(fleet) as service:
        reply = await service.submit(ask_anew())

    assert (reply.text, reply.backend) == ("1", "fleet@10.0.0.1:8001")


async def test_submit_instance_that_appears_gets_requests_without_a_restart() -> None:
    fleet = Fleet()
    await fleet.start(1)

    async with opened_over(fleet, random=_turns()) as service:
        before = await answers(service, 20)
        await fleet.start(2)
        after = await answers(service, 20)
        health = service.health()

    assert before == {"1": 20}
    assert set(after) == {"1", "2"}
    assert named(health) == ["fleet@10.0.0.1:8001", "fleet@10.0.0.1:8002"]
    assert_nothing_is_held(health)


async def test_submit_instance_that_vanishes_gets_no_more_requests_and_is_closed() -> None:
    fleet = Fleet()
    await fleet.start(1, 2)

    async with opened_over(fleet, random=_turns()) as service:
        await answers(service, 10)
        await fleet.stop(1)
        asked = fleet.backends[1].calls
        after = await answers(service, 20)
        health = service.health()

    assert after == {"2": 20}
    assert fleet.backends[1].calls == asked > 0
    assert 1 in fleet.closed
    assert named(health) == ["fleet@10.0.0.1:8002"]
    assert [event.instance for event in told(service, InstanceAppeared)] == ["10.0.0.1:8001", "10.0.0.1:8002"]
    assert told(service, InstanceVanished) == [InstanceVanished(service="asks", instance="10.0.0.1:8001")]


async def test_submit_under_way_at_an_instance_that_vanishes_is_finished_and_then_it_is_closed() -> None:
    fleet = Fleet(make=lambda number: Answering(text=str(number), delay_s=25.0))
    await fleet.start(1)
    texts: list[str] = []

    async with opened_over(fleet) as service, anyio.create_task_group() as tasks:

        async def submit() -> None:
            texts.append((await service.submit(ask_anew())).text)

        tasks.start_soon(submit)
        await anyio.sleep(1.0)
        await fleet.stop(1)
        with pytest.raises(NoInstanceError):
            await service.submit(ask_anew())
        await anyio.sleep(20.0)
        closed_meanwhile = list(fleet.closed)
        await anyio.sleep(10.0)

        assert (texts, closed_meanwhile, fleet.closed) == (["1"], [], [1])


async def test_submit_instance_that_comes_back_while_a_request_is_still_under_way_there_gets_new_ones() -> None:
    fleet = Fleet(make=lambda number: Answering(text=str(number), delay_s=5.0))
    await fleet.start(1)

    async with opened_over(fleet) as service, anyio.create_task_group() as tasks:
        tasks.start_soon(service.submit, ask_anew())
        await anyio.sleep(1.0)
        await fleet.stop(1)
        await fleet.start(1)
        reply = await service.submit(ask_anew())
        names = named(service.health())
        health = service.health()

    assert (reply.text, names) == ("1", ["fleet@10.0.0.1:8001"])
    assert health.requests.answered == 2
    assert_nothing_is_held(health)
    assert fleet.closed == [1, 1]


async def test_submit_with_no_instance_at_all_is_refused_by_name_and_says_when_to_come_back() -> None:
    async with opened_over(Fleet()) as service:
        with pytest.raises(NoInstanceError, match="'fleet'") as caught:
            await service.submit(ask_anew())
        health = service.health()

    assert (caught.value.backends, caught.value.retry_after_s) == (("fleet",), 1.0)
    assert health.requests.refused == 1
    assert_nothing_is_held(health)


async def test_submit_with_no_instance_falls_back_to_the_other_backends() -> None:
    async with opened_over(Fleet(), {"spare": Answering(text="spare")}) as service:
        assert await answers(service, 3) == {"spare": 3}


async def test_submit_instance_that_dies_is_fallen_back_from_to_another_one() -> None:
    down = {1}
    fleet = Fleet(
        make=lambda number: Answering(text=str(number), failing=lambda _: unavailable() if number in down else None)
    )
    await fleet.start(1, 2, 3)

    async with opened_over(fleet, random=_turns()) as service:
        texts = await answers(service, 60)
        breakers = {backend.name: backend.breaker.state for backend in service.health().backends}

    assert sum(texts.values()) == texts["2"] + texts["3"] == 60
    assert {event.failed for event in told(service, FellBack)} == {"fleet@10.0.0.1:8001"}
    assert breakers == {
        "fleet@10.0.0.1:8001": BreakerState.OPEN,
        "fleet@10.0.0.1:8002": BreakerState.CLOSED,
        "fleet@10.0.0.1:8003": BreakerState.CLOSED,
    }


async def test_submit_instances_have_each_a_rate_limit_of_their_own() -> None:
    guard = GuardSettings(rate_limit=RateLimitConfig(requests_per_minute=5, burst_requests=5))
    fleet = Fleet(guard=guard)
    await fleet.start(1, 2)

    async with opened_over(fleet) as service:
        texts = await answers(service, 10)

    assert texts == {"1": 5, "2": 5}


async def test_submit_instance_that_comes_back_begins_with_a_closed_breaker() -> None:
    guard = GuardSettings(retry=ONCE.retry, breaker=BreakerConfig(failures_in_row=1))
    down = [True]
    fleet = Fleet(guard=guard, make=lambda number: Answering(failing=lambda _: unavailable() if down[0] else None))
    await fleet.start(1)

    async with opened_over(fleet) as service:
        with pytest.raises(ConnectionError):
            await service.submit(ask_anew())
        opened_state = service.health().backends[0].breaker.state
        await fleet.stop(1)
        down[0] = False
        await fleet.start(1)

        assert opened_state is BreakerState.OPEN
        assert await answers(service, 3) == {"42": 3}


async def test_submit_instance_that_comes_back_while_its_last_request_is_under_way_has_a_breaker_of_its_own() -> None:
    guard = GuardSettings(retry=ONCE.retry, breaker=BreakerConfig(failures_in_row=1))
    lives: list[Answering] = []

    def make(_: int) -> Answering:
        lives.append(
            Answering(
                delay_s=lambda call: 20.0 if call == 1 else 0.0,
                failing=lambda call: unavailable() if call == 2 else None,
            )
            if not lives
            else Answering(text="new")
        )
        return lives[-1]

    fleet = Fleet(guard=guard, make=make)
    await fleet.start(1)

    async with opened_over(fleet) as service, anyio.create_task_group() as tasks:
        tasks.start_soon(service.submit, ask_anew())
        await anyio.sleep(1.0)
        with pytest.raises(ConnectionError):
            await service.submit(ask_anew())
        await fleet.stop(1)
        await fleet.start(1)

        assert await answers(service, 3) == {"new": 3}
        await anyio.sleep(60.0)
        assert await answers(service, 3) == {"new": 3}
        assert service.health().backends[0].breaker.admitted == 6


async def test_submit_instance_whose_metadata_changed_is_made_anew() -> None:
    fleet = Fleet()
    await fleet.start(1)

    async with opened_over(fleet) as service:
        first = fleet.backends[1]
        await fleet.registry.register(instance(1, metadata={"model": "new"}), ttl_s=1e6, forget_after_s=1e6)
        await anyio.sleep(0.1)
        await answers(service, 3)

        assert (first.calls, fleet.backends[1].calls) == (0, 3)
        assert len(service.health().backends) == 1


async def test_submit_instance_of_which_nothing_can_be_made_is_left_out_and_told_of() -> None:
    def make(number: int) -> Answering:
        if number == 1:
            raise ValueError("no model is named in its metadata")
        return Answering(text=str(number))

    fleet = Fleet(make=make)
    await fleet.start(1, 2)

    async with opened_over(fleet) as service:
        texts = await answers(service, 5)

    assert texts == {"2": 5}
    assert told(service, InstanceRefused) == [
        InstanceRefused(service="asks", instance="10.0.0.1:8001", error="ValueError")
    ]


async def test_submit_while_the_registry_is_away_goes_on_with_the_last_list() -> None:
    fleet = Fleet()
    await fleet.start(1)

    async with opened_over(fleet, discovery=DiscoveryConfig(wait_s=1.0)) as service:
        fleet.registry.go_away()
        await anyio.sleep(600.0)
        texts = await answers(service, 5)
        discovery = _registry_of(service.health()).discoveries[0]

    assert texts == {"1": 5}
    assert (discovery.instances, discovery.query.joined) == (1, False)


async def test_submit_no_more_instances_are_used_than_are_set() -> None:
    fleet = Fleet()
    await fleet.start(*range(1, 11))

    async with opened_over(fleet, discovery=DiscoveryConfig(max_instances=3)) as service:
        assert len(service.health().backends) == 3
        assert _registry_of(service.health()).discoveries[0].crowded_out == 7


@pytest.mark.parametrize("strategy", ["ordered", "weighted", "sticky", "fastest"])
async def test_submit_every_strategy_spreads_over_the_instances_and_follows_them(strategy: str) -> None:
    fleet = Fleet()
    await fleet.start(1, 2, 3)
    settings = Settings.model_validate({"routing": {"strategy": strategy}})

    async with opened_over(fleet, settings=settings, random=_turns()) as service:
        before = Counter([(await service.submit(ask_anew(tenant=f"{number}"))).text for number in range(90)])
        await fleet.stop(2)
        after = Counter([(await service.submit(ask_anew(tenant=f"{number}"))).text for number in range(60)])
        health = service.health()

    assert min(before[text] for text in "123") >= 10
    assert set(after) == {"1", "3"}
    assert_nothing_is_held(health)


async def test_submit_sticky_keys_stay_where_they_are_when_an_instance_appears_or_vanishes() -> None:
    fleet = Fleet()
    await fleet.start(1, 2, 3)
    settings = Settings.model_validate({"routing": {"strategy": "sticky"}})

    async def where(service: Orchestrator) -> dict[int, str]:
        return {number: (await service.submit(ask_anew(tenant=f"{number}"))).backend for number in range(200)}

    async with opened_over(fleet, {"other": Answering()}, settings=settings) as service:
        before = await where(service)
        await fleet.start(4)
        with_more = await where(service)
        await fleet.stop(2)
        with_less = await where(service)

    taken = {number for number in before if with_more[number] != before[number]}
    assert {with_more[number] for number in taken} == {"fleet@10.0.0.1:8004"}
    moved = {number for number in before if with_less[number] != with_more[number]}
    assert {with_more[number] for number in moved} == {"fleet@10.0.0.1:8002"}
    assert "other" not in {with_less[number] for number in moved}


async def test_submit_weights_are_those_of_the_backend_whatever_the_number_of_its_instances() -> None:
    fleet = Fleet(make=lambda _: Answering(text="fleet"))
    await fleet.start(*range(1, 9))
    settings = Settings.model_validate({"routing": {"strategy": "weighted", "weights": {"fleet": 1, "other": 3}}})

    async with opened_over(fleet, {"other": Answering(text="other")}, settings=settings, random=_turns()) as service:
        texts = await answers(service, 400)

    assert texts["other"] == pytest.approx(300, abs=40)


async def test_open_discovered_backend_without_a_registry_is_refused_with_both_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^backends\.fleet: .*registry\.kind"):
        async with opened({"fleet": Fleet().discovered}):
            pass


async def test_health_without_a_registry_tells_of_none() -> None:
    async with opened({"a": Answering()}) as service:
        assert service.health().registry is None


async def test_close_while_instances_come_and_go_closes_each_that_was_opened() -> None:
    fleet = Fleet()
    await fleet.start(1, 2)

    async with opened_over(fleet, random=_turns()) as service:
        await answers(service, 20)
        await fleet.stop(1)
        await fleet.start(3)
        await answers(service, 20)

    assert sorted(fleet.closed) == [1, 2, 3]


async def test_opening_and_asking_cancelled_at_every_checkpoint_closes_what_was_opened() -> None:
    fleets: list[Fleet] = []

    async def scenario() -> None:
        fleets.append(Fleet())
        fleet = fleets[-1]
        await fleet.registry.register(instance(1), ttl_s=1e6, forget_after_s=1e6)
        async with opened_over(fleet) as service:
            await service.submit(ask_anew())
            await fleet.stop(1)

    async def check() -> None:
        asked = {number for number, backend in fleets[-1].backends.items() if backend.calls}
        assert asked <= set(fleets[-1].closed)
        assert all(backend.running == 0 for backend in fleets[-1].backends.values())

    assert await sweep_cancellation(scenario, check) > 10


class Doors:
    """Opens routes that lead nowhere, and notes which are open."""

    def __init__(self, *, error: Exception | None = None) -> None:
        self.error = error
        self.open: set[str] = set()
        self.router = FallbackRouter(
            [],
            choice=RouteChoice(["fleet"], discovered=["fleet"], clock=ManualClock(), random=lambda: 0.5),
        )

    @asynccontextmanager
    async def open_route(self, found: ServiceInstance) -> AsyncGenerator[Route]:
        await anyio.sleep(0.1)
        if self.error is not None:
            raise self.error
        self.open.add(found.address)
        try:
            yield Unasked(found.address)
        finally:
            self.open.remove(found.address)


class Unasked(Route):
    """A route that nobody asks anything."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    async def wait_unused(self) -> None: ...


async def test_instance_that_vanishes_before_its_route_is_open_never_takes_requests() -> None:
    doors = Doors()

    async with LiveRoutes("fleet", doors.open_route, router=doors.router) as routes:
        routes.appear(instance(1))
        routes.vanish(instance(1))
        await anyio.sleep(1.0)

        assert (doors.open, doors.router.health()) == (set(), ())


async def test_route_that_cannot_be_opened_is_left_out_where_nobody_listens() -> None:
    doors = Doors(error=OSError("no more file descriptors"))

    async with LiveRoutes("fleet", doors.open_route, router=doors.router) as routes:
        routes.appear(instance(1))
        await routes.wait_opened()
        routes.vanish(instance(1))

    assert doors.router.health() == ()


def _turns() -> Callable[[], float]:
    """Return chance that repeats itself from run to run."""
    return random.Random(7).random


def _registry_of(health: Health) -> Any:  # noqa: ANN401 - not None
    assert health.registry is not None
    return health.registry
