from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import TaskStatus

from holdfast.domain.host_guard import HostGuard, HostGuardConfig
from holdfast.domain.model_slot import ModelSlotConfig, ModelSlots
from holdfast.ports.errors import BackendUnavailableError, BackpressureError, ClosedError, HostMemoryError
from holdfast.ports.events import Event, ModelLoaded, ModelUnloaded
from holdfast.ports.inference import Prompt
from holdfast.testing import VirtualClock
from tests.fakes.model import FakeLoader, FakeModel, Machine

pytestmark = pytest.mark.anyio

USUAL = ModelSlotConfig()
PROMPT = Prompt(messages=())
WITHOUT_RESERVE = HostGuardConfig(reserve_bytes=0)


class Sink:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


def slots_on(machine: Machine, config: ModelSlotConfig = USUAL, *, events: Sink | None = None) -> ModelSlots:
    return ModelSlots(
        config,
        guard=HostGuard(machine, WITHOUT_RESERVE),
        clock=VirtualClock(),
        events=events,
        collect=lambda: None,  # a real collection takes longer than all the rest of a test
    )


def slowly(delay_s: float) -> Callable[[], Awaitable[None]]:
    return lambda: anyio.sleep(delay_s)


def raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        raise error

    return work


async def use(slots: ModelSlots, loader: FakeLoader, for_s: float = 0.0) -> float:
    """Use the model for a while; return when it was there."""
    async with slots.use(loader) as backend:
        got_s = anyio.current_time()
        assert (await backend.complete(PROMPT)).text == loader.name
        await anyio.sleep(for_s)
    return got_s


@asynccontextmanager
async def in_use(slots: ModelSlots, loader: FakeLoader) -> AsyncGenerator[anyio.Event]:
    """Have a task of its own use the model until the event is set or the block ends."""
    done = anyio.Event()

    async def hold(*, task_status: TaskStatus[None]) -> None:
        async with slots.use(loader):
            task_status.started()
            await done.wait()

    async with anyio.create_task_group() as tasks:
        await tasks.start(hold)
        yield done
        done.set()


async def settle() -> None:
    await anyio.sleep(0.001)


async def test_use_of_a_model_loads_it_and_keeps_it_for_the_next_user() -> None:
    loader = FakeLoader("a")
    async with slots_on(loader.machine) as slots:
        await use(slots, loader)
        await use(slots, loader)
        now = slots.statistics()

    assert loader.loads == 1
    assert (now.asked, now.granted, now.using, now.loaded) == (2, 2, 0, 1)


async def test_use_of_a_model_that_is_loaded_does_not_yield() -> None:
    loader = FakeLoader("a")
    ran: list[str] = []

    async def other() -> None:
        ran.append("other")

    async with slots_on(loader.machine) as slots:
        await use(slots, loader)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            async with slots.use(loader):
                assert ran == []


async def test_users_of_one_model_are_served_at_once_by_one_load() -> None:
    loader = FakeLoader("a")
    loader.on_load = slowly(5.0)
    async with slots_on(loader.machine) as slots:
        async with anyio.create_task_group() as tasks:
            began_s = anyio.current_time()
            for _ in range(20):
                tasks.start_soon(use, slots, loader, 10.0)
        ended_s = anyio.current_time()

    assert loader.attempts == 1
    assert ended_s - began_s == pytest.approx(15.0)


async def test_second_model_is_loaded_after_the_first_one_was_unloaded() -> None:
    machine = Machine()
    first, second = FakeLoader("a", machine=machine), FakeLoader("b", machine=machine)
    sink = Sink()
    async with slots_on(machine, events=sink) as slots:
        await use(slots, first)
        await use(slots, second)

    assert machine.most_present == 1
    assert [(type(event), getattr(event, "model", None)) for event in sink.events] == [
        (ModelLoaded, "a"),
        (ModelUnloaded, "a"),
        (ModelLoaded, "b"),
        (ModelUnloaded, "b"),
    ]


