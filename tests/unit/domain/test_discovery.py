from __future__ import annotations

from typing import Any

import anyio
import pytest

from holdfast.domain.discovery import Discovery, DiscoveryConfig
from holdfast.ports.errors import ConfigurationError, StoreRefusedError
from holdfast.ports.events import InstanceAppeared, InstanceVanished, RegistryLost, RegistryRejoined
from holdfast.ports.registry import ServiceInstance
from holdfast.testing import VirtualClock, sweep_cancellation
from tests.fakes.events import Listener
from tests.fakes.registry import FlakyRegistry, Listing, instance

pytestmark = pytest.mark.anyio


def discovery(
    registry: FlakyRegistry,
    listing: Listing,
    events: Listener | None = None,
    **config: Any,  # noqa: ANN401 - any field of the configuration
) -> Discovery:
    return Discovery(
        registry, "asks", listing, DiscoveryConfig(**config), clock=VirtualClock(), random=lambda: 0.0, events=events
    )


async def put(registry: FlakyRegistry, *instances: ServiceInstance) -> None:
    for found in instances:
        await registry.register(found, ttl_s=10_000.0, forget_after_s=10_000.0)


async def test_open_returns_with_the_first_list_in_use() -> None:
    registry, listing = FlakyRegistry(), Listing()
    await put(registry, instance(2), instance(1))

    async with discovery(registry, listing):
        assert listing.told == ["+asks-1", "+asks-2"]


async def test_open_with_nobody_registered_returns_at_once() -> None:
    began_s = anyio.current_time()

    async with discovery(FlakyRegistry(), Listing()) as opened:
        assert anyio.current_time() == began_s
        assert opened.statistics().query.joined


async def test_open_while_the_registry_is_away_returns_at_once() -> None:
    registry, began_s = FlakyRegistry(), anyio.current_time()
    registry.go_away()

    async with discovery(registry, Listing()) as opened:
        assert anyio.current_time() == began_s
        assert not opened.statistics().query.joined


async def test_open_while_the_registry_hangs_returns_after_a_while() -> None:
    registry, began_s = FlakyRegistry(), anyio.current_time()
    registry.delay_s = 1000.0

    async with discovery(registry, Listing(), open_timeout_s=5.0):
        assert anyio.current_time() - began_s == pytest.approx(5.0)


async def test_instance_that_appears_and_vanishes_is_told_within_a_second_with_one_event_each() -> None:
    registry, listing, events = FlakyRegistry(), Listing(), Listener()

    async with discovery(registry, listing, events) as opened:
        await anyio.sleep(10.0)
        await put(registry, instance(1))
        await anyio.sleep(1.0)
        appeared = list(listing.told)
        await registry.deregister(instance(1))
        await anyio.sleep(1.0)
        counts = opened.statistics()

    assert (appeared, listing.told) == (["+asks-1"], ["+asks-1", "-asks-1"])
    assert events.heard == [
        InstanceAppeared(service="asks", instance="10.0.0.1:8001"),
        InstanceVanished(service="asks", instance="10.0.0.1:8001"),
    ]
    assert (counts.instances, counts.appeared, counts.vanished) == (0, 1, 1)


async def test_other_services_are_not_told_of() -> None:
    registry, listing = FlakyRegistry(), Listing()
    await put(registry, instance(1, service="other"))

    async with discovery(registry, listing):
        await anyio.sleep(5.0)

    assert listing.told == []


async def test_instance_that_changed_vanishes_and_appears() -> None:
    registry, listing = FlakyRegistry(), Listing()
    await put(registry, instance(1))

    async with discovery(registry, listing):
        await put(registry, instance(1, metadata={"model": "other"}))
        await anyio.sleep(2.0)

    assert listing.told == ["+asks-1", "-asks-1", "+asks-1"]


async def test_instances_of_one_address_are_used_once() -> None:
    registry, listing = FlakyRegistry(), Listing()
    twin = ServiceInstance(service="asks", instance_id="asks-0-old", host="10.0.0.1", port=8001)
    await put(registry, instance(1), twin)

    async with discovery(registry, listing):
        first = list(listing.told)
        await registry.deregister(twin)
        await anyio.sleep(2.0)

    assert first == ["+asks-0-old"]
    assert listing.told == ["+asks-0-old", "-asks-0-old", "+asks-1"]


