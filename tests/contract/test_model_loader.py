from __future__ import annotations

import pytest

from holdfast.adapters.inference.scripted import ScriptedBackend
from holdfast.adapters.inference.scripted_model import ScriptedModelLoader
from holdfast.adapters.inference.threaded_model import ThreadedModelLoader
from holdfast.ports.errors import BackendUnavailableError
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.model import ModelLoader
from holdfast.testing import VirtualClock
from holdfast.testing.contracts.model_loader import ModelLoaderContract
from tests.fakes.model import FakeLoader


class TestScriptedModelLoader(ModelLoaderContract):
    @pytest.fixture(params=[0.0, 5.0], ids=["at once", "slowly"])
    def loader(self, request: pytest.FixtureRequest) -> ModelLoader:
        clock = VirtualClock()
        backend = ScriptedBackend.repeating("scripted", "yes", clock=clock)
        return ScriptedModelLoader("scripted", backend, size_bytes=1000, clock=clock, delay_s=request.param)

    @pytest.fixture
    def broken_loader(self) -> ModelLoader:
        clock = VirtualClock()
        backend = ScriptedBackend.repeating("scripted", "yes", clock=clock)
        loader = ScriptedModelLoader("scripted", backend, size_bytes=1000, clock=clock)
        loader.fault = BackendUnavailableError("no such file", backend="scripted")
        return loader


@pytest.mark.real_time
class TestThreadedModelLoader(ModelLoaderContract):
    @pytest.fixture(params=[False, True], ids=["dropped", "unloaded"])
    def loader(self, request: pytest.FixtureRequest) -> ModelLoader:
        def load() -> InferenceBackend:
            return ScriptedBackend.repeating("threaded", "yes", clock=VirtualClock())

        def unload(backend: InferenceBackend) -> None:
            assert isinstance(backend, ScriptedBackend)

        return ThreadedModelLoader("threaded", size_bytes=1000, load=load, unload=unload if request.param else None)

    @pytest.fixture
    def broken_loader(self) -> ModelLoader:
        def load() -> InferenceBackend:
            raise OSError("no such file")

        return ThreadedModelLoader("threaded", size_bytes=1000, load=load)


class TestFakeLoader(ModelLoaderContract):
    @pytest.fixture
    def loader(self) -> ModelLoader:
        return FakeLoader("fake")

    @pytest.fixture
    def broken_loader(self) -> ModelLoader:
        loader = FakeLoader("fake")

        async def fail() -> None:
            raise BackendUnavailableError("no such file", backend="fake")

        loader.on_load = fail
        return loader
