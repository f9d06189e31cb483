"""Models that have to be in memory before they answer.

Responsibility: how much memory the machine has left, and how one model comes into it and leaves it again.
Guarantees: a model is a number of bytes and a name here; an implementation raises nothing but the errors named below.
Not responsible for: how many models are loaded at once, and which one has to go: see `holdfast.domain.model_slot`.
"""

from __future__ import annotations

from typing import Protocol

from holdfast.ports.inference import InferenceBackend

__all__ = ["HostMemory", "ModelLoader"]


class HostMemory(Protocol):
    """Knows how much memory is left.

    Ordering: each reading is of its own moment, and may be out of date when it is used. Blocking: it reads a few small
    files at most, which the kernel keeps in memory, so it may be asked on an event loop. Errors: none; what cannot be
    read is unknown.
    """

    def available_bytes(self) -> int | None:
        """Return the bytes that can be allocated without swapping, from 0; None where nothing tells."""
        ...


class ModelLoader(Protocol):
    """Brings one model into memory, and out again.

    Ordering: calls of one loader never overlap: there is one `load`, then one `unload` of what it returned, and so on.
    Ownership: once `load` has returned, the loader holds no reference to the backend, so that its memory is free as
    soon as the one who has it drops it. Idempotency: after an `unload`, or a `load` that failed or was cancelled, it
    can be loaded again. Cancellation: both may be cancelled at any moment; a `load` that is cancelled leaves no model
    behind, and may take its time to see to that; after an `unload` that is cancelled the backend is used no more all
    the same. Errors: `BackendError` and its subclasses, and nothing else.
    """

    @property
    def name(self) -> str:
        """What tells the model apart from every other one; the same at all times."""
        ...

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory, above 0; the same at all times."""
        ...

    async def load(self) -> InferenceBackend:
        """Return the model, in memory and ready for any number of calls at once."""
        ...

    async def unload(self, backend: InferenceBackend) -> None:
        """Release what the model holds besides its memory in Python, and stop it, in whatever state it is."""
        ...
