"""How the registry of services is written in the settings.

Responsibility: the section ``registry``: which registry it is, how it is followed, and what this process registers as.
Guarantees: those of a Consul agent: see `holdfast.application.agent_settings`.
Not responsible for: making the adapter: see `holdfast.application.container`.

    [registry]
    kind = "consul"
    token_file = "/etc/holdfast/consul-token"

    [registry.registration]
    service = "asks"
    host = "10.0.0.7"
    port = 8080
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from holdfast.application.agent_settings import ConsulAgentSettings
from holdfast.application.section import Section
from holdfast.domain.discovery import DiscoveryConfig
from holdfast.domain.registration import RegistrationConfig
from holdfast.domain.validation import require, require_between
from holdfast.ports.registry import ServiceInstance

__all__ = ["ConsulRegistrySettings", "FileRegistrySettings", "RegistrationSettings", "RegistrySettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationSettings(RegistrationConfig):
    """What this process registers as, and how it stays registered.

    ``holdfast serve`` does, and a service that is embedded; ``ask`` and ``run``, whom nobody can reach, do not.

    Args:
        service: what it offers.
        host: name or address at which others reach it.
        port: 1-65535.
        instance_id: tells it apart from every other instance in the registry; None, the default, for service, host and
            port put together, so that a process that is started again takes the place of the one before.
        tags: in the order in which they are given; default none.
        metadata: whatever else is worth knowing, by name; default nothing.
    """

    service: str
    host: str
    port: int
    instance_id: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        """Refuse what nobody could find or reach.

        Raises:
            ConfigurationError: naming the field, its value and the remedy.
        """
        RegistrationConfig.__post_init__(self)
        require(bool(self.service.strip()), "must not be blank", path="registration.service")
        require(
            bool(self.host.strip()) and self.host not in {"0.0.0.0", "::"},  # noqa: S104 - refused, not listened on
            f"must be a name or an address at which others reach this machine, not {self.host!r}",
            path="registration.host",
        )
        require_between("registration.port", self.port, 1, 65535)
        require(self.instance_id != "", "must not be empty; leave it out", path="registration.instance_id")

    def instance(self) -> ServiceInstance:
        """Return this process as others find it."""
        return ServiceInstance(
            service=self.service,
            instance_id=self.instance_id or f"{self.service}-{self.host}-{self.port}",
            host=self.host,
            port=self.port,
            tags=self.tags,
            metadata=self.metadata,
        )


class FileRegistrySettings(Section):
    """A folder in which the processes of one machine find each other.

    Args:
        path: the folder; made by the first process that registers.
        poll_s: seconds from one look into it to the next; default 0.5, unmeasured.
        discovery: how services are followed.
        registration: what this process registers as; None, the default, for nothing.
    """

    kind: Literal["file"]
    path: Path
    poll_s: float = Field(default=0.5, gt=0)
    discovery: DiscoveryConfig = DiscoveryConfig()
    registration: RegistrationSettings | None = None


class ConsulRegistrySettings(ConsulAgentSettings):
    """A Consul agent, with what is registered in its datacenter.

    Args:
        discovery: how services are followed.
        registration: what this process registers as; None, the default, for nothing.
    """

    kind: Literal["consul"]
    discovery: DiscoveryConfig = DiscoveryConfig()
    registration: RegistrationSettings | None = None

    @property
    def call_timeout_s(self) -> float:
        """Seconds that one call may take, beyond what it waits for a change."""
        slack_s = self.discovery.slack_s
        return slack_s if self.registration is None else min(slack_s, self.registration.call_timeout_s)


RegistrySettings = Annotated[FileRegistrySettings | ConsulRegistrySettings, Field(discriminator="kind")]
"""The registry, by its kind."""
