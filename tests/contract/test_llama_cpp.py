"""The contracts of backends and of loaders, by the adapter of llama.cpp over a stand-in for its driver.

Over the driver itself, where it is installed: tests/integration/test_llama_cpp_as_it_is.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from anyio.to_thread import run_sync

from holdfast.adapters.inference.llama_cpp import LlamaCppBackend, LlamaCppOptions, llama_cpp_loader
from holdfast.adapters.inference.llama_cpp.driver import open_llama
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.model import ModelLoader
from holdfast.testing.contracts.inference_backend import InferenceBackendContract
from holdfast.testing.contracts.model_loader import ModelLoaderContract
from tests.fakes.llama_cpp import MODEL_FILE, StandIn


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(sys.modules, "llama_cpp", StandIn())
    path = tmp_path / "model.gguf"
    path.write_bytes(MODEL_FILE)
    return path


@pytest.mark.real_time
class TestLlamaCppBackend(InferenceBackendContract):
    @pytest.fixture
    async def backend(self, path: Path) -> InferenceBackend:
        return await run_sync(
            lambda: LlamaCppBackend(
                "local",
                model="model",
                load=lambda is_unwanted: open_llama(
                    path, n_gpu_layers=0, threads=None, context_tokens=4096, is_unwanted=is_unwanted
                ),
            )
        )


@pytest.mark.real_time
class TestLlamaCppLoader(ModelLoaderContract):
    @pytest.fixture
    def loader(self, path: Path) -> ModelLoader:
        return llama_cpp_loader("local", LlamaCppOptions(path=path))

    @pytest.fixture
    def broken_loader(self, path: Path) -> ModelLoader:
        path.write_text("no model")
        return llama_cpp_loader("local", LlamaCppOptions(path=path))