async def test_no_more_instances_are_used_than_the_bound_and_those_in_use_stay() -> None:
    registry, listing = FlakyRegistry(), Listing()
    await put(registry, instance(5), instance(6))

    async with discovery(registry, listing, max_instances=3) as opened:
        await put(registry, *(instance(number) for number in range(1, 5)))
        await anyio.sleep(5.0)
        counts = opened.statistics()

    assert listing.told[:2] == ["+asks-5", "+asks-6"]
    assert listing.addresses == {"10.0.0.1:8001", "10.0.0.1:8005", "10.0.0.1:8006"}
    assert (counts.instances, counts.crowded_out) == (3, 3)


async def test_last_good_list_is_kept_while_the_registry_is_away_with_one_event_each_way() -> None:
    registry, listing, events = FlakyRegistry(), Listing(), Listener()
    await put(registry, instance(1))

    async with discovery(registry, listing, events, wait_s=1.0) as opened:
        events.heard.clear()
        registry.go_away()
        await anyio.sleep(600.0)
        during = opened.statistics()
        registry.come_back()
        await anyio.sleep(20.0)
        after = opened.statistics()

    assert listing.told == ["+asks-1"]
    assert (during.instances, during.query.joined) == (1, False)
    assert (after.instances, after.query.joined) == (1, True)
    lost, rejoined = events.heard
    assert lost == RegistryLost(service="asks", role="discovery", error="StoreUnavailableError", is_refusal=False)
    assert isinstance(rejoined, RegistryRejoined)
    assert rejoined.away_s == pytest.approx(600.0, abs=16.0)


async def test_discovery_without_a_sink_finds_the_registry_again() -> None:
    registry, listing = FlakyRegistry(), Listing()
    registry.go_away()

    async with discovery(registry, listing):
        registry.come_back()
        await put(registry, instance(1))
        await anyio.sleep(5.0)

    assert listing.told == ["+asks-1"]


async def test_refusal_is_told_as_what_somebody_must_mend() -> None:
    registry, events = FlakyRegistry(), Listener()
    registry.error = StoreRefusedError("permission denied", store="test")

    async with discovery(registry, Listing(), events):
        await anyio.sleep(100.0)

    assert events.heard == [RegistryLost(service="asks", role="discovery", error="StoreRefusedError", is_refusal=True)]


async def test_empty_list_of_a_registry_that_answers_is_believed() -> None:
    registry, listing = FlakyRegistry(), Listing()
    await put(registry, instance(1), instance(2))

    async with discovery(registry, listing) as opened:
        registry.clear()
        await anyio.sleep(2.0)

        assert opened.statistics().instances == 0
    assert listing.addresses == set()


async def test_close_tells_nothing_and_leaves_what_is_in_use_to_its_user() -> None:
    registry, listing, events = FlakyRegistry(), Listing(), Listener()
    await put(registry, instance(1))

    async with discovery(registry, listing, events):
        pass

    assert listing.told == ["+asks-1"]


async def test_error_of_the_block_passes_through_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with discovery(FlakyRegistry(), Listing()):
            raise ZeroDivisionError


async def test_discovery_cancelled_at_every_checkpoint_ends_and_adds_up() -> None:
    opened: list[Discovery] = []

    async def scenario() -> None:
        registry = FlakyRegistry()
        opened.append(discovery(registry, Listing()))
        async with opened[-1]:
            await put(registry, instance(1))
            await anyio.sleep(2.0)
            await registry.deregister(instance(1))
            await anyio.sleep(2.0)

    async def check() -> None:
        counts = opened[-1].statistics()
        query = counts.query
        assert query.asking == 0
        assert query.asked == query.changed + query.unchanged + query.failed + query.cancelled
        assert counts.appeared == counts.instances + counts.vanished

    assert await sweep_cancellation(scenario, check) >= 4


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("max_instances", 0, "discovery.max_instances"),
        ("open_timeout_s", 0.0, "discovery.open_timeout_s"),
        ("wait_s", -1.0, "query.wait_s"),
    ],
)
def test_config_value_out_of_its_range_is_refused(field: str, value: float, path: str) -> None:
    with pytest.raises(ConfigurationError, match=path):
        DiscoveryConfig(**{field: value})  # type: ignore[arg-type] # one of its fields
