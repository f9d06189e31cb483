"""Knowing which instances of a service there are.

Responsibility: follow one service in the registry, and tell of every instance that appears and vanishes.
Guarantees: each address is told of once while it is listed, however often and under however many ids; no more of them
    than the bound, and those in use stay in use; the last list that an answer brought stays while nobody answers, and
    an empty list is a list: whoever answers is believed; no error of the registry is raised to anybody.
Not responsible for: when it is asked: see `holdfast.domain.blocking_query`; what an instance is used for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import anyio
from anyio.abc import TaskGroup

from holdfast.domain.blocking_query import BlockingQuery, QueryConfig, QueryListener
from holdfast.domain.validation import require_at_least, require_positive
from holdfast.ports.clock import Clock
from holdfast.ports.errors import StoreRefusedError
from holdfast.ports.events import EventSink, InstanceAppeared, InstanceVanished, RegistryLost, RegistryRejoined
from holdfast.ports.registry import ServiceInstance, ServiceRegistry
from holdfast.ports.statistics import DiscoveryStatistics

__all__ = ["Discovery", "DiscoveryConfig", "InstanceListener"]

_ROLE = "discovery"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryConfig(QueryConfig):
    """How services are followed: a `QueryConfig`, and what is made of the answers.

    Args:
        max_instances: instances of one service that are used, from 1; of more, those used already, and then the first
            by their ids. Default 64, unmeasured.
        open_timeout_s: seconds that opening waits for the first list; above 0. Default 5, unmeasured.

    Raises:
        ConfigurationError: if a value is out of its range.
    """

    max_instances: int = 64
    open_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        QueryConfig.__post_init__(self)
        require_at_least("discovery.max_instances", self.max_instances, 1)
        require_positive("discovery.open_timeout_s", self.open_timeout_s)


class InstanceListener(Protocol):
    """Uses what is found. Called synchronously; what it raises ends the discovery."""

    def appear(self, instance: ServiceInstance) -> None:
        """Use `instance` from now on; no other one of the same address is in use."""
        ...

    def vanish(self, instance: ServiceInstance) -> None:
        """Begin nothing new with `instance`."""
        ...


class Discovery:
    """Follows one service; open it with ``async with``, once. For one event loop.

    Opening waits for the first list, or until the registry is known not to answer.

    Args:
        registry: who is asked.
        service: what is followed.
        listener: told what appears and vanishes; of an instance that changed, first that it vanished.
        config: see `DiscoveryConfig`.
        clock: monotonic time.
        random: returns a number in [0, 1).
        events: told the same, and when the registry is lost and back.
    """

    _tasks: TaskGroup

    def __init__(  # noqa: PLR0913 - three of them are what every mechanism takes
        self,
        registry: ServiceRegistry,
        service: str,
        listener: InstanceListener,
        config: DiscoveryConfig = DiscoveryConfig(),
        *,
        clock: Clock,
        random: Callable[[], float],
        events: EventSink | None = None,
    ) -> None:
        self._service = service
        self._listener = listener
        self._config = config
        self._events = events
        self._query: BlockingQuery[tuple[ServiceInstance, ...]] = BlockingQuery(
            lambda index, wait_s: registry.instances(service, index=index, wait_s=wait_s),
            config,
            clock=clock,
            random=random,
        )
        self._in_use: Mapping[str, ServiceInstance] = {}
        self._settled = anyio.Event()
        self._appeared = self._vanished = self._crowded_out = 0

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._query.follow, self, name=f"discovery of {self._service}")
        try:
            with anyio.move_on_after(self._config.open_timeout_s):
                await self._settled.wait()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    def statistics(self) -> DiscoveryStatistics:
        """Return how many instances are in use, came and went, and what became of every question."""
        return DiscoveryStatistics(
            service=self._service,
            instances=len(self._in_use),
            appeared=self._appeared,
            vanished=self._vanished,
            crowded_out=self._crowded_out,
            query=self._query.statistics(),
        )

    def changed(self, content: tuple[ServiceInstance, ...]) -> None:
        """Use what is listed now, and nothing else."""
        before = self._in_use
        now, self._crowded_out = _chosen(content, before, self._config.max_instances)
        gone = [instance for address, instance in before.items() if now.get(address) != instance]
        new = [instance for address, instance in now.items() if before.get(address) != instance]
        self._in_use = now
        self._vanished += len(gone)
        self._appeared += len(new)
        for instance in gone:
            self._listener.vanish(instance)
        for instance in new:
            self._listener.appear(instance)
        if self._events is not None:
            for instance in gone:
                self._events.emit(InstanceVanished(service=self._service, instance=instance.address))
            for instance in new:
                self._events.emit(InstanceAppeared(service=self._service, instance=instance.address))
        self._settled.set()

    def lost(self, error: Exception) -> None:
        """Keep what was believed last."""
        if self._events is not None:
            self._events.emit(
                RegistryLost(
                    service=self._service,
                    role=_ROLE,
                    error=type(error).__name__,
                    is_refusal=isinstance(error, StoreRefusedError),
                )
            )
        self._settled.set()

    def rejoined(self, away_s: float) -> None:
        """Tell that there is somebody to believe again."""
        if self._events is not None:
            self._events.emit(RegistryRejoined(service=self._service, role=_ROLE, away_s=away_s))

    async def _close(self) -> None:
        self._tasks.cancel_scope.cancel()
        # Without the error of the body, which a task group would wrap in an ExceptionGroup; it goes on by itself.
        await self._tasks.__aexit__(None, None, None)


def _chosen(
    listed: Iterable[ServiceInstance], in_use: Mapping[str, ServiceInstance], most: int
) -> tuple[Mapping[str, ServiceInstance], int]:
    """Return the instances to use by their addresses, in order of their ids, and how many there is no room for."""
    by_address: dict[str, ServiceInstance] = {}
    for instance in sorted(listed, key=lambda instance: instance.instance_id):
        by_address.setdefault(instance.address, instance)
    if len(by_address) <= most:
        return by_address, 0
    kept = sorted(by_address, key=lambda address: address not in in_use)[:most]
    return {address: by_address[address] for address in kept}, len(by_address) - most


_: type[QueryListener[tuple[ServiceInstance, ...]]] = Discovery
