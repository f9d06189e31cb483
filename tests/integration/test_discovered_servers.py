"""OpenAI-compatible servers that appear and vanish in a registry, chosen by settings and met by requests."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from holdfast.adapters.consul import ConsulClient, ConsulRegistry
from holdfast.adapters.files import FileRegistry
from holdfast.adapters.system import SystemClock
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import Settings
from holdfast.application.wiring import open_orchestrator
from holdfast.domain.registration import Registration, RegistrationConfig
from holdfast.ports.errors import NoInstanceError
from holdfast.ports.events import InstanceAppeared, InstanceRefused, InstanceVanished
from holdfast.ports.registry import ServiceInstance, ServiceRegistry
from tests.fakes.chat_server import openai_answer
from tests.fakes.consul_agent import ConsulAgent
from tests.fakes.http_server import Asked, FakeServer, json_answer, serving
from tests.fakes.service import ask_anew, told

pytestmark = [pytest.mark.anyio, pytest.mark.real_time, pytest.mark.slow]

KEY = "sk-of-nobody"


class Place:
    """A registry as others register with it, and as the settings name it."""

    def __init__(self, registry: ServiceRegistry, settings: dict[str, Any]) -> None:
        self.registry = registry
        self.settings = settings
        self.service = f"llm-{secrets.token_hex(6)}"


@pytest.fixture(params=["file", "consul"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "file":
        settings = {"kind": "file", "path": str(tmp_path), "poll_s": 0.05}
        return Place(FileRegistry(tmp_path, clock=SystemClock()), settings)
    agent: ConsulAgent = request.getfixturevalue("running_consul_agent")
    return Place(ConsulRegistry(ConsulClient(agent.address)), {"kind": "consul", "address": agent.address})


@asynccontextmanager
async def served(place: Place, name: str) -> AsyncGenerator[FakeServer]:
    """Serve answers that say `name`, and be registered meanwhile."""

    async def answer(asked: Asked, stream: SocketStream) -> None:
        assert asked.headers["authorization"] == f"Bearer {KEY}"
        await stream.send(json_answer(openai_answer(name)))

    async with serving(answer) as server:
        port = int(server.url.removesuffix("/v1").rpartition(":")[2])
        instance = ServiceInstance(
            service=place.service, instance_id=f"{place.service}-{name}", host="127.0.0.1", port=port
        )
        config = RegistrationConfig(ttl_s=5.0)
        async with Registration(place.registry, instance, config, clock=SystemClock(), random=lambda: 0.5):
            yield server


def settings_of(place: Place, **backend: Any) -> Settings:  # noqa: ANN401 - settings are JSON
    quick = {"max_per_s": 20.0, "burst": 20}
    found = {"kind": "openai", "service": place.service, "api_key": KEY, **backend}
    return Settings.model_validate(
        {"backends": {"gpu": found}, "registry": {**place.settings, "discovery": quick}, "guard": {"retry": {}}}
    )


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    with anyio.move_on_after(30):
        while not await condition():  # noqa: ASYNC110 - nobody tells it
            await anyio.sleep(0.05)
        return
    raise AssertionError(what)


async def answering(service: Orchestrator) -> set[str]:
    return set(Counter([(await service.submit(ask_anew())).text for _ in range(12)]))


async def test_servers_appear_and_vanish_without_a_restart(place: Place) -> None:
    async with served(place, "one"):
        async with open_orchestrator(settings_of(place)) as service:

            async def only_one() -> bool:
                return len(service.health().backends) == 1 and await answering(service) == {"one"}

            async def both() -> bool:
                return len(service.health().backends) == 2 and await answering(service) == {"one", "two"}

            await until(only_one, "the first answers")
            async with served(place, "two") as second:
                await until(both, "both answer")
                reply = await service.submit(ask_anew())
            await until(only_one, "the first answers alone")
            await second.wait_left()

        assert reply.backend.startswith("gpu@127.0.0.1:")
        assert len(told(service, InstanceAppeared)) == 2
        assert len(told(service, InstanceVanished)) == 1


async def test_server_that_vanished_is_asked_by_nobody_and_the_last_one_leaves_a_typed_refusal(place: Place) -> None:
    async with open_orchestrator(settings_of(place)) as service:
        with pytest.raises(NoInstanceError):
            await service.submit(ask_anew())

        async def there() -> bool:
            return len(service.health().backends) == 1

        async def gone() -> bool:
            return not service.health().backends

        async with served(place, "one"):
            await until(there, "found")
            assert (await service.submit(ask_anew())).text == "one"
        await until(gone, "gone")

        with pytest.raises(NoInstanceError, match="'gpu'"):
            await service.submit(ask_anew())


async def test_instance_whose_address_is_more_than_one_is_left_out_and_gets_no_key(place: Place) -> None:
    odd = ServiceInstance(service=place.service, instance_id="odd", host="127.0.0.1/x?", port=80)
    await place.registry.register(odd, ttl_s=10.0, forget_after_s=60.0)
    async with served(place, "one"), open_orchestrator(settings_of(place)) as service:

        async def refused() -> bool:
            return bool(told(service, InstanceRefused)) and len(service.health().backends) == 1

        await until(refused, "left out")
        assert await answering(service) == {"one"}

    [event] = told(service, InstanceRefused)
    assert (event.instance, event.error) == ("127.0.0.1/x?:80", "ConfigurationError")
    await place.registry.deregister(odd)


async def test_server_that_is_killed_is_fallen_back_from_until_it_is_taken_for_dead(place: Place) -> None:
    async with served(place, "one"):
        dead = ServiceInstance(service=place.service, instance_id=f"{place.service}-dead", host="127.0.0.1", port=1)
        await place.registry.register(dead, ttl_s=2.0, forget_after_s=60.0)
        async with open_orchestrator(settings_of(place)) as service:

            async def both() -> bool:
                return len(service.health().backends) == 2

            async def only_one() -> bool:
                return [backend.name for backend in service.health().backends] != ["gpu@127.0.0.1:1"] and (
                    len(service.health().backends) == 1
                )

            await until(both, "both are listed")
            texts = await answering(service)
            await until(only_one, "the dead one is gone")

    assert texts == {"one"}
