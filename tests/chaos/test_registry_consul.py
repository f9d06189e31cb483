"""A real Consul agent that is killed, restarted empty, frozen, without a leader, or makes no sense of its indexes."""

from __future__ import annotations

import itertools
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest

from holdfast.adapters.consul import ConsulClient, ConsulRegistry
from holdfast.adapters.system import SystemClock
from holdfast.application.container import Registry
from holdfast.domain.discovery import Discovery, DiscoveryConfig
from holdfast.domain.registration import Registration, RegistrationConfig
from holdfast.ports.errors import StoreRefusedError, StoreUnavailableError
from holdfast.ports.events import Event, InstanceAppeared, InstanceVanished, RegistryLost, RegistryRejoined
from holdfast.ports.registry import ServiceInstance
from holdfast.ports.statistics import ServiceState
from tests.fakes.consul_agent import ConsulAgent, StartConsul
from tests.fakes.events import Listener
from tests.fakes.http_proxy import HttpProxy, running_proxy
from tests.fakes.registry import Listing
from tests.fakes.service import Answering, ask_anew, opened, told

pytestmark = [pytest.mark.anyio, pytest.mark.real_time, pytest.mark.slow]

FOLLOWED = DiscoveryConfig(wait_s=1.0, slack_s=3.0, first_backoff_s=0.5, max_backoff_s=1.0)
"""Waits for less than one would elsewhere, and at the usual rate: one question a second, three at once."""
ALIVE = RegistrationConfig(ttl_s=10.0, call_timeout_s=3.0, leave_timeout_s=4.0)


def new_instance(name: str = "a", *, service: str | None = None) -> ServiceInstance:
    service = f"svc-{secrets.token_hex(6)}" if service is None else service
    return ServiceInstance(service=service, instance_id=f"{service}-{name}", host="127.0.0.1", port=8000 + ord(name))


def registry_at(address: str, *, token: str | None = None) -> ConsulRegistry:
    return ConsulRegistry(ConsulClient(address, token=token, timeout_s=3.0))


async def until(condition: Callable[[], bool], what: str, *, within_s: float = 30.0) -> None:
    with anyio.move_on_after(within_s):
        while not condition():  # noqa: ASYNC110 - nobody tells it
            await anyio.sleep(0.02)
    assert condition(), what


async def until_awaited(condition: Callable[[], Awaitable[bool]], what: str, *, within_s: float = 30.0) -> None:
    with anyio.move_on_after(within_s):
        while not await condition():  # noqa: ASYNC110 - as above
            await anyio.sleep(0.05)
        return
    raise AssertionError(what)


class Followed:
    """One service as a process follows it."""

    def __init__(self, registry: ConsulRegistry, service: str) -> None:
        self.listing = Listing()
        self.events = Listener()
        clock = SystemClock()
        self.discovery = Discovery(
            registry, service, self.listing, FOLLOWED, clock=clock, random=lambda: 0.5, events=self.events
        )

    def heard(self, *kinds: type[Event]) -> list[Event]:
        return [event for event in self.events.heard if isinstance(event, kinds)]


@asynccontextmanager
async def following(address: str, service: str) -> AsyncGenerator[Followed]:
    followed = Followed(registry_at(address), service)
    async with followed.discovery:
        yield followed


@asynccontextmanager
async def registered(address: str, instance: ServiceInstance) -> AsyncGenerator[Registration]:
    clock = SystemClock()
    registration = Registration(registry_at(address), instance, ALIVE, clock=clock, random=lambda: 0.5)
    async with registration:
        await until(lambda: registration.statistics().listed, "registered")
        yield registration


def assert_asked_once_a_second(proxy: HttpProxy, service: str, began_s: float) -> None:
    asked = len(proxy.asked_for(f"/v1/health/service/{service}"))
    assert asked <= 3 + (time.monotonic() - began_s) + 1


@pytest.fixture
def proxy(running_consul_agent: ConsulAgent) -> Iterator[HttpProxy]:
    with running_proxy(running_consul_agent.port) as proxy:
        yield proxy


def _falling() -> Callable[[str], str]:
    indexes = itertools.count(10**6, -1)
    return lambda _: str(next(indexes))


def _leaping() -> Callable[[str], str]:
    indexes = itertools.cycle([10**9, 1, 10**12])
    return lambda _: str(next(indexes))


