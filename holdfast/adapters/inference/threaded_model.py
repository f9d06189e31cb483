"""A model that a blocking function loads.

Responsibility: `ModelLoader` over your own functions, run in worker threads: reading gigabytes takes seconds, and holds
    up an event loop for as long.
Guarantees: whatever the functions raise comes as `BackendUnavailableError`. A thread cannot be cancelled; so a load
    that is cancelled is awaited for `give_up_after_s`, and the model that it brings all the same is unloaded, by the
    thread itself if it comes later than that.
Not responsible for: calls of the model: the backend that `load` returns decides where they run.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import anyio
from anyio.to_thread import run_sync

from holdfast.ports.errors import BackendError, BackendUnavailableError, ConfigurationError
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.model import ModelLoader

__all__ = ["ThreadedModelLoader"]

_LOOK_EVERY_S = 0.05


class ThreadedModelLoader:
    """Loads and unloads in a thread of its own.

    Args:
        name: tells the model apart from others; errors carry it.
        size_bytes: about what it takes in memory, from 1, such as the size of its file and of its context.
        load: returns the model, ready for use; keeps no reference to it.
        unload: releases what the model holds besides its memory in Python, such as a library's own context; None where
            dropping it is enough.
        give_up_after_s: seconds that a cancelled load is awaited, from 0; default 60, unmeasured.

    Raises:
        ConfigurationError: if a number is out of its range.

    Example:
        >>> from holdfast.adapters.inference import ExtractiveBackend
        >>> loader = ThreadedModelLoader("small", size_bytes=1000, load=lambda: ExtractiveBackend("small"))
        >>> anyio.run(loader.load)  # doctest: +ELLIPSIS
        <holdfast.adapters.inference.extractive.ExtractiveBackend object at ...>
    """

    def __init__(
        self,
        name: str,
        *,
        size_bytes: int,
        load: Callable[[], InferenceBackend],
        unload: Callable[[InferenceBackend], None] | None = None,
        give_up_after_s: float = 60.0,
    ) -> None:
        if size_bytes < 1:
            raise ConfigurationError(f"must be at least 1, not {size_bytes!r}", path="size_bytes")
        if not 0 <= give_up_after_s < math.inf:
            raise ConfigurationError(
                f"must be a finite number of at least 0, not {give_up_after_s!r}", path="give_up_after_s"
            )
        self._name = name
        self._size_bytes = size_bytes
        self._load = load
        self._unload = unload
        self._give_up_after_s = give_up_after_s

    @property
    def name(self) -> str:
        """Return the name that was given."""
        return self._name

    @property
    def size_bytes(self) -> int:
        """Return the size that was given."""
        return self._size_bytes

    async def load(self) -> InferenceBackend:
        """Return what the function returns.

        Raises:
            BackendUnavailableError: whatever it raises, as the cause.

        Cancellation: waits until the function has ended and what it brought is unloaded, `give_up_after_s` at most;
            what comes later is unloaded by the thread.
        """
        work = _Work(self._load, self._unload)
        try:
            await _in_thread(work.run)
        except BackendError:
            raise
        except Exception as error:
            raise BackendUnavailableError(f"cannot be loaded: {error}", backend=self._name) from error
        except BaseException:
            with anyio.move_on_after(self._give_up_after_s, shield=True):
                await work.abandon()
            raise
        return work.take()

    async def unload(self, backend: InferenceBackend) -> None:
        """Call the function, if there is one.

        Raises:
            BackendUnavailableError: whatever it raises, as the cause.

        Cancellation: stops waiting; the function goes on in its thread.
        """
        unload = self._unload
        if unload is None:
            return
        try:
            await _in_thread(lambda: unload(backend))
        except BackendError:
            raise
        except Exception as error:
            raise BackendUnavailableError(f"cannot be unloaded: {error}", backend=self._name) from error


async def _in_thread(work: Callable[[], None]) -> None:
    # With a limiter of its own: whatever fills the common one must not keep a model from leaving.
    await run_sync(work, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))


class _Token:
    """Something that exactly one of two threads gets."""

    def __init__(self) -> None:
        self._left = deque((None,))

    def take(self) -> bool:
        """Return whether it was still there."""
        try:
            self._left.pop()  # atomic, as `deque` promises
        except IndexError:
            return False
        return True


class _Work:
    """One load, which a thread does and a task waits for, until it may be cancelled.

    Each of two steps belongs to whoever comes first: to begin, or to give it up before; to hand the model over, or to
    leave it to the thread.
    """

    def __init__(self, load: Callable[[], InferenceBackend], unload: Callable[[InferenceBackend], None] | None) -> None:
        self._load = load
        self._unload = unload
        self._beginning = _Token()
        self._handing_over = _Token()
        self._backend: InferenceBackend | None = None
        self._has_ended = False

    def run(self) -> None:
        """Load; and unload again if nobody waits any more. In the thread."""
        if not self._beginning.take():
            return
        try:
            self._backend = self._load()
            if not self._handing_over.take():
                self._release()
        finally:
            self._has_ended = True

    def take(self) -> InferenceBackend:
        """Return the model that was handed over, and forget it."""
        backend, self._backend = self._backend, None
        assert backend is not None, "taken twice"  # noqa: S101 - only the task that waited takes it, once
        return backend

    async def abandon(self) -> None:
        """See to it that no model stays behind."""
        if self._beginning.take():
            return
        if self._handing_over.take():
            while not self._has_ended:  # noqa: ASYNC110 - the thread may outlive the event loop, and an event with it
                await anyio.sleep(_LOOK_EVERY_S)
        else:
            with suppress(Exception):  # the cancellation goes on; there is nobody to tell
                await _in_thread(self._release)

    def _release(self) -> None:
        backend = self.take()
        if self._unload is not None:
            self._unload(backend)


_: type[ModelLoader] = ThreadedModelLoader
