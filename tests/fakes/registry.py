"""Registries that fail when they are told to, and whoever listens to what is found."""

from __future__ import annotations

import anyio

from holdfast.adapters.memory.registry import MemoryRegistry
from holdfast.ports.errors import StoreUnavailableError
from holdfast.ports.registry import ServiceInstance
from holdfast.testing import VirtualClock

__all__ = ["FlakyRegistry", "Listing", "instance"]


def instance(
    number: int = 1, *, service: str = "asks", host: str = "10.0.0.1", metadata: dict[str, str] | None = None
) -> ServiceInstance:
    return ServiceInstance(
        service=service, instance_id=f"{service}-{number}", host=host, port=8000 + number, metadata=metadata or {}
    )


class FlakyRegistry(MemoryRegistry):
    """A registry that may be away, hang, or be told what to raise; notes each call with its time."""

    def __init__(self) -> None:
        super().__init__(clock=VirtualClock())
        self.error: Exception | None = None
        self.delay_s = 0.0
        self.calls: list[tuple[float, str]] = []

    def go_away(self) -> None:
        self.error = StoreUnavailableError("is away", store="test")

    def come_back(self) -> None:
        self.error = None

    def named(self, call: str) -> list[float]:
        """Return when each call of that name was made."""
        return [at_s for at_s, name in self.calls if name == call]

    async def register(self, instance: ServiceInstance, *, ttl_s: float, forget_after_s: float) -> None:
        await self._meet("register")
        await super().register(instance, ttl_s=ttl_s, forget_after_s=forget_after_s)

    async def heartbeat(self, instance: ServiceInstance) -> bool:
        await self._meet("heartbeat")
        return await super().heartbeat(instance)

    async def deregister(self, instance: ServiceInstance) -> None:
        await self._meet("deregister")
        await super().deregister(instance)

    async def instances(
        self, service: str, *, index: int, wait_s: float
    ) -> tuple[int | None, tuple[ServiceInstance, ...]]:
        await self._meet("instances")
        return await super().instances(service, index=index, wait_s=wait_s)

    async def listed(self, service: str = "asks") -> list[str]:
        """Return the ids that are listed now, whatever fails for others."""
        _, instances = await super().instances(service, index=0, wait_s=0.0)
        return [found.instance_id for found in instances]

    async def _meet(self, name: str) -> None:
        self.calls.append((anyio.current_time(), name))
        await anyio.sleep(self.delay_s)
        if self.error is not None:
            raise self.error


class Listing:
    """Uses what is found, and notes what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.addresses: set[str] = set()

    def appear(self, instance: ServiceInstance) -> None:
        assert instance.address not in self.addresses
        self.addresses.add(instance.address)
        self.told.append(f"+{instance.instance_id}")

    def vanish(self, instance: ServiceInstance) -> None:
        self.addresses.remove(instance.address)
        self.told.append(f"-{instance.instance_id}")