INDEXES: dict[str, Callable[[], Callable[[str], str | None]]] = {
    "that go backwards": _falling,
    "that leap to and fro": _leaping,
    "of 0": lambda: lambda _: "0",
    "below 0": lambda: lambda _: "-7",
    "of garbage": lambda: lambda _: "soon",
    "that are left out": lambda: lambda _: None,
    "beyond any number": lambda: lambda _: "9" * 40,
    "that Consul refuses": lambda: lambda _: str(2**64),
}


@pytest.mark.parametrize("indexes", INDEXES)
async def test_indexes_that_make_no_sense_cost_a_question_a_second_and_every_change_is_met(
    indexes: str, proxy: HttpProxy
) -> None:
    proxy.index = INDEXES[indexes]()
    one = new_instance("a")
    two = new_instance("b", service=one.service)
    began_s = time.monotonic()

    async with registered(proxy.address, one), following(proxy.address, one.service) as followed:
        await until(lambda: followed.listing.addresses == {one.address}, "the first is found")
        async with registered(proxy.address, two):
            await until(lambda: len(followed.listing.addresses) == 2, "the second is found")
        await until(lambda: followed.listing.addresses == {one.address}, "the second is gone")
        assert_asked_once_a_second(proxy, one.service, began_s)

    assert [type(event) for event in followed.heard(InstanceAppeared, InstanceVanished)] == [
        InstanceAppeared,
        InstanceAppeared,
        InstanceVanished,
    ]


async def test_agent_without_a_leader_keeps_the_last_list_and_is_found_again_by_itself(proxy: HttpProxy) -> None:
    one = new_instance()
    began_s = time.monotonic()

    async with registered(proxy.address, one), following(proxy.address, one.service) as followed:
        await until(lambda: bool(followed.listing.addresses), "found")
        proxy.failure = (500, "No cluster leader")
        await until(lambda: not followed.discovery.statistics().query.joined, "lost")
        await anyio.sleep(3.0)
        during = set(followed.listing.addresses)
        proxy.failure = None
        await until(lambda: followed.discovery.statistics().query.joined, "joined again")
        assert_asked_once_a_second(proxy, one.service, began_s)

    assert during == {one.address}
    lost, rejoined = followed.heard(RegistryLost, RegistryRejoined)
    assert (type(lost), type(rejoined)) == (RegistryLost, RegistryRejoined)
    assert followed.heard(InstanceVanished) == []


async def test_real_agent_that_never_gets_a_leader_is_unavailable_and_not_stormed(start_consul: StartConsul) -> None:
    agent = start_consul(servers=3)

    with pytest.raises(StoreUnavailableError):
        await registry_at(agent.address).instances("asks", index=0, wait_s=0.0)

    with running_proxy(agent.port) as proxy:
        began_s = time.monotonic()
        async with following(proxy.address, "asks") as followed:
            await anyio.sleep(4.0)
            assert_asked_once_a_second(proxy, "asks", began_s)
    assert [type(event) for event in followed.events.heard] == [RegistryLost]


async def test_agent_killed_and_restarted_empty_keeps_the_list_and_gets_it_all_again(start_consul: StartConsul) -> None:
    agent = start_consul()
    one = new_instance()

    with running_proxy(agent.port) as proxy:
        began_s = time.monotonic()
        async with registered(proxy.address, one) as registration, following(proxy.address, one.service) as followed:
            await until(lambda: bool(followed.listing.addresses), "found")
            agent.kill()
            await until(lambda: not followed.discovery.statistics().query.joined, "lost")
            await anyio.sleep(2.0)
            while_killed = set(followed.listing.addresses)
            await anyio.to_thread.run_sync(agent.start)
            await until(lambda: registration.statistics().forgotten > 0, "forgotten")
            await until(lambda: registration.statistics().registered == 2, "registered again")
            await until(lambda: followed.discovery.statistics().query.joined, "joined again")
            await until(lambda: followed.listing.addresses == {one.address}, "found again")
            assert_asked_once_a_second(proxy, one.service, began_s)

    assert while_killed == {one.address}
    assert len(followed.heard(RegistryLost)) == len(followed.heard(RegistryRejoined)) == 1


async def test_agent_that_is_frozen_is_lost_and_found_when_it_goes_on(start_consul: StartConsul) -> None:
    agent = start_consul()
    one = new_instance()

    async with registered(agent.address, one), following(agent.address, one.service) as followed:
        await until(lambda: bool(followed.listing.addresses), "found")
        agent.freeze()
        try:
            await until(lambda: not followed.discovery.statistics().query.joined, "lost")
            while_frozen = set(followed.listing.addresses)
        finally:
            agent.thaw()
        await until(lambda: followed.discovery.statistics().query.joined, "joined again")
        await until(lambda: followed.listing.addresses == {one.address}, "found again")

    assert while_frozen == {one.address}
    assert len(followed.heard(RegistryLost)) == len(followed.heard(RegistryRejoined)) == 1


