"""A few models in memory, for everyone who asks for one.

Responsibility: load a model for whoever asks for it, share it among them, and unload another one first where the slots
    or the memory do not suffice for both.
Guarantees: never more than `max_loaded` models are in memory, and a model that does not fit is refused with the
    numbers; one that is in use stays; callers who ask for the same model at once share one load, which goes on as long
    as one of them waits; after a cancellation at any moment every count is back; every model that was loaded is
    unloaded once. `holdfast.domain.model_slot_core` lists what holds after every decision.
Not responsible for: what loading is: see `holdfast.ports.model`; references to a model that others keep: as long as
    they do, its memory does not come back, however long an unload waits.
Sources: why one change at a time, and why an unload waits: ADR 0024.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, Self, assert_never

import anyio
from anyio.abc import TaskGroup

from holdfast.domain.cancellation import is_cancellation
from holdfast.domain.host_guard import HostGuard
from holdfast.domain.model_slot_config import ModelSlotConfig
from holdfast.domain.model_slot_core import ModelSlotCore
from holdfast.domain.model_slot_jobs import Load, LoadedModel, Unload, Waiter
from holdfast.ports.clock import Clock
from holdfast.ports.errors import BackendUnavailableError, ClosedError
from holdfast.ports.events import EventSink
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.model import ModelLoader
from holdfast.ports.statistics import ModelSlotStatistics

__all__ = ["ModelSlotConfig", "ModelSlots"]

_DEFAULTS: Final = ModelSlotConfig()
_LOOK_EVERY_S: Final = 0.05  # how late returned memory may be noticed; unmeasured
_SWEEP_EVERY_S: Final = 5.0  # how late an idle model may be unloaded; unmeasured


class ModelSlots:
    """Lends models. Open it with ``async with``, once; it belongs to one event loop.

    Loads and unloads run in tasks of its own, one at a time. An unload drops the reference to the model, collects what
    only cycles hold, and ends when the memory is seen to be back, when the next model fits anyway, or after
    `settle_timeout_s`.

    On leaving, callers in line get `ClosedError`, users have `close_timeout_s` to be done (no time if whoever leaves is
    cancelled), a load is cancelled and awaited, and every model is unloaded, also one that is still in use.

    Args:
        config: see `ModelSlotConfig`.
        guard: says what fits.
        clock: monotonic time.
        events: hears of what was loaded, unloaded and refused.
        collect: frees what only cycles of references hold. It runs on the event loop: a garbage collection keeps every
            thread of the interpreter waiting, so a thread of its own would spare nobody.

    Example:
        >>> from holdfast.adapters.inference import ScriptedBackend, ScriptedModelLoader
        >>> from holdfast.adapters.memory import FixedHostMemory
        >>> from holdfast.ports import Prompt
        >>> from holdfast.testing import VirtualClock
        >>> clock = VirtualClock()
        >>> backend = ScriptedBackend.repeating("llama", "yes", clock=clock)
        >>> llama = ScriptedModelLoader("llama", backend, size_bytes=1000, clock=clock)
        >>> async def main() -> None:
        ...     async with ModelSlots(guard=HostGuard(FixedHostMemory(None)), clock=clock) as slots:
        ...         async with slots.use(llama) as model:
        ...             print((await model.complete(Prompt(messages=()))).text, slots.statistics().loaded)
        >>> anyio.run(main)
        yes 1
    """

    _tasks: TaskGroup

    def __init__(
        self,
        config: ModelSlotConfig = _DEFAULTS,
        *,
        guard: HostGuard,
        clock: Clock,
        events: EventSink | None = None,
        collect: Callable[[], object] = gc.collect,
    ) -> None:
        self._config = config
        self._guard = guard
        self._clock = clock
        self._now_s = clock.monotonic_s
        self._collect = collect
        self._core = ModelSlotCore(config, guard, events)
        self._was_opened = False

    async def __aenter__(self) -> Self:
        if self._was_opened:
            raise ClosedError("the model slots")
        self._was_opened = True
        self._drained = anyio.Event()
        self._tasks = await anyio.create_task_group().__aenter__()
        self._core.open()
        if self._config.max_idle_s is not None:
            self._tasks.start_soon(self._sweep)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._core.shut(self._now_s())
            self._act()
            with anyio.move_on_after(self._config.close_timeout_s):
                await self._drained.wait()
        finally:
            self._core.revoke(self._now_s())
            self._act()
            self._tasks.cancel_scope.cancel()
            # Without the error of the body, which a task group would wrap in an ExceptionGroup; it goes on by itself.
            await self._tasks.__aexit__(None, None, None)

    def use(self, loader: ModelLoader) -> AbstractAsyncContextManager[InferenceBackend]:
        """Return a context manager that gives the loaded model on entering, to any number of users at once.

        Keep no reference to it after leaving, and ask for no other model in between: with all slots in use you would
        wait for yourself.

        Entering a model that is loaded does not yield to other tasks, unless somebody in line needs its slot.

        Args:
            loader: which model. Its name tells: of two loaders of one name, the model of the first is used.

        Raises:
            HostMemoryError: the model does not fit, and would not if all that idle were unloaded.
            BackpressureError: `max_waiters` callers wait already, or no slot became free within `wait_timeout_s`;
                `retry_after_s` is how long the last load took.
            ClosedError: the slots are not open, or were closed meanwhile.
            Exception: what loading failed with, as a copy of one's own (`BackendUnavailableError` if it took too long).

        Cancellation: leaves the line; the last one to go cancels the load. A model granted in that moment is not used.
        Complexity: O(1) for a model that is loaded.
        """
        return _Using(self._core, loader, self._wait, self._leave)

    def statistics(self) -> ModelSlotStatistics:
        """Return what the slots hold now, and their totals."""
        return self._core.statistics()

    async def _wait(self, loader: ModelLoader) -> LoadedModel:
        settled = anyio.Event()
        waiter = Waiter(loader, settled.set)
        self._core.wait(waiter, self._now_s())
        self._act()
        try:
            with anyio.move_on_after(self._config.wait_timeout_s) as in_time:
                await settled.wait()
            if in_time.cancelled_caught:
                self._core.time_out(waiter, self._now_s())
                self._act()
                await settled.wait()
        except BaseException:
            self._core.withdraw(waiter, self._now_s())
            self._act()
            raise
        if waiter.model is not None:
            return waiter.model
        assert waiter.error is not None, "woken for nothing"  # noqa: S101 - the core wakes with one or the other
        try:
            raise waiter.error
        finally:
            del waiter  # or its error, the traceback and this frame would keep one another alive

    def _leave(self, model: LoadedModel) -> None:
        self._core.leave(model, self._now_s())
        self._act()

    def _act(self) -> None:
        jobs = self._core.jobs
        while jobs:
            job = jobs.popleft()
            task = self._tasks.start_soon(self._do, job)
            if isinstance(job, Load):
                job.task = task
        if self._core.is_drained:
            self._drained.set()

    async def _do(self, job: Load | Unload) -> None:
        try:
            match job:
                case Load():
                    await self._load(job)
                case Unload():
                    await self._unload(job)
                case _:
                    assert_never(job)
        finally:
            self._act()

    async def _load(self, job: Load) -> None:
        try:
            backend = await self._load_in_time(job.loader)
        except Exception as error:  # noqa: BLE001 - this task supervises: the core tells the callers who wait
            self._core.load_failed(job, error, self._now_s())
        except BaseException as error:
            if not job.unwanted and _came_from_within(error):
                failure = BackendUnavailableError("its load was cancelled from within", backend=job.loader.name)
                self._core.load_failed(job, failure, self._now_s())
                return
            if not job.unwanted:
                # The slots are closing. Were they still to serve, they would ask for the load anew, over and over.
                self._core.shut(self._now_s())
            self._core.load_cancelled(self._now_s())
            raise
        else:
            self._core.loaded(job, backend, self._now_s())

    async def _load_in_time(self, loader: ModelLoader) -> InferenceBackend:
        timeout_s = self._config.load_timeout_s
        with anyio.move_on_after(timeout_s):
            return await loader.load()
        raise BackendUnavailableError(
            f"not loaded within {timeout_s:g} s; raise models.load_timeout_s or choose a smaller model",
            backend=loader.name,
        )

    async def _unload(self, job: Unload) -> None:
        free_bytes = self._guard.available_bytes()
        good = False
        try:
            good = await self._give_up(job.model)
            self._collect()
            if free_bytes is not None:
                await self._settle(free_bytes + job.model.loader.size_bytes)
        except BaseException:
            self._core.shut(self._now_s())  # as above
            raise
        finally:
            self._core.unloaded(job, self._now_s(), good=good)

    async def _give_up(self, model: LoadedModel) -> bool:
        try:
            with anyio.move_on_after(self._config.unload_timeout_s, shield=True) as scope:
                await model.loader.unload(model.surrender())
        except Exception:  # noqa: BLE001 - this task supervises: the failure is counted, and nothing is left to be done
            return False
        except BaseException as error:
            if _came_from_within(error):
                return False
            raise
        return not scope.cancelled_caught

    async def _settle(self, expected_bytes: int) -> None:
        with anyio.move_on_after(self._config.settle_timeout_s):
            while not self._core.is_settled(expected_bytes):
                await self._clock.sleep(_LOOK_EVERY_S)

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP_EVERY_S)
            self._core.sweep(self._now_s())
            self._act()


def _came_from_within(error: BaseException) -> bool:
    """Return whether `error` is a cancellation of something inside the call, which asyncio let out.

    Nothing around this task was cancelled then; were it raised here, it would close the slots.
    """
    return is_cancellation(error) and anyio.current_effective_deadline() != -math.inf


class _Using:
    __slots__ = ("_core", "_leave", "_loader", "_model", "_wait")

    def __init__(
        self,
        core: ModelSlotCore,
        loader: ModelLoader,
        wait: Callable[[ModelLoader], Awaitable[LoadedModel]],
        leave: Callable[[LoadedModel], None],
    ) -> None:
        self._core = core
        self._loader = loader
        self._wait = wait
        self._leave = leave
        self._model: LoadedModel

    async def __aenter__(self) -> InferenceBackend:
        self._model = self._core.use_nowait(self._loader) or await self._wait(self._loader)
        return self._model.backend

    async def __aexit__(self, *_: object) -> None:
        self._leave(self._model)
