"""What every `ModelLoader` must do.

Responsibility: the contract of `holdfast.ports.model`, as tests.
Guarantees: model slots can rely on a loader that passes, also when its calls are cancelled.
Not responsible for: whether `size_bytes` is right, and that a cancelled load leaves nothing in memory: only the
    loader's own tests can see that.
"""

# ruff: noqa: D102 - a test's name is its docstring
from __future__ import annotations

import gc
import weakref

import anyio
import anyio.lowlevel
import pytest

from holdfast.ports.errors import BackendError
from holdfast.ports.inference import InferenceBackend, Message, Prompt, Role
from holdfast.ports.model import ModelLoader
from holdfast.testing.cancellation import sweep_cancellation

__all__ = ["ModelLoaderContract"]

_PROMPT = Prompt(messages=(Message(role=Role.USER, content="Is the model there?"),))


async def _live(loader: ModelLoader) -> None:
    backend = await loader.load()
    assert isinstance((await backend.complete(_PROMPT)).text, str)
    await loader.unload(backend)


async def _reference_after_life(loader: ModelLoader) -> weakref.ref[InferenceBackend]:
    backend = await loader.load()
    await loader.unload(backend)
    return weakref.ref(backend)


class ModelLoaderContract:
    """Subclass it as ``Test…`` with fixtures ``loader``, and ``broken_loader`` of a model that cannot be loaded.

    Mark the subclass ``real_time`` if the loader uses threads or files.
    """

    pytestmark = pytest.mark.anyio

    async def test_name_and_size_before_and_after_a_life_are_the_same(self, loader: ModelLoader) -> None:
        before = (loader.name, loader.size_bytes)
        await _live(loader)

        assert (loader.name, loader.size_bytes) == before
        assert loader.name
        assert loader.size_bytes > 0

    async def test_load_after_unload_gives_a_model_that_answers(self, loader: ModelLoader) -> None:
        for _ in range(3):
            await _live(loader)

    async def test_load_gives_a_model_for_many_calls_at_once(self, loader: ModelLoader) -> None:
        backend = await loader.load()
        answered: list[str] = []

        async def ask() -> None:
            answered.append((await backend.complete(_PROMPT)).text)

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)
        await loader.unload(backend)

        assert len(answered) == 20

    async def test_unload_leaves_no_reference_to_the_model(self, loader: ModelLoader) -> None:
        reference = await _reference_after_life(loader)
        await anyio.lowlevel.checkpoint()  # until then trio keeps what ended the last sleep, with the frames around it
        gc.collect()

        assert reference() is None

    async def test_load_of_what_cannot_be_loaded_raises_a_backend_error_each_time(
        self, broken_loader: ModelLoader
    ) -> None:
        for _ in range(2):
            with pytest.raises(BackendError):
                await broken_loader.load()

    async def test_life_cancelled_at_any_moment_lets_the_next_one_be_whole(self, loader: ModelLoader) -> None:
        async def check() -> None:
            await _live(loader)

        assert await sweep_cancellation(lambda: _live(loader), check) > 0
