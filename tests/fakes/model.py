"""Models that know whether they are in memory, and a machine whose memory they fill."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from anyio.lowlevel import checkpoint

from holdfast.ports.inference import Completion, InferenceBackend, Prompt
from holdfast.ports.model import HostMemory, ModelLoader

__all__ = ["FakeLoader", "FakeModel", "Machine"]


class Machine:
    """A machine of `total_bytes`; None tells nothing. `leaked_bytes` are taken by somebody else."""

    def __init__(self, total_bytes: int | None = None) -> None:
        self.total_bytes = total_bytes
        self.leaked_bytes = 0
        self.present: list[FakeModel] = []
        self.most_present = 0

    def available_bytes(self) -> int | None:
        if self.total_bytes is None:
            return None
        return self.total_bytes - self.leaked_bytes - sum(model.size_bytes for model in self.present)

    def load(self, model: FakeModel) -> None:
        self.present.append(model)
        self.most_present = max(self.most_present, len(self.present))

    def free(self, model: FakeModel) -> None:
        self.present.remove(model)


class FakeModel:
    """A loaded model; fails every call that comes after it was unloaded."""

    def __init__(self, name: str, size_bytes: int) -> None:
        self.name = name
        self.size_bytes = size_bytes
        self.is_present = True
        self.on_complete: Callable[[], Awaitable[None]] = checkpoint

    async def complete(self, prompt: Prompt) -> Completion:
        assert self.is_present, "called after it was unloaded"
        await self.on_complete()
        assert self.is_present, "unloaded in the midst of a call"
        return Completion(text=self.name, model=self.name)


class FakeLoader:
    """Each `on_…` runs in the midst of the call of its name, and may wait or raise.

    A model that is unloaded frees its bytes at once, unless `frees` is False.
    """

    def __init__(self, name: str, *, size_bytes: int = 10, machine: Machine | None = None) -> None:
        self.name = name
        self.size_bytes = size_bytes
        self.machine = machine or Machine()
        self.on_load: Callable[[], Awaitable[None]] = checkpoint
        self.on_unload: Callable[[], Awaitable[None]] = checkpoint
        self.frees = True
        self.attempts = self.loads = self.unloads = 0
        self.is_busy = False
        self.overlaps = 0

    async def load(self) -> InferenceBackend:
        self.attempts += 1
        await self._alone(self.on_load)
        self.loads += 1
        model = FakeModel(self.name, self.size_bytes)
        self.machine.load(model)
        return model

    async def unload(self, backend: InferenceBackend) -> None:
        assert isinstance(backend, FakeModel)
        assert backend.is_present, "unloaded twice"
        backend.is_present = False
        self.unloads += 1
        try:
            await self._alone(self.on_unload)
        finally:
            if self.frees:
                self.machine.free(backend)

    async def _alone(self, work: Callable[[], Awaitable[None]]) -> None:
        self.overlaps += self.is_busy
        self.is_busy = True
        try:
            await work()
        finally:
            self.is_busy = False


_: tuple[type[HostMemory], type[ModelLoader]] = (Machine, FakeLoader)
