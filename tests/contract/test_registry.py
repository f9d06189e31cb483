from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.adapters.consul.client import ConsulClient
from holdfast.adapters.consul.registry import ConsulRegistry
from holdfast.adapters.files.registry import FileRegistry
from holdfast.adapters.memory.registry import MemoryRegistry
from holdfast.adapters.system import SystemClock
from holdfast.ports.registry import ServiceRegistry
from holdfast.testing import VirtualClock
from holdfast.testing.contracts.registry import ServiceRegistryContract
from tests.fakes.consul_agent import ConsulAgent


class TestMemoryRegistry(ServiceRegistryContract):
    @pytest.fixture(autouse=True)
    def _fresh(self) -> None:
        self.registry = MemoryRegistry(clock=VirtualClock())

    def make_registry(self) -> ServiceRegistry:
        return self.registry


@pytest.mark.real_time
@pytest.mark.slow
class TestFileRegistry(ServiceRegistryContract):
    ttl_s = 2.0

    @pytest.fixture(autouse=True)
    def _fresh(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "registry"

    def make_registry(self) -> ServiceRegistry:
        return FileRegistry(self.folder, clock=SystemClock(), poll_s=0.05)


@pytest.mark.real_time
@pytest.mark.slow
class TestConsulRegistry(ServiceRegistryContract):
    ttl_s = 2.0

    @pytest.fixture(autouse=True)
    def _agent(self, running_consul_agent: ConsulAgent) -> None:
        self.address = running_consul_agent.address

    def make_registry(self) -> ServiceRegistry:
        return ConsulRegistry(ConsulClient(self.address))
