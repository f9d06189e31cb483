"""A model that loads as it is told.

Responsibility: `ModelLoader` around a backend that is there already, for tests, demonstrations and drills.
Guarantees: all waiting is done on the given clock; of what was loaded nothing is kept, so that it is gone when its user
    drops it.
Not responsible for: what the backend answers: see `holdfast.adapters.inference.scripted`.
"""

from __future__ import annotations

import copy

from holdfast.ports.clock import Clock
from holdfast.ports.errors import BackendError
from holdfast.ports.inference import Completion, InferenceBackend, Prompt
from holdfast.ports.model import ModelLoader

__all__ = ["ScriptedModelLoader"]


class ScriptedModelLoader:
    """Loads after a delay, or fails.

    Args:
        name: its name.
        backend: answers once the model is loaded.
        size_bytes: what it says that it takes.
        clock: what delays are waited on.
        delay_s: seconds that each load takes.
        holds_memory: whether a loaded model really takes `size_bytes`, so that their return can be seen.

    Attributes:
        fault: each load raises a copy of it instead, while it is not None.
        loads: how many models it has loaded.
        unloads: how many of them it was given back.
    """

    def __init__(
        self,
        name: str,
        backend: InferenceBackend,
        *,
        size_bytes: int,
        clock: Clock,
        delay_s: float = 0.0,
        holds_memory: bool = False,
    ) -> None:
        self._name = name
        self._backend = backend
        self._size_bytes = size_bytes
        self._clock = clock
        self._delay_s = delay_s
        self._held_bytes = size_bytes if holds_memory else 0
        self.fault: BackendError | None = None
        self.loads = 0
        self.unloads = 0

    @property
    def name(self) -> str:
        """Return the name that was given."""
        return self._name

    @property
    def size_bytes(self) -> int:
        """Return the size that was given."""
        return self._size_bytes

    async def load(self) -> InferenceBackend:
        """Return a model that answers as the backend does, after the delay.

        Raises:
            BackendError: a copy of `fault`.
        """
        await self._clock.sleep(self._delay_s)
        if self.fault is not None:
            raise copy.copy(self.fault)
        model = _ScriptedModel(self._backend, bytearray(self._held_bytes))
        self.loads += 1
        return model

    async def unload(self, backend: InferenceBackend) -> None:
        """Count it."""
        del backend  # what it holds goes with its last reference
        self.unloads += 1


class _ScriptedModel:
    def __init__(self, backend: InferenceBackend, weights: bytearray) -> None:
        self._backend = backend
        self._weights = weights

    async def complete(self, prompt: Prompt) -> Completion:
        return await self._backend.complete(prompt)


_: type[ModelLoader] = ScriptedModelLoader
