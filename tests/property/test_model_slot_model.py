"""The decisions of model slots against a model that knows only who came, what is in memory and what is in use."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.domain.host_guard import HostGuard, HostGuardConfig
from holdfast.domain.model_slot_config import ModelSlotConfig
from holdfast.domain.model_slot_core import ModelSlotCore
from holdfast.domain.model_slot_jobs import Load, LoadedModel, Unload, Waiter
from holdfast.ports.errors import BackendUnavailableError, BackpressureError, ClosedError
from tests.fakes.model import FakeLoader, FakeModel, Machine

NAMES = "abcd"


class Caller:
    """Someone in line, as the model sees them."""

    def __init__(self, loader: FakeLoader) -> None:
        self.waiter = Waiter(loader, self._wake)
        self.wakings = 0

    def _wake(self) -> None:
        self.wakings += 1


class ModelSlotMachine(RuleBasedStateMachine):
    @initialize(
        max_loaded=st.integers(1, 3),
        total_bytes=st.none() | st.integers(20, 100),
        max_idle_s=st.none() | st.just(10.0),
    )
    def begin(self, max_loaded: int, total_bytes: int | None, max_idle_s: float | None) -> None:
        self.machine = Machine(total_bytes)
        self.config = ModelSlotConfig(max_loaded=max_loaded, max_waiters=4, max_idle_s=max_idle_s)
        self.core = ModelSlotCore(self.config, HostGuard(self.machine, HostGuardConfig(reserve_bytes=5)))
        self.core.open()
        self.loaders = [FakeLoader(name, size_bytes=15 * (number + 1)) for number, name in enumerate(NAMES)]
        self.now_s = 1000.0
        self.line: list[Caller] = []
        self.users: list[LoadedModel] = []
        self.present: dict[str, LoadedModel] = {}
        self.load: Load | None = None
        self.unloads: list[Unload] = []
        self.is_open = True
        self.is_revoked = False
        self.asked = self.granted = self.refused = self.failed = self.cancelled = 0
        self.loads = self.ended_unloads = 0

    def settle(self) -> None:
        """Take the jobs, and see what may be begun."""
        for job in self.core.jobs:
            if isinstance(job, Load):
                assert self.load is None
                assert not self.unloads, "two changes at once"
                assert self.is_open
                assert job.loader.name not in self.present
                free_bytes = self.machine.available_bytes()
                assert free_bytes is None or job.loader.size_bytes + 5 <= free_bytes, "loaded without room"
                self.load = job
            else:
                assert not self.is_open or not (self.load or self.unloads), "two changes at once"
                assert self.is_revoked or job.model not in self.users, "unloaded while in use"
                assert self.present.pop(job.model.loader.name) is job.model
                self.unloads.append(job)
        self.core.jobs.clear()
        for caller in tuple(self.line):
            model, error = caller.waiter.model, caller.waiter.error
            assert caller.wakings == (model is not None or error is not None)
            if model is not None:
                assert self.present[caller.waiter.loader.name] is model, "granted what is not there"
                self.granted += 1
                self.users.append(model)
            elif isinstance(error, BackendUnavailableError):
                self.failed += 1
            elif error is not None:
                self.refused += 1
            if caller.wakings:
                self.line.remove(caller)

    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        loader = data.draw(st.sampled_from(self.loaders))
        model = self.core.use_nowait(loader)
        self.asked += 1
        if model is not None:
            assert self.is_open
            assert self.present[loader.name] is model
            self.granted += 1
            self.users.append(model)
            return
        caller = Caller(loader)
        if not self.is_open:
            self.refused += 1
            with pytest.raises(ClosedError):
                self.core.wait(caller.waiter, self.now_s)
        elif len(self.line) == self.config.max_waiters:
            self.refused += 1
            with pytest.raises(BackpressureError):
                self.core.wait(caller.waiter, self.now_s)
        else:
            self.line.append(caller)
            self.core.wait(caller.waiter, self.now_s)
        self.settle()

    @precondition(lambda self: self.users)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        model = self.users.pop(data.draw(st.integers(0, len(self.users) - 1)))
        self.core.leave(model, self.now_s)
        self.settle()

    @precondition(lambda self: self.line)
    @rule(data=st.data(), times_out=st.booleans())
    def stop_waiting(self, data: st.DataObject, times_out: bool) -> None:
        caller = self.line[data.draw(st.integers(0, len(self.line) - 1))]
        if times_out:
            self.core.time_out(caller.waiter, self.now_s)
        else:
            self.line.remove(caller)
            self.cancelled += 1
            self.core.withdraw(caller.waiter, self.now_s)
        self.settle()

    @precondition(lambda self: self.load)
    @rule(how=st.sampled_from(["well", "well", "failed", "cancelled"]))
    def load_ends(self, how: str) -> None:
        job, self.load = self.load, None
        assert job is not None
        if how == "well":
            self.loads += 1
            backend = FakeModel(job.loader.name, job.loader.size_bytes)
            self.machine.load(backend)
            self.core.loaded(job, backend, self.now_s)
            if self.is_open:
                self.note_present(job)
            else:
                assert isinstance(self.core.jobs[0], Unload)
                self.present[job.loader.name] = self.core.jobs[0].model
        elif how == "failed":
            self.core.load_failed(job, BackendUnavailableError("no", backend=job.loader.name), self.now_s)
        elif job.unwanted or not self.is_open:
            self.core.load_cancelled(self.now_s)
        else:
            self.load = job  # a load that somebody waits for is cancelled by closing alone
        self.settle()

    def note_present(self, job: Load) -> None:
        """Learn which object the core keeps for the model, from whoever was granted it, or from using it."""
        served = next(
            (
                caller.waiter.model
                for caller in self.line
                if caller.waiter.model is not None and caller.waiter.loader.name == job.loader.name
            ),
            None,
        )
        unloading = next((one.model for one in self.core.jobs if isinstance(one, Unload)), None)
        if served is not None:
            self.present[job.loader.name] = served
        elif unloading is not None and unloading.loader.name == job.loader.name:
            self.present[job.loader.name] = unloading
        else:
            model = self.core.use_nowait(job.loader)
            assert model is not None, "loaded for nobody, and yet not to be had"
            self.asked += 1
            self.granted += 1
            self.users.append(model)
            self.present[job.loader.name] = model

    @precondition(lambda self: self.unloads)
    @rule(good=st.booleans(), frees=st.booleans())
    def unload_ends(self, good: bool, frees: bool) -> None:
        job = self.unloads.pop(0)
        backend = job.model.surrender()
        assert isinstance(backend, FakeModel)
        self.machine.free(backend)
        self.machine.leaked_bytes += 0 if frees else 3
        self.ended_unloads += 1
        self.core.unloaded(job, self.now_s, good=good)
        self.settle()

    @rule(seconds=st.sampled_from([1.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.core.sweep(self.now_s)
        self.settle()

    @rule(leaked_bytes=st.integers(0, 60))
    def others_take_memory(self, leaked_bytes: int) -> None:
        self.machine.leaked_bytes = leaked_bytes

    @rule(chance=st.integers(0, 14))
    def shut(self, chance: int) -> None:
        if chance == 0:
            self.is_open = False
            self.core.shut(self.now_s)
            self.settle()

    @precondition(lambda self: not self.is_open)
    @rule()
    def revoke(self) -> None:
        self.is_revoked = True
        self.core.revoke(self.now_s)
        self.settle()

    @invariant()
    def slots_keep_to_their_bound(self) -> None:
        now = self.core.statistics()

        assert now.loaded + now.loading + now.unloading <= self.config.max_loaded
        assert now.waiting <= self.config.max_waiters

    @invariant()
    def nothing_gets_lost(self) -> None:
        now = self.core.statistics()

        assert now.asked == now.waiting + now.granted + now.refused + now.failed + now.cancelled == self.asked
        assert (now.granted, now.refused, now.failed, now.cancelled) == (
            self.granted,
            self.refused,
            self.failed,
            self.cancelled,
        )
        assert now.begun == now.loading + now.loads + now.failed_loads + now.cancelled_loads
        assert now.loads == now.loaded + now.unloading + now.unloads == self.loads
        assert (now.loaded, now.unloading, now.unloads) == (len(self.present), len(self.unloads), self.ended_unloads)
        assert (now.using, now.waiting) == (len(self.users), len(self.line))
        assert self.core.is_drained == (not self.is_open and not self.users)

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        if not self.line or self.load or self.unloads:
            return
        in_use = {model.loader.name for model in self.users}

        assert len(self.present) == self.config.max_loaded, "someone waits though a slot is free"
        assert set(self.present) == in_use, "someone waits though a model idles"
        assert self.line[0].waiter.loader.name not in self.present, "the first in line waits for what is there"
        assert sum(self.turns_away(model) for model in self.present.values()) == 1, "newcomers go on for ever"

    def turns_away(self, model: LoadedModel) -> bool:
        """Whether a newcomer has to queue for a model that is there; one who need not leaves at once."""
        if self.core.use_nowait(model.loader) is None:
            return True
        self.asked += 1
        self.granted += 1
        self.core.leave(model, self.now_s)
        return False

    def teardown(self) -> None:
        if not hasattr(self, "core"):
            return
        self.is_open = False
        self.core.shut(self.now_s)
        self.settle()
        while self.users:
            self.core.leave(self.users.pop(), self.now_s)
            self.settle()
        if self.load:
            self.load_ends("cancelled")
        while self.unloads:
            self.unload_ends(good=True, frees=True)
        now = self.core.statistics()

        assert (now.loaded, now.loading, now.unloading, now.using, now.waiting) == (0, 0, 0, 0, 0)
        assert now.loads == now.unloads
        assert self.machine.present == []


ModelSlotMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestModelSlots = ModelSlotMachine.TestCase
