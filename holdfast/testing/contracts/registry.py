"""What every registry of services must hold.

Responsibility: the contract of `holdfast.ports.registry.ServiceRegistry`, as a pytest class to derive from.
Guarantees: with a registry that passes, `Registration` and `Discovery` keep their promises.
Not responsible for: a registry that is away, refuses, or answers with what makes no sense: the adapter's own tests.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace

import anyio
import pytest

from holdfast.ports.registry import ServiceInstance, ServiceRegistry
from holdfast.testing.cancellation import cancel_at_checkpoint

__all__ = ["ServiceRegistryContract"]


class ServiceRegistryContract(ABC):
    """Derive from it, name the class ``Test…`` and make your registry; pytest does the rest.

    Example:
        >>> class TestMyRegistry(ServiceRegistryContract):
        ...     def make_registry(self) -> ServiceRegistry:
        ...         return MyRegistry(address="127.0.0.1:7000")
    """

    pytestmark = pytest.mark.anyio

    ttl_s = 1.0
    """The time to live in these tests, in seconds; those that let one pass wait for that long."""
    forget_after_s = 60.0

    @abstractmethod
    def make_registry(self) -> ServiceRegistry:
        """Return the registry, as one process sees it; each further call within a test is another process."""

    def instance(self, name: str = "a", *, service: str | None = None) -> ServiceInstance:
        """Return an instance that no other test has."""
        service = f"svc-{secrets.token_hex(6)}" if service is None else service
        return ServiceInstance(service=service, instance_id=f"{service}-{name}", host="127.0.0.1", port=8080)

    async def register(self, registry: ServiceRegistry, instance: ServiceInstance) -> None:
        """Register as all of these tests do."""
        await registry.register(instance, ttl_s=self.ttl_s, forget_after_s=self.forget_after_s)

    async def listed(self, registry: ServiceRegistry, service: str) -> tuple[ServiceInstance, ...]:
        """Return what is listed now."""
        index, instances = await registry.instances(service, index=0, wait_s=0.0)
        assert index is not None
        assert index >= 1
        return instances

    async def wait_listed(
        self, registry: ServiceRegistry, service: str, condition: Callable[[Sequence[ServiceInstance]], bool]
    ) -> tuple[ServiceInstance, ...]:
        """Return what is listed as soon as it is as the condition says, which may take a moment."""
        with anyio.fail_after(30):
            while not condition(instances := await self.listed(registry, service)):  # noqa: ASYNC110 - nobody tells it
                await anyio.sleep(0.02)
        return instances

    async def test_service_that_nobody_offers_has_no_instances(self) -> None:
        """That is no error."""
        assert await self.listed(self.make_registry(), self.instance().service) == ()

    async def test_registered_instance_is_listed_as_it_is(self) -> None:
        """With everything that it said of itself, to every process."""
        instance = replace(
            self.instance(), host="node-1.example", tags=("b", "a"), metadata={"model": "tiny", "note": "übung 1/2"}
        )
        await self.register(self.make_registry(), instance)

        assert await self.wait_listed(self.make_registry(), instance.service, bool) == (instance,)

    async def test_instances_are_listed_in_order_of_their_ids_each_once(self) -> None:
        """Whatever the order in which they came."""
        registry, service = self.make_registry(), self.instance().service
        for name in ("c", "a", "b"):
            await self.register(registry, self.instance(name, service=service))

        instances = await self.wait_listed(registry, service, lambda found: len(found) == 3)

        assert [instance.instance_id for instance in instances] == [f"{service}-{name}" for name in "abc"]

    async def test_registering_again_takes_the_place_of_the_first(self) -> None:
        """An instance that comes back elsewhere is not there twice."""
        registry, first = self.make_registry(), self.instance()
        second = replace(first, port=9090, tags=("new",))
        await self.register(registry, first)
        await self.register(registry, second)

        assert await self.wait_listed(registry, first.service, lambda found: first not in found) == (second,)

    async def test_services_are_listed_apart(self) -> None:
        """Nobody gets requests that are meant for others."""
        registry, one, other = self.make_registry(), self.instance(), self.instance()
        await self.register(registry, one)
        await self.register(registry, other)

        assert await self.wait_listed(registry, one.service, bool) == (one,)

    async def test_deregistered_instance_is_gone_and_the_others_are_not(self) -> None:
        """To every process."""
        registry, gone = self.make_registry(), self.instance("gone")
        stays = self.instance("stays", service=gone.service)
        await self.register(registry, gone)
        await self.register(registry, stays)
        await self.wait_listed(registry, gone.service, lambda found: len(found) == 2)

        await registry.deregister(gone)

        assert await self.wait_listed(self.make_registry(), gone.service, lambda found: len(found) < 2) == (stays,)

    async def test_deregistering_what_is_not_known_does_nothing(self) -> None:
        """Drain and close may both do it."""
        registry, instance = self.make_registry(), self.instance()
        await registry.deregister(instance)
        await self.register(registry, instance)
        await registry.deregister(instance)
        await registry.deregister(instance)

        assert await self.wait_listed(registry, instance.service, lambda found: not found) == ()

    async def test_heartbeat_tells_whether_the_instance_is_known(self) -> None:
        """So that it registers again where it was forgotten."""
        registry, instance = self.make_registry(), self.instance()

        assert not await registry.heartbeat(instance)
        await self.register(registry, instance)
        assert await registry.heartbeat(instance)
        await registry.deregister(instance)
        assert not await registry.heartbeat(instance)

    async def test_instance_that_says_nothing_for_its_time_to_live_is_listed_no_more(self) -> None:
        """It may have been killed."""
        registry, instance = self.make_registry(), self.instance()
        await self.register(registry, instance)
        await self.wait_listed(registry, instance.service, bool)

        await anyio.sleep(self.ttl_s * 1.05)

        assert await self.wait_listed(registry, instance.service, lambda found: not found) == ()

    async def test_instance_that_keeps_saying_that_it_lives_stays(self) -> None:
        """For any number of times to live."""
        registry, instance = self.make_registry(), self.instance()
        await self.register(registry, instance)
        await self.wait_listed(registry, instance.service, bool)

        for _ in range(8):
            await anyio.sleep(self.ttl_s / 4)
            assert await registry.heartbeat(instance)

            assert await self.listed(registry, instance.service) == (instance,)

    async def test_instance_that_was_taken_for_dead_comes_back(self) -> None:
        """By its next heartbeat, or by registering where that says that it is not known."""
        registry, instance = self.make_registry(), self.instance()
        await self.register(registry, instance)
        await anyio.sleep(self.ttl_s * 1.05)
        await self.wait_listed(registry, instance.service, lambda found: not found)

        if not await registry.heartbeat(instance):
            await self.register(registry, instance)

        assert await self.wait_listed(registry, instance.service, bool) == (instance,)

    async def test_waiting_for_a_newer_list_returns_when_there_is_one(self) -> None:
        """Long before the wait is over, with a higher index."""
        registry, instance = self.make_registry(), self.instance()
        before, _ = await registry.instances(instance.service, index=0, wait_s=0.0)
        assert before is not None

        after: int | None = before
        instances: tuple[ServiceInstance, ...] = ()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._register_soon, instance)
            with anyio.fail_after(30):
                while not instances:  # a registry may tell of what is nothing new
                    after, instances = await registry.instances(instance.service, index=after or 1, wait_s=60.0)

        assert instances == (instance,)
        assert after is not None
        assert after > before

    async def test_waiting_where_nothing_changes_returns_the_same_list_after_the_wait(self) -> None:
        """And not before."""
        registry, instance = self.make_registry(), self.instance()
        await self._register_for_long(registry, instance)
        await self.wait_listed(registry, instance.service, bool)
        index, before = await registry.instances(instance.service, index=0, wait_s=0.0)
        began_s = anyio.current_time()

        _, after = await registry.instances(instance.service, index=index or 1, wait_s=0.3)

        assert after == before
        assert anyio.current_time() - began_s >= 0.29

    async def test_waiting_that_is_cancelled_ends_at_once_and_changes_nothing(self) -> None:
        """A service that closes does not wait for its registry."""
        registry, instance = self.make_registry(), self.instance()
        await self.register(registry, instance)
        await self.wait_listed(registry, instance.service, bool)
        index, _ = await registry.instances(instance.service, index=0, wait_s=0.0)

        with anyio.fail_after(20), anyio.move_on_after(0.1):
            await registry.instances(instance.service, index=(index or 1), wait_s=60.0)
        await registry.heartbeat(instance)

        assert await self.wait_listed(registry, instance.service, bool) == (instance,)

    async def test_registering_that_is_cancelled_anywhere_leaves_the_instance_whole_or_absent(self) -> None:
        """It may be registered again, and deregistered, all the same."""
        registry, instance = self.make_registry(), self.instance()
        at, reached = 0, True
        while reached:
            at += 1
            reached = await cancel_at_checkpoint(self._register_for_long(registry, instance), at)
            assert await self.listed(registry, instance.service) in ((), (instance,))

        assert await self.wait_listed(registry, instance.service, bool) == (instance,)

    async def _register_soon(self, instance: ServiceInstance) -> None:
        await anyio.sleep(0.05)
        await self._register_for_long(self.make_registry(), instance)

    async def _register_for_long(self, registry: ServiceRegistry, instance: ServiceInstance) -> None:
        await registry.register(instance, ttl_s=30.0, forget_after_s=60.0)
