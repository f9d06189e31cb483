"""llama-cpp-python itself, where it could be built: the contracts, and what the adapter relies on.

It is built from source for one kind of machine, so that most machines have a stand-in only: see
tests/fakes/llama_cpp.py. The model is the tiny one of `make servers`, with random weights.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest
from anyio.to_thread import run_sync

from holdfast.adapters.inference.llama_cpp import LlamaCppBackend, LlamaCppOptions, llama_cpp_loader
from holdfast.adapters.inference.llama_cpp.driver import open_llama
from holdfast.ports.errors import BackendRequestError, BackendUnavailableError
from holdfast.ports.inference import FinishReason, InferenceBackend, Message, Parameters, Prompt, Role
from holdfast.ports.model import ModelLoader
from holdfast.testing.contracts.inference_backend import InferenceBackendContract
from holdfast.testing.contracts.model_loader import ModelLoaderContract
from tests.servers import GIVEN

VARIABLE = "HOLDFAST_TEST_LLAMA_MODEL"
FETCHED = Path(__file__).parents[2] / ".servers" / "llama" / "tiny.gguf"

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.real_time,
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("llama_cpp") is None,
        reason="llama-cpp-python is not installed, so its stand-in is tested alone: pip install 'holdfast[llama]'",
    ),
]


def prompt(question: str, **parameters: object) -> Prompt:
    chosen = Parameters(temperature=0.0, **parameters)  # type: ignore[arg-type] # any of them
    return Prompt(messages=(Message(role=Role.USER, content=question),), parameters=chosen)


@pytest.fixture(scope="module")
def path() -> Path:
    path = Path(GIVEN.get(VARIABLE, FETCHED))
    if not path.is_file():
        pytest.skip(f"there is no tiny model: run `make servers`, or name one in {VARIABLE}")
    return path


@pytest.fixture
async def backend(path: Path) -> AsyncGenerator[LlamaCppBackend]:
    backend = await run_sync(
        lambda: LlamaCppBackend(
            "local",
            model="tiny",
            load=lambda is_unwanted: open_llama(
                path, n_gpu_layers=0, threads=1, context_tokens=256, is_unwanted=is_unwanted
            ),
        )
    )
    yield backend
    await run_sync(backend.close)


class TestLlamaCppBackend(InferenceBackendContract):
    @pytest.fixture
    def backend(self, backend: LlamaCppBackend) -> InferenceBackend:
        return backend


class TestLlamaCppLoader(ModelLoaderContract):
    @pytest.fixture
    def loader(self, path: Path) -> ModelLoader:
        return llama_cpp_loader("local", LlamaCppOptions(path=path, context_tokens=48, threads=1))

    @pytest.fixture
    def broken_loader(self, tmp_path: Path) -> ModelLoader:
        broken = tmp_path / "broken.gguf"
        broken.write_bytes(b"GGUF, and nothing more")
        return llama_cpp_loader("local", LlamaCppOptions(path=broken))


async def test_answer_counts_the_tokens_of_prompt_and_answer(backend: LlamaCppBackend) -> None:
    completion = await backend.complete(prompt("Why?", max_tokens=20))

    assert completion.usage.output_tokens == 20
    assert completion.usage.input_tokens > len(
        "Why?"
    )  # the tiny model's tokens are letters, and its template adds some
    assert completion.finish_reason is FinishReason.LENGTH


async def test_same_prompt_gives_the_same_answer_also_after_a_call_that_was_cancelled(
    backend: LlamaCppBackend,
) -> None:
    first = await backend.complete(prompt("Why?", max_tokens=20))

    async def leave(_: str) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await backend.stream(prompt("Why not?"), leave)

    assert await backend.complete(prompt("Why?", max_tokens=20)) == first


async def test_prompt_beyond_the_context_is_the_callers_mistake(backend: LlamaCppBackend) -> None:
    with pytest.raises(BackendRequestError, match="context window of 256"):
        await backend.complete(prompt("Why? " * 1000))


async def test_call_that_is_cancelled_while_it_reads_a_long_prompt_ends_at_once(path: Path) -> None:
    loader = llama_cpp_loader("local", LlamaCppOptions(path=path, context_tokens=100_000, threads=1))
    backend = await loader.load()
    began_s = time.monotonic()
    with anyio.move_on_after(0.2) as scope:
        await backend.complete(prompt("Why? " * 19_000))
    took_s = time.monotonic() - began_s
    await loader.unload(backend)

    assert scope.cancelled_caught
    assert took_s < 5.0  # reading all of it takes a minute


async def test_model_that_is_unloaded_is_not_touched_again(path: Path) -> None:
    loader = llama_cpp_loader("local", LlamaCppOptions(path=path, context_tokens=64, threads=1))
    backend = await loader.load()
    await loader.unload(backend)

    with pytest.raises(BackendUnavailableError, match="not in memory any more"):  # the driver would end the process
        await backend.complete(prompt("Why?"))
