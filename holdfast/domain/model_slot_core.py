"""The decisions of model slots.

Responsibility: who may use which model, and which one is loaded or unloaded next; all of it synchronous.
Guarantees, after every call:
    - loaded + loading + unloading ≤ max_loaded, and until the slots close one change at a time: so what the guard finds
      free is free, and two models that fit one at a time are never let in together;
    - a model is unloaded only while nobody uses it, until `revoke`;
    - a model is unloaded for another one only if that one then fits, as far as sizes tell;
    - callers who need a slot get it in the order they came. While the first of them waits for a model in use to become
      idle, the one used longest ago takes no newcomers: they queue behind, so that steady traffic starves nobody;
    - asked = waiting + granted + refused + failed + cancelled;
      begun = loading + loads + failed_loads + cancelled_loads; loads = loaded + unloading + unloads.
Not responsible for: waiting, waking, time and doing the `jobs`: see `holdfast.domain.model_slot`, which passes `now_s`
    in.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from holdfast.domain.failure_copy import copy_failure
from holdfast.domain.host_guard import HostGuard
from holdfast.domain.model_slot_config import ModelSlotConfig
from holdfast.domain.model_slot_jobs import Load, LoadedModel, Unload, Waiter
from holdfast.ports.errors import BackpressureError, ClosedError, HostMemoryError
from holdfast.ports.events import EventSink, ModelLoaded, ModelRefused, ModelUnloaded
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.model import ModelLoader
from holdfast.ports.statistics import ModelSlotStatistics

__all__ = ["ModelSlotCore"]


class ModelSlotCore:
    """The state of all slots.

    Args:
        config: see `ModelSlotConfig`.
        guard: says what fits.
        events: hears of what was loaded, unloaded and refused.

    Attributes:
        jobs: what is to be done, in order; whoever calls a method here takes them and has them done.
    """

    def __init__(self, config: ModelSlotConfig, guard: HostGuard, events: EventSink | None = None) -> None:
        self.jobs: deque[Load | Unload] = deque()
        self._config = config
        self._guard = guard
        self._events = events
        self._is_open = False
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()  # by name, the one used longest ago first
        self._line: OrderedDict[Waiter, None] = OrderedDict()
        self._load: Load | None = None
        self._unloading = 0
        self._draining: LoadedModel | None = None
        self._last_load_s: float | None = None
        self._using = self._asked = self._granted = self._refused = self._failed = self._cancelled = 0
        self._begun = self._loads = self._failed_loads = self._cancelled_loads = 0
        self._unloads = self._failed_unloads = 0

    def open(self) -> None:
        """Begin to serve."""
        self._is_open = True

    def use_nowait(self, loader: ModelLoader) -> LoadedModel | None:
        """Return the model for use if it is loaded and takes users, or None."""
        model = self._loaded.get(loader.name)
        if model is None or model is self._draining or not self._is_open:
            return None
        self._asked += 1
        self._grant(model)
        return model

    def wait(self, waiter: Waiter, now_s: float) -> None:
        """Put a caller at the end of the line; it may be granted or refused at once.

        Raises:
            ClosedError: the slots are not open.
            BackpressureError: the line is full.
        """
        self._asked += 1
        if not self._is_open:
            self._refused += 1
            raise _closed_error()
        if len(self._line) >= self._config.max_waiters:
            self._refused += 1
            raise self._pressed("the line for a model slot is full")
        self._line[waiter] = None
        if self._draining is None:  # else someone is ahead who waits for the same slot
            self._balance(now_s)

    def time_out(self, waiter: Waiter, now_s: float) -> None:
        """Refuse a caller who has waited for long enough, unless the model is on its way to them."""
        on_its_way = self._load is not None and not self._load.unwanted and self._load.loader.name == waiter.loader.name
        if waiter not in self._line or on_its_way:
            return
        error = self._pressed(f"no slot for model {waiter.loader.name!r} within {self._config.wait_timeout_s:g} s")
        self._refused += 1
        waiter.refuse(error)
        self._step_out(waiter, now_s)

    def withdraw(self, waiter: Waiter, now_s: float) -> None:
        """Take a cancelled caller out of the line; a model granted in that very moment was never granted."""
        if waiter in self._line:
            self._cancelled += 1
            self._step_out(waiter, now_s)
            self._abandon_load_if_unwanted()
        elif waiter.model is not None:
            self._granted -= 1
            self._cancelled += 1
            self.leave(waiter.model, now_s)

    def leave(self, model: LoadedModel, now_s: float) -> None:
        """Count one user less."""
        self._using -= 1
        model.users -= 1
        if model.users:
            return
        model.idle_since_s = now_s
        if self._line:
            self._balance(now_s)
        elif not self._is_open and self._loaded.get(model.loader.name) is model:
            self._begin_unload(model, now_s)

    def loaded(self, job: Load, backend: InferenceBackend, now_s: float) -> None:
        """Take in what a `Load` job brought, for everyone who waits for it."""
        self._load = None
        self._loads += 1
        self._last_load_s = max(0.0, now_s - job.began_s)
        loader = job.loader
        model = self._loaded[loader.name] = LoadedModel(loader, backend, now_s=now_s)
        if self._events is not None:
            self._events.emit(
                ModelLoaded(model=loader.name, size_bytes=loader.size_bytes, duration_s=self._last_load_s)
            )
        if not self._is_open:
            self._begin_unload(model, now_s)
            return
        for waiter in self._waiting_for(loader.name):
            self._admit(waiter, model)
        self._balance(now_s)

    def load_failed(self, job: Load, error: Exception, now_s: float) -> None:
        """Tell everyone who waits for the model why it is not there; the slot is free again."""
        self._load = None
        self._failed_loads += 1
        for waiter in self._waiting_for(job.loader.name):
            del self._line[waiter]
            self._failed += 1
            waiter.refuse(copy_failure(error))
        self._balance(now_s)

    def load_cancelled(self, now_s: float) -> None:
        """Take in that the `Load` job has ended because of a cancellation; those who came since begin another."""
        self._load = None
        self._cancelled_loads += 1
        self._balance(now_s)

    def unloaded(self, job: Unload, now_s: float, *, good: bool) -> None:
        """Take in the end of an `Unload` job; the slot is free also if the loader failed at it."""
        self._unloading -= 1
        self._unloads += 1
        self._failed_unloads += not good
        if self._events is not None:
            name = job.model.loader.name
            self._events.emit(ModelUnloaded(model=name, duration_s=max(0.0, now_s - job.began_s)))
        self._balance(now_s)

    def is_settled(self, expected_bytes: int) -> bool:
        """Return whether an unload needs no further wait for its memory.

        That is when `expected_bytes` are free, when the next in line fits already, or when nobody can tell.
        """
        available_bytes = self._guard.available_bytes()
        if available_bytes is None or available_bytes >= expected_bytes:
            return True
        following = next((waiter.loader for waiter in self._line if waiter.loader.name not in self._loaded), None)
        return following is not None and self._guard.shortage(following.name, following.size_bytes) is None

    def sweep(self, now_s: float) -> None:
        """Unload a model that has idled for too long, one at a time."""
        max_idle_s = self._config.max_idle_s
        if max_idle_s is None or self._is_changing():
            return
        spent = next((model for model in self._idle() if now_s - model.idle_since_s >= max_idle_s), None)
        if spent is not None:
            self._begin_unload(spent, now_s)

    def shut(self, now_s: float) -> None:
        """Serve nobody any more: those in line are refused, idle models unloaded, others when their users are done."""
        self._is_open = False
        while self._line:
            waiter, _ = self._line.popitem(last=False)
            self._refused += 1
            waiter.refuse(_closed_error())
        self._abandon_load_if_unwanted()
        for model in self._idle():
            self._begin_unload(model, now_s)

    def revoke(self, now_s: float) -> None:
        """Unload every model that is still loaded, under its users."""
        for model in tuple(self._loaded.values()):
            self._begin_unload(model, now_s)

    @property
    def is_drained(self) -> bool:
        """Whether the slots are shut and nobody uses a model."""
        return not (self._is_open or self._using)

    def statistics(self) -> ModelSlotStatistics:
        """Return what is and what was."""
        return ModelSlotStatistics(
            loaded=len(self._loaded),
            loading=int(self._load is not None),
            unloading=self._unloading,
            max_loaded=self._config.max_loaded,
            using=self._using,
            waiting=len(self._line),
            asked=self._asked,
            granted=self._granted,
            refused=self._refused,
            failed=self._failed,
            cancelled=self._cancelled,
            begun=self._begun,
            loads=self._loads,
            failed_loads=self._failed_loads,
            cancelled_loads=self._cancelled_loads,
            unloads=self._unloads,
            failed_unloads=self._failed_unloads,
        )

    def _step_out(self, waiter: Waiter, now_s: float) -> None:
        was_first = next(iter(self._line)) is waiter
        del self._line[waiter]
        if was_first:  # the others wait for what the first one waits for
            self._balance(now_s)

    def _balance(self, now_s: float) -> None:
        """Let in whoever may, in order, and begin a change for the first who needs a slot; unless one is under way."""
        if self._is_changing():
            return
        self._draining = None
        for waiter in tuple(self._line):
            if waiter not in self._line:
                continue  # refused with an earlier one
            model = self._loaded.get(waiter.loader.name)
            if model is None:
                if self._draining is None and not self._is_changing():
                    self._draining = self._make_way_for(waiter.loader, now_s)
            elif model is not self._draining:
                self._admit(waiter, model)

    def _make_way_for(self, loader: ModelLoader, now_s: float) -> LoadedModel | None:
        """Begin what brings `loader` nearer to a slot, or refuse it; return the model that has to become idle first."""
        is_full = len(self._loaded) >= self._config.max_loaded
        idle = self._idle()
        removable = idle or (list(self._loaded.values()) if is_full else [])
        shortage = self._guard.shortage(loader.name, loader.size_bytes)
        if shortage is not None and _lacking_bytes(shortage) > sum(model.loader.size_bytes for model in removable):
            self._refuse(shortage)
        elif is_full and not idle:
            return removable[0]
        elif is_full or shortage is not None:
            self._begin_unload(idle[0], now_s)
        else:
            self._begun += 1
            self._load = Load(loader, began_s=now_s)
            self.jobs.append(self._load)
        return None

    def _refuse(self, shortage: HostMemoryError) -> None:
        name, needed_bytes, available_bytes = shortage.model, shortage.needed_bytes, shortage.available_bytes
        for waiter in self._waiting_for(name):
            del self._line[waiter]
            self._refused += 1
            waiter.refuse(HostMemoryError(model=name, needed_bytes=needed_bytes, available_bytes=available_bytes))
        if self._events is not None:
            self._events.emit(ModelRefused(model=name, needed_bytes=needed_bytes, available_bytes=available_bytes))

    def _pressed(self, reason: str) -> BackpressureError:
        depth, capacity = len(self._line), self._config.max_waiters
        return BackpressureError(depth=depth, capacity=capacity, retry_after_s=self._last_load_s, reason=reason)

    def _begin_unload(self, model: LoadedModel, now_s: float) -> None:
        del self._loaded[model.loader.name]
        self._unloading += 1
        self.jobs.append(Unload(model, began_s=now_s))

    def _abandon_load_if_unwanted(self) -> None:
        if self._load is not None and not self._waiting_for(self._load.loader.name):
            self._load.abandon()

    def _admit(self, waiter: Waiter, model: LoadedModel) -> None:
        del self._line[waiter]
        self._grant(model)
        waiter.grant(model)

    def _grant(self, model: LoadedModel) -> None:
        self._granted += 1
        self._using += 1
        model.users += 1
        self._loaded.move_to_end(model.loader.name)

    def _idle(self) -> list[LoadedModel]:
        return [model for model in self._loaded.values() if not model.users]

    def _waiting_for(self, name: str) -> list[Waiter]:
        return [waiter for waiter in self._line if waiter.loader.name == name]

    def _is_changing(self) -> bool:
        return self._load is not None or self._unloading > 0


def _lacking_bytes(shortage: HostMemoryError) -> int:
    return shortage.needed_bytes - shortage.available_bytes


def _closed_error() -> ClosedError:
    return ClosedError("the model slots")
