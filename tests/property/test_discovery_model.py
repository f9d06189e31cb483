"""A discovery beside any history of instances, and of a registry that is away, restarts and makes no sense."""

from __future__ import annotations

import random
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.domain.discovery import Discovery, DiscoveryConfig
from holdfast.ports.events import Event, InstanceAppeared, InstanceVanished, RegistryLost, RegistryRejoined
from holdfast.ports.registry import ServiceInstance
from holdfast.ports.statistics import DiscoveryStatistics
from holdfast.testing import VirtualClock, virtual_backend
from tests.fakes.events import Listener
from tests.fakes.registry import FlakyRegistry, Listing, instance

CONFIG = DiscoveryConfig(wait_s=10.0, slack_s=2.0, max_backoff_s=4.0, max_instances=4)
STEP = st.one_of(
    st.tuples(st.just("start"), st.integers(1, 7)),
    st.tuples(st.just("stop"), st.integers(1, 7)),
    st.tuples(st.just("change"), st.integers(1, 7)),
    st.tuples(st.sampled_from(["away", "back", "empties", "hangs", "quick"]), st.just(0)),
    st.tuples(st.just("index"), st.sampled_from([None, 0, -3, 1, 10**30])),
)
HISTORY = st.lists(st.tuples(STEP, st.floats(0.0, 20.0)), max_size=15)


class OddRegistry(FlakyRegistry):
    """May say any index at all."""

    index: int | None = 0
    is_odd = False

    async def instances(
        self, service: str, *, index: int, wait_s: float
    ) -> tuple[int | None, tuple[ServiceInstance, ...]]:
        found, listed = await super().instances(service, index=0 if self.is_odd else index, wait_s=wait_s)
        return (self.index if self.is_odd else found), listed


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(history=HISTORY, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_any_history_ends_with_what_is_listed_each_change_told_once_and_a_question_a_second(
    backend: str, history: list[tuple[tuple[str, Any], float]], seed: int
) -> None:
    name, options = virtual_backend(backend)
    counts, heard = anyio.run(_follow, history, seed, backend=name, backend_options=options)
    told = [type(event) for event in heard]

    assert (told.count(InstanceAppeared), told.count(InstanceVanished)) == (counts.appeared, counts.vanished)
    assert told.count(RegistryLost) == told.count(RegistryRejoined)


async def _follow(history: list[tuple[tuple[str, Any], float]], seed: int) -> tuple[DiscoveryStatistics, list[Event]]:
    registry, listing, listener = OddRegistry(), Listing(), Listener()
    discovery = Discovery(
        registry, "asks", listing, CONFIG, clock=VirtualClock(), random=random.Random(seed).random, events=listener
    )
    began_s = anyio.current_time()

    async with discovery:
        for (what, argument), seconds in history:
            before = set(listing.addresses)
            await _befall(registry, what, argument)
            await anyio.sleep(seconds)
            if not discovery.statistics().query.joined and what == "away":
                assert listing.addresses == before
            _assert_adds_up(discovery, listing)
        await _befall(registry, "back", 0)
        await _befall(registry, "quick", 0)
        registry.is_odd = False
        await anyio.sleep(CONFIG.timeout_s + CONFIG.max_backoff_s + 5.0)
        took_s = anyio.current_time() - began_s
        everyone = {found.split("-")[1] for found in await registry.listed()}

        in_use = {str(int(address.rpartition(":")[2]) - 8000) for address in listing.addresses}
        assert in_use <= everyone
        assert len(in_use) == min(len(everyone), CONFIG.max_instances)
        assert len(registry.named("instances")) <= CONFIG.burst + took_s * CONFIG.max_per_s + 1

    return discovery.statistics(), listener.heard


async def _befall(registry: OddRegistry, what: str, argument: Any) -> None:  # noqa: ANN401 - of the step
    match what:
        case "start":
            await _put(registry, instance(argument))
        case "change":
            await _put(registry, instance(argument, metadata={"changed": "yes"}))
        case "stop":
            await super(FlakyRegistry, registry).deregister(instance(argument))
        case "away":
            registry.go_away()
        case "back":
            registry.come_back()
        case "empties":
            registry.clear()
        case "hangs":
            registry.delay_s = 1000.0
        case "quick":
            registry.delay_s = 0.0
        case _:
            registry.is_odd, registry.index = True, argument


async def _put(registry: OddRegistry, found: ServiceInstance) -> None:
    await super(FlakyRegistry, registry).register(found, ttl_s=1e6, forget_after_s=1e6)


def _assert_adds_up(discovery: Discovery, listing: Listing) -> None:
    counts, query = discovery.statistics(), discovery.statistics().query
    assert counts.appeared == counts.instances + counts.vanished
    assert counts.instances == len(listing.addresses) <= CONFIG.max_instances
    assert query.asked == query.asking + query.changed + query.unchanged + query.failed + query.cancelled