async def test_agent_that_was_told_to_forget_us_is_told_again(running_consul_agent: ConsulAgent) -> None:
    one = new_instance()

    async with registered(running_consul_agent.address, one) as registration:
        running_consul_agent.request("PUT", f"/v1/agent/service/deregister/{one.instance_id}")
        await until(lambda: registration.statistics().registered == 2, "registered again")

        assert _catalogued(running_consul_agent, one.service) == [one.instance_id]


async def test_wrong_token_is_refused_and_told_once_and_the_right_one_works(start_consul: StartConsul) -> None:
    agent = start_consul(access_control=True)
    one = new_instance()
    wrong = registry_at(agent.address, token="99999999-2222-4333-8444-555555555555")  # noqa: S106 - of nobody
    with pytest.raises(StoreRefusedError, match="ACL not found"):
        await wrong.register(one, ttl_s=10.0, forget_after_s=60.0)

    followed = Followed(wrong, one.service)
    async with followed.discovery:
        await anyio.sleep(2.5)
    right = registry_at(agent.address, token=agent.token)
    await right.register(one, ttl_s=10.0, forget_after_s=60.0)

    assert followed.events.heard == [
        RegistryLost(service=one.service, role="discovery", error="StoreRefusedError", is_refusal=True)
    ]
    assert await right.heartbeat(one)
    assert (await right.instances(one.service, index=0, wait_s=0.0))[1] == (one,)
    await right.deregister(one)
    assert _catalogued(agent, one.service) == []


@pytest.mark.parametrize(
    "left", ['node_prefix "" { policy = "read" }', 'service_prefix "" { policy = "read" }', 'operator = "read"']
)
async def test_token_that_loses_its_permission_keeps_the_last_list_and_is_told_once(
    left: str, start_consul: StartConsul
) -> None:
    agent = start_consul(access_control=True)
    one = new_instance()
    await registry_at(agent.address, token=agent.token).register(one, ttl_s=30.0, forget_after_s=60.0)
    whole = 'node_prefix "" { policy = "read" } service_prefix "" { policy = "read" }'
    token, allow = _token_that_may(agent, whole)

    followed = Followed(registry_at(agent.address, token=token), one.service)
    async with followed.discovery:
        await until(lambda: bool(followed.listing.addresses), "found")
        allow(left)
        await until(lambda: not followed.discovery.statistics().query.joined, "refused")
        await until(lambda: followed.discovery.statistics().query.failed >= 2, "refused again")
        while_refused = set(followed.listing.addresses)
        allow(whole)
        await until(lambda: followed.discovery.statistics().query.joined, "joined again")

    assert while_refused == {one.address}
    assert followed.heard(InstanceVanished) == []
    lost, rejoined = followed.heard(RegistryLost, RegistryRejoined)
    assert isinstance(lost, RegistryLost)
    assert lost.is_refusal
    assert isinstance(rejoined, RegistryRejoined)


async def test_service_that_is_critical_unknown_or_gone_is_empty_and_not_refused(start_consul: StartConsul) -> None:
    agent = start_consul(access_control=True)
    one = new_instance()
    await registry_at(agent.address, token=agent.token).register(one, ttl_s=30.0, forget_after_s=60.0)
    token, _ = _token_that_may(
        agent, f'node_prefix "" {{ policy = "read" }} service "{one.service}" {{ policy = "read" }}'
    )
    registry = registry_at(agent.address, token=token)
    found = [(await registry.instances(one.service, index=0, wait_s=0.0))[1]]
    for change in (
        f"check/warn/service:{one.instance_id}",
        f"check/fail/service:{one.instance_id}",
        f"service/deregister/{one.instance_id}",
    ):
        agent.request("PUT", f"/v1/agent/{change}")
        await until_awaited(_lists(agent, one.service, 0), "not listed")
        found.append((await registry.instances(one.service, index=0, wait_s=0.0))[1])

    assert found == [(one,), (), (), ()]
    with pytest.raises(StoreRefusedError, match="Permission denied"):
        await registry.instances("another", index=0, wait_s=0.0)