async def test_second_model_waits_until_the_first_one_is_no_longer_in_use() -> None:
    machine = Machine()
    first, second = FakeLoader("a", machine=machine), FakeLoader("b", machine=machine)
    async with slots_on(machine) as slots, anyio.create_task_group() as tasks:
        began_s = anyio.current_time()
        tasks.start_soon(use, slots, first, 4.0)
        await settle()
        assert await use(slots, second) - began_s == pytest.approx(4.0, abs=0.1)

    assert machine.most_present == 1


async def test_steady_traffic_of_one_model_does_not_starve_another() -> None:
    machine = Machine()
    busy, other = FakeLoader("busy", machine=machine), FakeLoader("other", machine=machine)
    busy.on_load = other.on_load = slowly(1.0)
    served: list[str] = []

    async def keep_busy(slots: ModelSlots) -> None:
        while True:
            await use(slots, busy, 1.0)
            served.append("busy")

    async with slots_on(machine) as slots, anyio.create_task_group() as tasks:
        for offset_s in (0.0, 0.3, 0.6):
            tasks.start_soon(keep_busy, slots)
            await anyio.sleep(offset_s)
        await anyio.sleep(3.0)
        asked_s = anyio.current_time()
        assert await use(slots, other) - asked_s <= 3.0
        served.clear()
        await anyio.sleep(5.0)
        assert served.count("busy") > 3
        tasks.cancel_scope.cancel()

    assert machine.most_present == 1


async def test_two_models_with_steady_traffic_are_both_served_in_turns() -> None:
    machine = Machine()
    served = {"a": 0, "b": 0}

    async def keep_busy(slots: ModelSlots, loader: FakeLoader) -> None:
        while True:
            await use(slots, loader, 0.5)
            served[loader.name] += 1

    async with slots_on(machine) as slots, anyio.create_task_group() as tasks:
        for name in served:
            loader = FakeLoader(name, machine=machine)
            loader.on_load = slowly(1.0)
            for _ in range(3):
                tasks.start_soon(keep_busy, slots, loader)
        await anyio.sleep(60.0)
        tasks.cancel_scope.cancel()

    assert min(served.values()) > 30
    assert machine.most_present == 1


async def test_several_slots_hold_several_models() -> None:
    machine = Machine()
    loaders = [FakeLoader(name, machine=machine) for name in "abc"]
    async with slots_on(machine, ModelSlotConfig(max_loaded=3)) as slots:
        for loader in loaders * 2:
            await use(slots, loader)

    assert [loader.loads for loader in loaders] == [1, 1, 1]


async def test_load_that_fails_is_told_to_each_as_a_copy_and_tried_anew_for_the_next() -> None:
    loader = FakeLoader("a")
    failure = BackendUnavailableError("no such file", backend="a")
    loader.on_load = raising(failure)
    caught: list[BackendUnavailableError] = []

    async def fail(slots: ModelSlots) -> None:
        with pytest.raises(BackendUnavailableError, match="no such file") as info:
            await use(slots, loader)
        caught.append(info.value)

    async with slots_on(loader.machine) as slots:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(fail, slots)
        loader.on_load = slowly(0.0)
        await use(slots, loader)
        now = slots.statistics()

    assert loader.attempts == 2
    assert len({id(error) for error in caught}) == 3
    assert all(error.__cause__ is failure for error in caught)
    assert (now.failed, now.failed_loads, now.granted) == (3, 1, 1)


async def test_load_that_takes_too_long_is_ended_as_unavailable() -> None:
    loader = FakeLoader("a")
    loader.on_load = slowly(math.inf)
    async with slots_on(loader.machine, ModelSlotConfig(load_timeout_s=7.0)) as slots:
        began_s = anyio.current_time()
        with pytest.raises(BackendUnavailableError, match=r"within 7 s; raise models\.load_timeout_s"):
            await use(slots, loader)

        assert anyio.current_time() - began_s == pytest.approx(7.0)


async def test_caller_without_a_slot_in_time_is_refused() -> None:
    machine = Machine()
    async with (
        slots_on(machine, ModelSlotConfig(wait_timeout_s=3.0)) as slots,
        in_use(slots, FakeLoader("a", machine=machine)),
    ):
        began_s = anyio.current_time()
        with pytest.raises(BackpressureError, match="no slot for model 'b' within 3 s"):
            await use(slots, FakeLoader("b", machine=machine))

        assert anyio.current_time() - began_s == pytest.approx(3.0)
        assert slots.statistics().waiting == 0


