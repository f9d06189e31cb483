"""Consul's agent and its catalogue as a registry.

Responsibility: `ServiceRegistry` over a Consul agent: each instance is a service of that agent with one TTL check.
Guarantees: those of the port; only instances of which every check passes are listed; an instance without an address of
    its own has that of its node, and one without a port is left out, since it cannot be asked; where a token may not
    read the service or its nodes, that is refused, and not taken for a service that nobody offers.
Not responsible for: how an agent is asked, and what its refusals mean: see `holdfast.adapters.consul.client`.
Sources: https://developer.hashicorp.com/consul/api-docs/agent/service,
    https://developer.hashicorp.com/consul/api-docs/agent/check, https://developer.hashicorp.com/consul/api-docs/health.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.adapters.consul.client import ConsulClient, parse_index
from holdfast.ports.registry import ServiceInstance, ServiceRegistry

__all__ = ["ConsulRegistry"]


class ConsulRegistry:
    """Registers with one agent, and finds what is registered with any agent of its datacenter.

    Args:
        client: of the agent.
    """

    def __init__(self, client: ConsulClient) -> None:
        self._client = client

    async def register(self, instance: ServiceInstance, *, ttl_s: float, forget_after_s: float) -> None:
        """List `instance`, in the place of the one of the same id.

        Args:
            instance: alive from now on.
            ttl_s: of its check.
            forget_after_s: its ``DeregisterCriticalServiceAfter``; Consul makes at least a minute of it, and looks only
                every half a minute.

        Raises:
            StoreUnavailableError: the agent does not answer, or has no leader.
            StoreRefusedError: it refuses, for example the token.
        """
        await self._client.register(
            {
                "ID": instance.instance_id,
                "Name": instance.service,
                "Address": instance.host,
                "Port": instance.port,
                "Tags": list(instance.tags),
                "Meta": dict(instance.metadata),
                "Check": {
                    "CheckID": _check_id(instance),
                    "TTL": f"{ttl_s:.3f}s",
                    "Status": "passing",  # or it would be listed only after its first heartbeat
                    "DeregisterCriticalServiceAfter": f"{forget_after_s:.3f}s",
                },
            }
        )

    async def heartbeat(self, instance: ServiceInstance) -> bool:
        """Say that `instance` lives; return False if the agent does not know it.

        Raises:
            StoreError: as `register`.
        """
        return await self._client.pass_ttl(_check_id(instance))

    async def deregister(self, instance: ServiceInstance) -> None:
        """Forget `instance`, known or not.

        Raises:
            StoreError: as `register`.
        """
        await self._client.deregister(instance.instance_id)

    async def instances(
        self, service: str, *, index: int, wait_s: float
    ) -> tuple[int | None, tuple[ServiceInstance, ...]]:
        """Return the instances of `service` that pass, once there is something new.

        Raises:
            StoreError: as `register`.
        """
        found, entries = await self._client.healthy(service, index=index, wait_s=wait_s)
        if not entries:  # perhaps since the token lost its permission, which is no reason to drop every instance
            await self._client.require_readable_service(service)
        instances = [instance for entry in entries if (instance := _instance(entry)) is not None]
        return parse_index(found), tuple(sorted(instances, key=lambda instance: instance.instance_id))


def _check_id(instance: ServiceInstance) -> str:
    return f"service:{instance.instance_id}"


def _instance(entry: Mapping[str, Any]) -> ServiceInstance | None:
    """Return what can be asked of an entry of ``/v1/health/service``; None if nothing can."""
    try:
        service: Mapping[str, Any] = entry["Service"]
        tags: Sequence[str] = service.get("Tags") or ()
        metadata: Mapping[str, str] = service.get("Meta") or {}
        instance = ServiceInstance(
            service=str(service["Service"]),
            instance_id=str(service["ID"]),
            host=str(service.get("Address") or entry["Node"]["Address"]),
            port=int(service["Port"]),
            tags=tuple(map(str, tags)),
            metadata={str(name): str(value) for name, value in metadata.items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return instance if instance.host and 0 < instance.port < 65536 else None


_: type[ServiceRegistry] = ConsulRegistry
