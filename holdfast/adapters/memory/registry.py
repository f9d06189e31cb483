"""A registry in this process's memory.

Responsibility: `ServiceRegistry` without a server, for tests and for services that live in one process.
Guarantees: those of the port; who waits for a change wakes in the moment in which it happens, also when an instance
    dies because nobody said that it lives.
Not responsible for: other processes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import anyio

from holdfast.ports.clock import Clock
from holdfast.ports.registry import ServiceInstance, ServiceRegistry

__all__ = ["MemoryRegistry"]


@dataclass(slots=True, kw_only=True)
class _Entry:
    instance: ServiceInstance
    ttl_s: float
    forget_after_s: float
    seen_at_s: float

    @property
    def dies_at_s(self) -> float:
        return self.seen_at_s + self.ttl_s


class MemoryRegistry:
    """Knows what it is told. For one event loop.

    Args:
        clock: monotonic time.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._lists: dict[str, tuple[int, tuple[ServiceInstance, ...]]] = {}
        self._touched = anyio.Event()

    async def register(self, instance: ServiceInstance, *, ttl_s: float, forget_after_s: float) -> None:
        """List `instance`, in the place of the one of the same service and id."""
        self._entries[instance.service, instance.instance_id] = _Entry(
            instance=instance, ttl_s=ttl_s, forget_after_s=forget_after_s, seen_at_s=self._clock.monotonic_s()
        )
        self._wake()

    async def heartbeat(self, instance: ServiceInstance) -> bool:
        """Say that `instance` lives; return False if it is not known."""
        self._forget()
        entry = self._entries.get((instance.service, instance.instance_id))
        if entry is None:
            return False
        entry.seen_at_s = self._clock.monotonic_s()
        self._wake()
        return True

    async def deregister(self, instance: ServiceInstance) -> None:
        """Forget `instance`, known or not."""
        self._entries.pop((instance.service, instance.instance_id), None)
        self._wake()

    async def instances(
        self, service: str, *, index: int, wait_s: float
    ) -> tuple[int | None, tuple[ServiceInstance, ...]]:
        """Return the living instances of `service`, once there is something new."""
        ends_at_s = self._clock.monotonic_s() + wait_s
        while True:
            touched, now_s = self._touched, self._clock.monotonic_s()
            found, listed = self._list(service, now_s)
            if found != index or now_s >= ends_at_s:
                return found, listed
            with anyio.move_on_after(min(ends_at_s, self._next_death_s(service, now_s)) - now_s):
                await touched.wait()

    def clear(self) -> None:
        """Forget everything, as a registry does that was restarted empty."""
        self._entries.clear()
        self._wake()

    def _list(self, service: str, now_s: float) -> tuple[int, tuple[ServiceInstance, ...]]:
        self._forget()
        listed = tuple(
            entry.instance
            for (name, _), entry in sorted(self._entries.items(), key=lambda item: item[0])
            if name == service and now_s < entry.dies_at_s
        )
        before = self._lists.get(service, (0, ()))
        if before[0] == 0 or before[1] != listed:
            self._lists[service] = before = before[0] + 1, listed
        return before

    def _next_death_s(self, service: str, now_s: float) -> float:
        deaths_s = (entry.dies_at_s for (name, _), entry in self._entries.items() if name == service)
        return min((death_s for death_s in deaths_s if death_s > now_s), default=math.inf)

    def _forget(self) -> None:
        now_s = self._clock.monotonic_s()
        for key, entry in list(self._entries.items()):
            if now_s >= entry.dies_at_s + entry.forget_after_s:
                del self._entries[key]

    def _wake(self) -> None:
        touched, self._touched = self._touched, anyio.Event()
        touched.set()


_: type[ServiceRegistry] = MemoryRegistry
