"""Where services say that they are there, and find each other.

Responsibility: one instance of a service, and the registry that it is in for as long as it says that it lives.
Guarantees: an instance is a name and an address here; an implementation raises nothing but the errors named below.
Not responsible for: how often it is asked, what an index means, and what is believed while it is away: see
    `holdfast.domain.registration`, `holdfast.domain.blocking_query` and `holdfast.domain.discovery`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["ServiceInstance", "ServiceRegistry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceInstance:
    """One process that offers a service.

    Args:
        service: what it offers; all that offer the same are found together.
        instance_id: tells it apart from every other instance in the registry.
        host: name or address at which it is reached; never empty.
        port: 1-65535.
        tags: in the order in which they were given.
        metadata: whatever else is worth knowing, by name.
    """

    service: str
    instance_id: str
    host: str
    port: int
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)

    @property
    def address(self) -> str:
        """Host and port, as in a URL.

        Example:
            >>> ServiceInstance(service="a", instance_id="a-1", host="::1", port=80).address
            '[::1]:80'
        """
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ServiceRegistry(Protocol):
    """Knows the living instances of every service.

    An instance is listed while it lives: for `ttl_s` seconds from its registration and from each heartbeat on.
    Ordering: what one caller did is seen by everyone's later lists, at once or after a moment. Atomicity: an instance
    is listed whole, once, or not at all. Idempotency: each call may be repeated. Cancellation: a change was made, was
    not made, or will be made soon; a list changes nothing. Errors: `StoreUnavailableError` and `StoreRefusedError`.
    """

    async def register(self, instance: ServiceInstance, *, ttl_s: float, forget_after_s: float) -> None:
        """List `instance`, in the place of the one of the same service and id.

        Args:
            instance: alive from now on.
            ttl_s: seconds without a heartbeat after which it is taken for dead, and not listed.
            forget_after_s: seconds for which it may be dead before nobody remembers it; a registry may take longer.
        """
        ...

    async def heartbeat(self, instance: ServiceInstance) -> bool:
        """Say that `instance` lives; return False if it is not known, so that it has to be registered again."""
        ...

    async def deregister(self, instance: ServiceInstance) -> None:
        """Forget `instance`, known or not."""
        ...

    async def instances(
        self, service: str, *, index: int, wait_s: float
    ) -> tuple[int | None, tuple[ServiceInstance, ...]]:
        """Return the living instances of `service` in order of their ids, once there is something new.

        Args:
            service: whose instances.
            index: of the last list; returns when there is a newer one. With 0 it returns at once.
            wait_s: seconds after which it returns in any case, a sixteenth more or less.

        Returns:
            The index of this list, 1 or more, or None if the registry's made no sense; and the list. Indexes of two
            lists are compared only with each other; a later one that is lower comes from a registry that began anew.
        """
        ...
