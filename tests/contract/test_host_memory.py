from __future__ import annotations

import pytest

from holdfast.adapters.memory.host_memory import FixedHostMemory
from holdfast.adapters.system.memory import SystemMemory
from holdfast.ports.model import HostMemory
from holdfast.testing.contracts.host_memory import HostMemoryContract
from tests.fakes.model import Machine


class TestSystemMemory(HostMemoryContract):
    @pytest.fixture
    def memory(self) -> HostMemory:
        return SystemMemory()


class TestFixedHostMemory(HostMemoryContract):
    @pytest.fixture(params=[None, 0, 10**12], ids=["unknown", "none left", "plenty"])
    def memory(self, request: pytest.FixtureRequest) -> HostMemory:
        return FixedHostMemory(request.param)


class TestMachine(HostMemoryContract):
    @pytest.fixture(params=[None, 100], ids=["unknown", "known"])
    def memory(self, request: pytest.FixtureRequest) -> HostMemory:
        return Machine(request.param)
