"""The decisions alone: what is loaded and unloaded for whom, and who waits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.adapters.memory.host_memory import FixedHostMemory
from holdfast.domain.host_guard import HostGuard, HostGuardConfig
from holdfast.domain.model_slot_config import ModelSlotConfig
from holdfast.domain.model_slot_core import ModelSlotCore
from holdfast.domain.model_slot_jobs import Load, LoadedModel, Unload, Waiter
from holdfast.ports.errors import BackendUnavailableError, BackpressureError, ClosedError, HostMemoryError
from holdfast.ports.events import Event, ModelLoaded, ModelRefused, ModelUnloaded
from tests.fakes.model import FakeLoader, FakeModel

USUAL = ModelSlotConfig()


class Bench:
    """A core, with its jobs done by hand."""

    def __init__(self, config: ModelSlotConfig = USUAL, *, free_bytes: int | None = None) -> None:
        self.memory = FixedHostMemory(free_bytes)
        self.events: list[Event] = []
        self.now_s = 1000.0
        self.core = ModelSlotCore(config, HostGuard(self.memory, HostGuardConfig(reserve_bytes=0)), self)
        self.core.open()

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def wait(self, loader: FakeLoader) -> Waiter:
        waiter = Waiter(loader, lambda: None)
        self.core.wait(waiter, self.now_s)
        return waiter

    def job(self) -> Load | Unload:
        assert len(self.core.jobs) == 1
        return self.core.jobs.popleft()

    def finish_load(self, took_s: float = 0.0) -> None:
        job = self.job()
        assert isinstance(job, Load)
        self.now_s += took_s
        self.core.loaded(job, FakeModel(job.loader.name, job.loader.size_bytes), self.now_s)

    def finish_unload(self, *, good: bool = True, took_s: float = 0.0) -> str:
        job = self.job()
        assert isinstance(job, Unload)
        job.model.surrender()
        self.now_s += took_s
        self.core.unloaded(job, self.now_s, good=good)
        return job.model.loader.name

    def use(self, loader: FakeLoader) -> LoadedModel:
        """Have a model used that is loaded now, or into a free slot."""
        model = self.core.use_nowait(loader)
        if model is None:
            waiter = self.wait(loader)
            self.finish_load()
            model = waiter.model
        assert model is not None
        return model

    def end(self, model: LoadedModel) -> None:
        self.core.leave(model, self.now_s)


def loader(name: str, size_bytes: int = 10) -> FakeLoader:
    return FakeLoader(name, size_bytes=size_bytes)


A, B, C, D = (loader(name) for name in "abcd")


def test_first_caller_gets_the_model_when_it_is_loaded() -> None:
    bench = Bench()
    waiter = bench.wait(A)

    assert waiter.model is None
    bench.finish_load()

    assert waiter.model is not None
    assert bench.core.statistics().using == 1


def test_second_caller_joins_the_load_that_is_under_way() -> None:
    bench = Bench()
    waiters = [bench.wait(A), bench.wait(A)]
    bench.finish_load()

    assert [waiter.model is not None for waiter in waiters] == [True, True]
    assert bench.core.statistics().begun == 1


def test_loader_of_the_same_name_uses_the_model_that_is_loaded() -> None:
    bench = Bench()
    model = bench.use(A)

    assert bench.core.use_nowait(loader("a")) is model


def test_full_slots_unload_the_model_used_longest_ago_of_those_that_idle() -> None:
    bench = Bench(ModelSlotConfig(max_loaded=3))
    for each in (bench.use(A), bench.use(B)):
        bench.end(each)
    bench.use(C)
    again = bench.use(A)
    bench.end(again)
    bench.wait(D)

    assert bench.finish_unload() == "b"


def test_idle_model_goes_before_one_that_is_in_use_though_it_was_used_later() -> None:
    bench = Bench(ModelSlotConfig(max_loaded=2))
    bench.use(A)
    bench.end(bench.use(B))
    bench.wait(C)

    assert bench.finish_unload() == "b"


def test_model_in_use_is_not_unloaded_until_its_last_user_is_done() -> None:
    bench = Bench()
    first, second = bench.use(A), bench.use(A)
    bench.wait(B)
    bench.end(first)
    assert not bench.core.jobs

    bench.end(second)

    assert bench.finish_unload() == "a"


def test_newcomer_of_the_model_that_is_awaited_idle_queues_behind() -> None:
    bench = Bench()
    bench.use(A)
    bench.wait(B)

    assert bench.core.use_nowait(A) is None
    assert bench.wait(A).model is None


def test_newcomer_of_another_model_in_use_does_not_queue() -> None:
    bench = Bench(ModelSlotConfig(max_loaded=2))
    bench.use(A)
    bench.use(B)
    bench.wait(C)

    assert bench.core.use_nowait(A) is None
    assert bench.core.use_nowait(B) is not None


def test_newcomers_are_let_in_again_when_the_one_they_queue_behind_is_cancelled() -> None:
    bench = Bench()
    bench.use(A)
    ahead, behind = bench.wait(B), bench.wait(A)
    bench.core.withdraw(ahead, bench.now_s)

    assert behind.model is not None
    assert bench.core.use_nowait(A) is not None


def test_queued_user_of_a_loaded_model_goes_before_a_later_one_who_needs_its_slot() -> None:
    bench = Bench()
    bench.use(A)
    first, second, third = bench.wait(B), bench.wait(A), bench.wait(C)
    bench.core.withdraw(first, bench.now_s)

    assert second.model is not None
    assert third.model is None
    assert bench.core.use_nowait(A) is None


def test_models_in_turn_are_loaded_in_the_order_of_their_first_callers() -> None:
    bench = Bench()
    model = bench.use(A)
    waiters = [bench.wait(B), bench.wait(C), bench.wait(B)]
    bench.end(model)
    bench.finish_unload()
    bench.finish_load()

    assert [waiter.model is not None for waiter in waiters] == [True, False, True]
    for waiter in (waiters[0], waiters[2]):
        assert waiter.model is not None
        bench.end(waiter.model)
    assert bench.finish_unload() == "b"
    bench.finish_load()
    assert waiters[1].model is not None


def test_one_change_goes_on_at_a_time_also_with_free_slots() -> None:
    bench = Bench(ModelSlotConfig(max_loaded=3))
    bench.wait(A)
    bench.wait(B)

    assert len(bench.core.jobs) == 1
    bench.finish_load()
    bench.finish_load()
    assert bench.core.statistics().loaded == 2


def test_load_that_failed_is_told_to_everyone_who_waits_for_it_and_to_nobody_else() -> None:
    bench = Bench()
    waiters = [bench.wait(A), bench.wait(B), bench.wait(A)]
    job = bench.job()
    assert isinstance(job, Load)
    bench.core.load_failed(job, BackendUnavailableError("no such file", backend="a"), bench.now_s)

    errors = [waiter.error for waiter in waiters]
    assert [type(error) for error in errors] == [BackendUnavailableError, type(None), BackendUnavailableError]
    assert errors[0] is not errors[2]
    bench.finish_load()
    assert waiters[1].model is not None
    now = bench.core.statistics()
    assert (now.failed, now.failed_loads, now.loads) == (2, 1, 1)


def test_load_that_nobody_waits_for_is_given_up_and_begun_anew_for_who_came_since() -> None:
    bench = Bench()
    waiter = bench.wait(A)
    job = bench.job()
    assert isinstance(job, Load)
    bench.core.withdraw(waiter, bench.now_s)
    assert job.unwanted
    late = bench.wait(A)
    assert not bench.core.jobs

    bench.core.load_cancelled(bench.now_s)

    bench.finish_load()
    assert late.model is not None
    now = bench.core.statistics()
    assert (now.begun, now.cancelled_loads, now.loads, now.cancelled) == (2, 1, 1, 1)


def test_load_that_ends_well_though_nobody_waits_any_more_leaves_an_idle_model() -> None:
    bench = Bench()
    waiter = bench.wait(A)
    job = bench.job()
    assert isinstance(job, Load)
    bench.core.withdraw(waiter, bench.now_s)
    bench.core.loaded(job, FakeModel("a", 10), bench.now_s)

    assert bench.core.statistics().loaded == 1
    assert bench.core.use_nowait(A) is not None


def test_model_granted_to_a_caller_who_is_cancelled_in_that_moment_was_not_granted() -> None:
    bench = Bench()
    waiter = bench.wait(A)
    bench.finish_load()
    bench.core.withdraw(waiter, bench.now_s)

    now = bench.core.statistics()
    assert (now.asked, now.granted, now.cancelled, now.using) == (1, 0, 1, 0)


def test_refusal_of_a_caller_who_is_cancelled_in_that_moment_stays_counted_once() -> None:
    bench = Bench(free_bytes=5)
    waiter = bench.wait(A)
    bench.core.withdraw(waiter, bench.now_s)

    now = bench.core.statistics()
    assert (now.asked, now.refused, now.cancelled) == (1, 1, 0)


def test_full_line_refuses_the_next_caller_with_the_time_that_the_last_load_took() -> None:
    bench = Bench(ModelSlotConfig(max_waiters=1))
    bench.wait(A)
    bench.finish_load(took_s=7.0)
    bench.wait(B)

    with pytest.raises(BackpressureError) as caught:
        bench.wait(C)

    error = caught.value
    assert (error.depth, error.capacity, error.retry_after_s) == (1, 1, 7.0)
    assert bench.core.statistics().refused == 1


def test_full_line_before_the_first_load_cannot_tell_when_to_come_back() -> None:
    bench = Bench(ModelSlotConfig(max_waiters=1))
    bench.wait(A)

    with pytest.raises(BackpressureError) as caught:
        bench.wait(A)

    assert caught.value.retry_after_s is None


def test_caller_who_waited_for_long_enough_is_refused_and_lets_those_behind_in() -> None:
    bench = Bench(ModelSlotConfig(wait_timeout_s=3.0))
    bench.use(A)
    waiter, behind = bench.wait(B), bench.wait(A)
    bench.core.time_out(waiter, bench.now_s)

    assert isinstance(waiter.error, BackpressureError)
    assert "no slot for model 'b' within 3 s" in str(waiter.error)
    assert behind.model is not None


def test_caller_whose_model_is_on_its_way_is_not_timed_out() -> None:
    bench = Bench()
    waiter = bench.wait(A)
    bench.core.time_out(waiter, bench.now_s)
    bench.finish_load()

    assert waiter.model is not None


def test_caller_whose_load_is_being_given_up_is_timed_out() -> None:
    bench = Bench()
    bench.core.withdraw(bench.wait(A), bench.now_s)
    late = bench.wait(A)
    bench.core.time_out(late, bench.now_s)

    assert isinstance(late.error, BackpressureError)


def test_caller_who_was_served_in_that_moment_is_not_timed_out() -> None:
    bench = Bench()
    waiter = bench.wait(A)
    bench.finish_load()
    bench.core.time_out(waiter, bench.now_s)

    assert (waiter.error, bench.core.statistics().refused) == (None, 0)


def test_model_that_does_not_fit_is_refused_to_each_who_waits_for_it_and_told_once() -> None:
    bench = Bench(free_bytes=100)
    bench.end(bench.use(loader("small", 60)))
    bench.memory.free_bytes = 40
    large = loader("large", 90)
    waiters = [bench.wait(large), bench.wait(large)]
    bench.finish_unload()

    errors = [waiter.error for waiter in waiters]
    assert [(type(error), str(error)) for error in errors] == [
        (HostMemoryError, str(HostMemoryError(model="large", needed_bytes=90, available_bytes=40)))
    ] * 2
    assert errors[0] is not errors[1]
    told = ModelRefused(model="large", needed_bytes=90, available_bytes=40)
    assert [event for event in bench.events if isinstance(event, ModelRefused)] == [told]


def test_model_larger_than_the_machine_is_refused_at_once_and_what_is_loaded_stays() -> None:
    bench = Bench(free_bytes=100)
    bench.end(bench.use(loader("small", 60)))
    bench.memory.free_bytes = 40

    waiter = bench.wait(loader("large", 101))

    assert isinstance(waiter.error, HostMemoryError)
    assert (waiter.error.needed_bytes, waiter.error.available_bytes) == (101, 40)
    assert not bench.core.jobs
    assert bench.core.statistics().loaded == 1
    assert bench.events[-1] == ModelRefused(model="large", needed_bytes=101, available_bytes=40)


def test_model_larger_than_the_machine_does_not_make_a_model_in_use_wait() -> None:
    bench = Bench(free_bytes=100)
    small = loader("small", 60)
    bench.use(small)
    bench.memory.free_bytes = 40

    assert isinstance(bench.wait(loader("large", 101)).error, HostMemoryError)
    assert bench.core.use_nowait(small) is not None


def test_model_that_fits_once_the_one_in_use_is_gone_waits_for_it() -> None:
    bench = Bench(free_bytes=100)
    model = bench.use(loader("small", 60))
    bench.memory.free_bytes = 40
    waiter = bench.wait(loader("large", 100))
    assert waiter.error is None

    bench.end(model)
    bench.memory.free_bytes = 100
    bench.finish_unload()
    bench.finish_load()

    assert waiter.model is not None


def test_free_slot_without_memory_is_filled_after_as_many_idle_models_went_as_it_takes() -> None:
    bench = Bench(ModelSlotConfig(max_loaded=4), free_bytes=100)
    for name in ("a", "b", "c"):
        bench.end(bench.use(loader(name, 30)))
        assert bench.memory.free_bytes is not None
        bench.memory.free_bytes -= 30
    waiter = bench.wait(loader("large", 70))

    bench.memory.free_bytes = 40
    assert bench.finish_unload() == "a"
    bench.memory.free_bytes = 70
    assert bench.finish_unload() == "b"
    bench.finish_load()

    assert waiter.model is not None
    assert bench.core.statistics().loaded == 2


def test_free_slot_without_memory_while_all_are_in_use_refuses_at_once() -> None:
    bench = Bench(ModelSlotConfig(max_loaded=2), free_bytes=100)
    bench.use(loader("small", 60))
    bench.memory.free_bytes = 40

    assert isinstance(bench.wait(loader("large", 70)).error, HostMemoryError)


def test_memory_that_did_not_come_back_refuses_the_one_it_was_to_be_for_and_serves_the_next() -> None:
    bench = Bench(free_bytes=100)
    bench.end(bench.use(loader("small", 60)))
    bench.memory.free_bytes = 40
    large, tiny = bench.wait(loader("large", 90)), bench.wait(loader("tiny", 5))
    bench.finish_unload()

    assert isinstance(large.error, HostMemoryError)
    bench.finish_load()
    assert tiny.model is not None


def test_unload_is_settled_when_the_memory_is_back() -> None:
    bench = Bench(free_bytes=50)

    assert not bench.core.is_settled(51)
    assert bench.core.is_settled(50)


def test_unload_is_settled_when_nobody_can_tell() -> None:
    assert Bench(free_bytes=None).core.is_settled(2**60)


def test_unload_is_settled_when_the_next_in_line_fits_already() -> None:
    bench = Bench(free_bytes=50)
    bench.end(bench.use(loader("a", 40)))
    bench.memory.free_bytes = 10
    bench.wait(loader("b", 40))

    assert not bench.core.is_settled(50)
    bench.memory.free_bytes = 40
    assert bench.core.is_settled(50)


def test_sweep_unloads_what_idled_for_too_long_and_nothing_else() -> None:
    bench = Bench(ModelSlotConfig(max_loaded=3, max_idle_s=60.0))
    bench.end(bench.use(A))
    bench.now_s += 30.0
    bench.end(bench.use(B))
    bench.use(C)
    bench.now_s += 30.0
    bench.core.sweep(bench.now_s)

    assert bench.finish_unload() == "a"
    bench.core.sweep(bench.now_s)
    assert not bench.core.jobs


def test_sweep_during_a_change_begins_no_other() -> None:
    bench = Bench(ModelSlotConfig(max_loaded=3, max_idle_s=60.0))
    bench.end(bench.use(A))
    bench.now_s += 60.0
    bench.wait(B)
    bench.core.sweep(bench.now_s)

    assert isinstance(bench.job(), Load)


def test_sweep_without_a_bound_on_idleness_unloads_nothing() -> None:
    bench = Bench()
    bench.end(bench.use(A))
    bench.core.sweep(bench.now_s + 1e9)

    assert not bench.core.jobs


def test_clock_that_steps_back_by_an_hour_unloads_nothing_early_and_tells_no_negative_time() -> None:
    bench = Bench(ModelSlotConfig(max_idle_s=60.0))
    waiter = bench.wait(A)
    bench.finish_load(took_s=-3600.0)
    assert waiter.model is not None
    bench.end(waiter.model)
    bench.now_s -= 3600.0
    bench.core.sweep(bench.now_s)
    assert not bench.core.jobs
    bench.wait(B)
    bench.finish_unload(took_s=-3600.0)

    durations_s = [event.duration_s for event in bench.events if isinstance(event, ModelLoaded | ModelUnloaded)]
    assert durations_s == [0.0, 0.0]


def test_events_tell_of_loads_and_unloads_with_their_durations() -> None:
    bench = Bench()
    bench.wait(A)
    bench.finish_load(took_s=4.0)
    model = bench.core.use_nowait(A)
    assert model is not None
    bench.end(model)
    bench.end(model)
    bench.wait(B)
    bench.finish_unload(took_s=2.0)

    assert bench.events == [
        ModelLoaded(model="a", size_bytes=10, duration_s=4.0),
        ModelUnloaded(model="a", duration_s=2.0),
    ]


def test_unload_that_failed_frees_the_slot_all_the_same_and_is_counted() -> None:
    bench = Bench()
    bench.end(bench.use(A))
    waiter = bench.wait(B)
    bench.finish_unload(good=False)
    bench.finish_load()

    assert waiter.model is not None
    now = bench.core.statistics()
    assert (now.unloads, now.failed_unloads) == (1, 1)


def test_shut_refuses_the_line_unloads_what_idles_and_lets_users_finish() -> None:
    bench = Bench(ModelSlotConfig(max_loaded=2))
    model = bench.use(A)
    bench.end(bench.use(B))
    bench.wait(C)
    bench.job()  # the unload of b, which is never finished here
    late = bench.wait(C)
    bench.core.shut(bench.now_s)

    assert isinstance(late.error, ClosedError)
    assert not bench.core.is_drained
    assert bench.core.use_nowait(A) is None
    bench.end(model)
    assert bench.core.is_drained
    assert isinstance(bench.job(), Unload)


def test_shut_gives_up_the_load_that_is_under_way_and_unloads_what_it_brings_all_the_same() -> None:
    bench = Bench()
    bench.wait(A)
    job = bench.job()
    assert isinstance(job, Load)
    bench.core.shut(bench.now_s)
    assert job.unwanted

    bench.core.loaded(job, FakeModel("a", 10), bench.now_s)

    assert bench.finish_unload() == "a"


def test_revoke_unloads_models_under_their_users_who_may_still_leave() -> None:
    bench = Bench()
    model = bench.use(A)
    bench.core.shut(bench.now_s)
    bench.core.revoke(bench.now_s)

    assert bench.finish_unload() == "a"
    bench.end(model)
    now = bench.core.statistics()
    assert (now.using, now.loaded, now.unloads) == (0, 0, 1)


@pytest.mark.parametrize("close", [lambda core, now_s: None, ModelSlotCore.shut], ids=["never opened", "shut"])
def test_wait_while_not_open_is_refused(close: Callable[[ModelSlotCore, float], None]) -> None:
    core = ModelSlotCore(ModelSlotConfig(), HostGuard(FixedHostMemory(None)))
    close(core, 0.0)

    with pytest.raises(ClosedError):
        core.wait(Waiter(A, lambda: None), 0.0)

    assert core.statistics().refused == 1
