"""What model slots keep, and what they decide to have done.

Responsibility: a model that is loaded, a caller who waits for one, and the two changes that take time.
Guarantees: a model gives up its backend once; for each job that the core asks for, the shell reports one end.
Not responsible for: deciding anything: see `holdfast.domain.model_slot_core`; doing it: `holdfast.domain.model_slot`.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from holdfast.ports.inference import InferenceBackend
from holdfast.ports.model import ModelLoader

__all__ = ["Load", "LoadedModel", "Unload", "Waiter"]


class LoadedModel:
    """A model in its slot.

    Args:
        loader: where it came from.
        backend: the model itself.
        now_s: when it was loaded.

    Attributes:
        users: how many use it now.
        idle_since_s: when the last of them was done.
    """

    __slots__ = ("_backend", "idle_since_s", "loader", "users")

    def __init__(self, loader: ModelLoader, backend: InferenceBackend, *, now_s: float) -> None:
        self.loader = loader
        self._backend: InferenceBackend | None = backend
        self.users = 0
        self.idle_since_s = now_s

    @property
    def backend(self) -> InferenceBackend:
        """The model, for those who use it."""
        assert self._backend is not None, "used after it was surrendered"  # noqa: S101 - the core hands it out before
        return self._backend

    def surrender(self) -> InferenceBackend:
        """Return the backend and drop it, so that whoever unloads it has the last reference."""
        backend, self._backend = self.backend, None
        return backend


class Waiter:
    """A caller in the line.

    Args:
        loader: the model that is waited for.
        wake: called once, when either `model` or `error` is there.
    """

    __slots__ = ("_wake", "error", "loader", "model")

    def __init__(self, loader: ModelLoader, wake: Callable[[], None]) -> None:
        self.loader = loader
        self._wake = wake
        self.model: LoadedModel | None = None
        self.error: Exception | None = None

    def grant(self, model: LoadedModel) -> None:
        """End the wait with the model."""
        self.model = model
        self._wake()

    def refuse(self, error: Exception) -> None:
        """End the wait with an error."""
        self.error = error
        self._wake()


class Load:
    """Bring a model into a free slot.

    Args:
        loader: which one.
        began_s: when it was decided.

    Attributes:
        task: where it is done.
        unwanted: nobody waits for it any more, so that it is being cancelled.
    """

    __slots__ = ("began_s", "loader", "task", "unwanted")

    def __init__(self, loader: ModelLoader, *, began_s: float) -> None:
        self.loader = loader
        self.began_s = began_s
        self.task: anyio.TaskHandle[None] | None = None
        self.unwanted = False

    def abandon(self) -> None:
        """Cancel it; it reports its end all the same."""
        self.unwanted = True
        if self.task is not None:
            self.task.cancel()


class Unload:
    """Take a model out of its slot.

    Args:
        model: which one.
        began_s: when it was decided.
    """

    __slots__ = ("began_s", "model")

    def __init__(self, model: LoadedModel, *, began_s: float) -> None:
        self.model = model
        self.began_s = began_s