async def test_caller_whose_load_began_in_time_may_wait_longer_for_it() -> None:
    loader = FakeLoader("a")
    loader.on_load = slowly(8.0)
    async with slots_on(loader.machine, ModelSlotConfig(wait_timeout_s=3.0)) as slots:
        await use(slots, loader)

    assert loader.loads == 1


async def test_model_that_does_not_fit_is_refused_before_it_is_loaded() -> None:
    machine = Machine(total_bytes=100)
    loader = FakeLoader("large", size_bytes=101, machine=machine)
    async with slots_on(machine) as slots:
        with pytest.raises(HostMemoryError, match="'large' needs 101 bytes and 100 are free"):
            await use(slots, loader)

    assert loader.attempts == 0


async def test_models_that_fit_one_at_a_time_are_never_loaded_together() -> None:
    machine = Machine(total_bytes=100)
    loaders = [FakeLoader(name, size_bytes=60, machine=machine) for name in "ab"]
    for loader in loaders:
        loader.on_load = slowly(1.0)
    refused: list[str] = []

    async def ask(slots: ModelSlots, loader: FakeLoader) -> None:
        try:
            await use(slots, loader, 1.0)
        except HostMemoryError as error:
            refused.append(error.model)

    async with slots_on(machine, ModelSlotConfig(max_loaded=2)) as slots:
        async with anyio.create_task_group() as tasks:
            for loader in loaders:
                tasks.start_soon(ask, slots, loader)
        assert (await use(slots, loaders[1])) > 0  # once the first one idles, it makes room

    assert len(refused) == 1
    assert machine.most_present == 1


async def test_next_model_is_loaded_when_the_memory_is_back() -> None:
    machine = Machine(total_bytes=100)
    first, second = (FakeLoader(name, size_bytes=60, machine=machine) for name in "ab")
    first.frees = False
    async with slots_on(machine) as slots, anyio.create_task_group() as tasks:
        async with slots.use(first) as backend:
            assert isinstance(backend, FakeModel)
            model = backend
        began_s = anyio.current_time()

        async def free_later() -> None:
            await anyio.sleep(2.0)
            machine.free(model)

        tasks.start_soon(free_later)

        assert await use(slots, second) - began_s == pytest.approx(2.0, abs=0.1)


async def test_memory_that_does_not_come_back_is_awaited_for_the_settle_timeout_then_refused() -> None:
    machine = Machine(total_bytes=100)
    first, second = (FakeLoader(name, size_bytes=60, machine=machine) for name in "ab")
    first.frees = False
    async with slots_on(machine, ModelSlotConfig(settle_timeout_s=4.0)) as slots:
        await use(slots, first)
        began_s = anyio.current_time()
        with pytest.raises(HostMemoryError, match="'b' needs 60 bytes and 40 are free"):
            await use(slots, second)

        assert anyio.current_time() - began_s == pytest.approx(4.0, abs=0.1)
        assert slots.statistics().loaded == 0


async def test_unload_of_memory_that_is_slow_to_come_back_does_not_hold_up_what_fits_anyway() -> None:
    machine = Machine(total_bytes=100)
    first, small = FakeLoader("a", size_bytes=60, machine=machine), FakeLoader("b", size_bytes=40, machine=machine)
    first.frees = False
    async with slots_on(machine) as slots:
        await use(slots, first)
        began_s = anyio.current_time()

        assert await use(slots, small) - began_s == pytest.approx(0.0, abs=0.1)


async def test_references_are_dropped_and_collected_before_the_memory_is_awaited() -> None:
    order: list[str] = []
    machine = Machine(total_bytes=100)
    first, second = (FakeLoader(name, size_bytes=60, machine=machine) for name in "ab")

    async def note_unload() -> None:
        order.append("unload")

    async def note_load() -> None:
        order.append("load")

    first.on_unload, second.on_load = note_unload, note_load
    async with ModelSlots(
        guard=HostGuard(machine, WITHOUT_RESERVE), clock=VirtualClock(), collect=lambda: order.append("collect")
    ) as slots:
        await use(slots, first)
        await use(slots, second)

        assert order == ["unload", "collect", "load"]