async def test_drain_takes_us_out_of_the_catalogue_before_running_requests_are_over(
    running_consul_agent: ConsulAgent,
) -> None:
    own = Registry(services=registry_at(running_consul_agent.address), instance=new_instance(), registration=ALIVE)
    assert own.instance is not None
    service = own.instance.service

    async with (
        opened({"a": Answering(delay_s=1.5)}, registry=own, clock=SystemClock()) as orchestrator,
        anyio.create_task_group() as tasks,
    ):
        await until_awaited(_lists(running_consul_agent, service, 1), "registered")
        tasks.start_soon(orchestrator.submit, ask_anew())
        await anyio.sleep(0.1)
        tasks.start_soon(orchestrator.drain, 20.0)
        await until_awaited(_lists(running_consul_agent, service, 0), "gone")
        inside = orchestrator.health().requests.in_flight

    assert inside == 1
    assert orchestrator.health().requests.answered == 1


async def test_drain_while_the_agent_is_frozen_is_bounded(start_consul: StartConsul) -> None:
    agent = start_consul()
    own = Registry(services=registry_at(agent.address), instance=new_instance(), registration=ALIVE)
    assert own.instance is not None

    async with opened({"a": Answering()}, registry=own, clock=SystemClock()) as orchestrator:
        await until_awaited(_lists(agent, own.instance.service, 1), "registered")
        agent.freeze()
        try:
            with anyio.fail_after(20):
                await orchestrator.drain(1.0)
        finally:
            agent.thaw()
        state = orchestrator.health().state

    assert state is ServiceState.CLOSED
    assert [event.name for event in told(orchestrator, Event) if event.name == "deregistration_failed"] == [
        "deregistration_failed"
    ]


CHILD = """
import sys
import anyio
from holdfast import open_orchestrator
from holdfast.application.settings import Settings

address, service = sys.argv[1:]
own = {{"service": service, "host": "127.0.0.1", "port": 8080, "ttl_s": 3.0, "forget_after_s": 60.0}}
settings = Settings.model_validate({{"registry": {{"kind": "consul", "address": address, "registration": own}}}})

async def main():
    async with open_orchestrator(settings):
        print("open", flush=True)
        await anyio.sleep_forever()

anyio.run(main, backend={backend!r})
"""


async def test_process_that_is_killed_is_listed_no_more_after_its_time_to_live(
    running_consul_agent: ConsulAgent, anyio_backend_name: str
) -> None:
    service = f"svc-{secrets.token_hex(6)}"
    child = subprocess.Popen(  # noqa: ASYNC220 - to be killed, and starting it takes no time
        [sys.executable, "-c", CHILD.format(backend=anyio_backend_name), running_consul_agent.address, service],
        stdout=subprocess.PIPE,
    )
    try:
        await until_awaited(_lists(running_consul_agent, service, 1), "registered")
        await anyio.sleep(4.0)
        lives_on = await _lists(running_consul_agent, service, 1)()
        child.send_signal(signal.SIGKILL)
        killed_s = time.monotonic()
        await until_awaited(_lists(running_consul_agent, service, 0), "gone")
        took_s = time.monotonic() - killed_s
    finally:
        child.kill()
        child.communicate()

    assert lives_on
    assert took_s < 20.0  # and not only after the minute after which it is forgotten


def _lists(agent: ConsulAgent, service: str, count: int) -> Callable[[], Awaitable[bool]]:
    async def lists() -> bool:
        _, found = await anyio.to_thread.run_sync(agent.request, "GET", f"/v1/health/service/{service}?passing=1")
        assert isinstance(found, list)
        return len(found) == count

    return lists


def _token_that_may(agent: ConsulAgent, rules: str) -> tuple[str, Callable[[str], None]]:
    """Return a token to which these rules apply, and what lets others apply."""
    _, policy = agent.request("PUT", "/v1/acl/policy", {"Name": "ours", "Rules": rules})
    assert isinstance(policy, dict)
    _, token = agent.request("PUT", "/v1/acl/token", {"Policies": [{"Name": "ours"}]})
    assert isinstance(token, dict)

    def allow(rules: str) -> None:
        status, said = agent.request("PUT", f"/v1/acl/policy/{policy['ID']}", {**policy, "Rules": rules})
        assert status == 200, said

    return token["SecretID"], allow


def _catalogued(agent: ConsulAgent, service: str) -> list[str]:
    _, found = agent.request("GET", f"/v1/catalog/service/{service}")
    assert isinstance(found, list)
    return [entry["ServiceID"] for entry in found]
