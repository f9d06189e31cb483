from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import anyio
import pytest

from holdfast.adapters.consul.client import ConsulClient
from holdfast.adapters.consul.parameters import ConsulParameters
from holdfast.adapters.files.parameters import FileParameters
from holdfast.adapters.memory.parameters import MemoryParameters
from holdfast.ports.parameters import ParameterStore
from holdfast.testing.contracts.parameters import ParameterStoreContract
from tests.fakes.consul_agent import ConsulAgent
from tests.fakes.parameters import as_keys, as_toml


class TestMemoryParameters(ParameterStoreContract):
    @pytest.fixture(autouse=True)
    def _fresh(self) -> None:
        self.store = MemoryParameters()

    def make_store(self) -> ParameterStore:
        return self.store

    async def write(self, values: Mapping[str, object]) -> None:
        self.store.replace(values)


@pytest.mark.real_time
class TestFileParameters(ParameterStoreContract):
    @pytest.fixture(autouse=True)
    def _fresh(self, tmp_path: Path) -> None:
        self.path = tmp_path / "parameters.toml"

    def make_store(self) -> ParameterStore:
        return FileParameters(self.path, poll_s=0.01)

    async def write(self, values: Mapping[str, object]) -> None:
        written = self.path.with_suffix(".new")
        written.write_text(as_toml(values))
        written.replace(self.path)


@pytest.mark.real_time
@pytest.mark.slow
class TestConsulParameters(ParameterStoreContract):
    @pytest.fixture(autouse=True)
    def _fresh(self, running_consul_agent: ConsulAgent) -> Iterator[None]:
        self.agent, self.prefix = running_consul_agent, f"holdfast-{secrets.token_hex(6)}"
        yield
        self.agent.delete(self.prefix)

    def make_store(self) -> ParameterStore:
        return ConsulParameters(ConsulClient(self.agent.address), self.prefix)

    async def write(self, values: Mapping[str, object]) -> None:
        await anyio.to_thread.run_sync(self._write, values)

    def _write(self, values: Mapping[str, object]) -> None:
        self.agent.replace(self.prefix, as_keys(values, self.prefix))