@pytest.mark.parametrize(
    "on_unload", [raising(BackendUnavailableError("stuck", backend="a")), slowly(math.inf)], ids=["raises", "hangs"]
)
async def test_unload_that_fails_is_counted_and_the_next_model_loaded(on_unload: Callable[[], Awaitable[None]]) -> None:
    machine = Machine()
    first, second = (FakeLoader(name, machine=machine) for name in "ab")
    first.on_unload = on_unload
    async with slots_on(machine, ModelSlotConfig(unload_timeout_s=2.0)) as slots:
        await use(slots, first)
        await use(slots, second)
        now = slots.statistics()

    assert (now.unloads, now.failed_unloads, now.loaded) == (1, 1, 1)


async def test_model_that_idles_for_too_long_is_unloaded_within_five_seconds() -> None:
    loader = FakeLoader("a")
    async with slots_on(loader.machine, ModelSlotConfig(max_idle_s=60.5)) as slots:
        await use(slots, loader)
        await anyio.sleep(60.0)
        assert slots.statistics().loaded == 1
        await anyio.sleep(5.5)
        now = slots.statistics()

    assert (now.loaded, now.unloads, loader.unloads) == (0, 1, 1)


async def test_load_goes_on_for_those_who_remain_when_the_first_caller_is_cancelled() -> None:
    loader = FakeLoader("a")
    loader.on_load = slowly(5.0)
    async with slots_on(loader.machine) as slots, anyio.create_task_group() as tasks:
        tasks.start_soon(use, slots, loader)
        with anyio.move_on_after(1.0):
            await use(slots, loader)
        tasks.start_soon(use, slots, loader)

    assert (loader.attempts, loader.loads) == (1, 1)


async def test_load_is_cancelled_when_nobody_waits_for_it_any_more() -> None:
    loader = FakeLoader("a")
    loader.on_load = slowly(5.0)
    async with slots_on(loader.machine) as slots:
        with anyio.move_on_after(1.0):
            await use(slots, loader)
        await settle()
        now = slots.statistics()

        assert (now.loading, now.cancelled_loads, now.cancelled) == (0, 1, 1)
        await use(slots, loader)

    assert (loader.attempts, loader.loads) == (2, 1)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio has no such cancellation
async def test_load_that_lets_a_cancellation_of_its_own_out_is_a_failure_and_closes_nothing() -> None:
    loader = FakeLoader("a")
    loader.on_load = raising(anyio.get_cancelled_exc_class()())
    async with slots_on(loader.machine) as slots:
        with pytest.raises(BackendUnavailableError, match="cancelled from within"):
            await use(slots, loader)
        loader.on_load = slowly(0.0)
        await use(slots, loader)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_unload_that_lets_a_cancellation_of_its_own_out_is_a_failure_and_closes_nothing() -> None:
    machine = Machine()
    first, second = (FakeLoader(name, machine=machine) for name in "ab")
    first.on_unload = raising(anyio.get_cancelled_exc_class()())
    async with slots_on(machine) as slots:
        await use(slots, first)
        await use(slots, second)

        assert slots.statistics().failed_unloads == 1


async def test_body_that_raises_ends_the_use_and_its_error_passes_through() -> None:
    loader = FakeLoader("a")
    error = ValueError("the user's own")
    async with slots_on(loader.machine) as slots:
        with pytest.raises(ValueError, match="the user's own") as caught:
            async with slots.use(loader):
                raise error

        assert caught.value is error
        assert slots.statistics().using == 0


async def test_use_of_slots_that_are_not_open_is_refused() -> None:
    loader = FakeLoader("a")
    slots = slots_on(loader.machine)

    with pytest.raises(ClosedError):
        await use(slots, loader)


async def test_slots_cannot_be_opened_twice() -> None:
    slots = slots_on(Machine())
    async with slots:
        pass

    with pytest.raises(ClosedError):
        async with slots:
            pass
