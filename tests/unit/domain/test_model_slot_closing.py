"""Leaving the slots: who is told, what is awaited, and that nothing stays in memory."""

from __future__ import annotations

import math

import anyio
import pytest

from holdfast.domain.host_guard import HostGuard, HostGuardConfig
from holdfast.domain.model_slot import ModelSlotConfig, ModelSlots
from holdfast.ports.errors import ClosedError
from holdfast.testing import VirtualClock
from tests.fakes.model import FakeLoader, Machine

pytestmark = pytest.mark.anyio

USUAL = ModelSlotConfig()


class HaltError(BaseException):
    """Like an interrupt, but not one that asyncio lets out of its loop at once."""


def slots_on(machine: Machine, config: ModelSlotConfig = USUAL) -> ModelSlots:
    guard = HostGuard(machine, HostGuardConfig(reserve_bytes=0))
    return ModelSlots(config, guard=guard, clock=VirtualClock(), collect=lambda: None)


async def hold(slots: ModelSlots, loader: FakeLoader, for_s: float) -> None:
    async with slots.use(loader):
        await anyio.sleep(for_s)


async def expect_closed(slots: ModelSlots, loader: FakeLoader) -> None:
    with pytest.raises(ClosedError):
        await hold(slots, loader, 0.0)


async def test_closing_unloads_every_model_once() -> None:
    machine = Machine()
    loaders = [FakeLoader(name, machine=machine) for name in "abc"]
    async with slots_on(machine, ModelSlotConfig(max_loaded=3)) as slots:
        for loader in loaders:
            await hold(slots, loader, 0.0)

    now = slots.statistics()
    assert machine.present == []
    assert [loader.unloads for loader in loaders] == [1, 1, 1]
    assert (now.loaded, now.unloading, now.loads, now.unloads) == (0, 0, 3, 3)


async def test_closing_waits_for_users() -> None:
    loader = FakeLoader("a")
    async with anyio.create_task_group() as tasks:
        async with slots_on(loader.machine) as slots:
            tasks.start_soon(hold, slots, loader, 4.0)
            await anyio.sleep(1.0)
            began_s = anyio.current_time()

        assert anyio.current_time() - began_s == pytest.approx(3.0, abs=0.1)
    assert (loader.unloads, slots.statistics().using) == (1, 0)


async def test_closing_unloads_under_a_user_who_takes_too_long() -> None:
    loader = FakeLoader("a")
    async with anyio.create_task_group() as tasks:
        async with slots_on(loader.machine, ModelSlotConfig(close_timeout_s=2.0)) as slots:
            tasks.start_soon(hold, slots, loader, 100.0)
            await anyio.sleep(1.0)
            began_s = anyio.current_time()

        assert anyio.current_time() - began_s == pytest.approx(2.0, abs=0.1)
        assert (loader.unloads, slots.statistics().using) == (1, 1)
    assert slots.statistics().using == 0


async def test_closing_in_a_cancelled_scope_leaves_no_time_to_users_and_unloads_all_the_same() -> None:
    loader = FakeLoader("a")
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with slots_on(loader.machine) as slots:
                tasks.start_soon(hold, slots, loader, 100.0)
                await anyio.sleep(1.0)
                began_s = anyio.current_time()
                scope.cancel()
                await anyio.sleep(math.inf)

        assert anyio.current_time() == began_s
        assert loader.machine.present == []
        tasks.cancel_scope.cancel()


async def test_closing_refuses_those_in_line_and_those_who_wait_for_a_load() -> None:
    machine = Machine()
    loading, queued = FakeLoader("a", machine=machine), FakeLoader("b", machine=machine)
    loading.on_load = lambda: anyio.sleep(math.inf)
    async with anyio.create_task_group() as tasks, slots_on(machine) as slots:
        for loader in (loading, queued):
            tasks.start_soon(expect_closed, slots, loader)
            await anyio.sleep(1.0)
    now = slots.statistics()

    assert (now.refused, now.waiting, now.loading, now.cancelled_loads) == (2, 0, 0, 1)


async def test_closing_during_an_unload_lets_it_end_and_does_not_wait_for_its_memory() -> None:
    machine = Machine(total_bytes=100)
    first, second = (FakeLoader(name, size_bytes=60, machine=machine) for name in "ab")
    first.frees = False
    first.on_unload = lambda: anyio.sleep(1.0)
    async with anyio.create_task_group() as tasks:
        async with slots_on(machine, ModelSlotConfig(settle_timeout_s=500.0)) as slots:
            await hold(slots, first, 0.0)
            tasks.start_soon(expect_closed, slots, second)
            await anyio.sleep(0.5)
            began_s = anyio.current_time()

        assert anyio.current_time() - began_s == pytest.approx(0.5, abs=0.1)
    now = slots.statistics()
    assert (first.unloads, now.unloads, now.unloading) == (1, 1, 0)


async def test_load_that_ends_well_while_the_slots_close_is_unloaded() -> None:
    loader = FakeLoader("a")

    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(3.0)

    loader.on_load = stubborn
    async with anyio.create_task_group() as tasks, slots_on(loader.machine) as slots:
        tasks.start_soon(expect_closed, slots, loader)
        await anyio.sleep(1.0)

    assert (loader.loads, loader.unloads, loader.machine.present) == (1, 1, [])


@pytest.mark.parametrize("turn", range(8))  # trio wakes the tasks of one moment in any order
async def test_slots_around_which_everything_is_cancelled_do_not_load_anew(turn: int) -> None:
    loader = FakeLoader("a")
    loader.on_load = lambda: anyio.sleep(math.inf)
    slots = slots_on(loader.machine)

    async def serve() -> None:
        async with slots:
            await anyio.sleep(math.inf)

    async with anyio.create_task_group() as callers, anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        await anyio.sleep(0.1)
        callers.start_soon(expect_closed, slots, loader)
        await anyio.sleep(1.0)
        tasks.cancel_scope.cancel()

    assert (loader.attempts, slots.statistics().cancelled_loads) == (1, 1)


async def test_body_that_raises_closes_the_slots_and_its_error_passes_through_as_it_is() -> None:
    loader = FakeLoader("a")
    error = ValueError("the body's own")

    async def body() -> None:
        async with slots_on(loader.machine) as slots:
            await hold(slots, loader, 0.0)
            raise error

    with pytest.raises(ValueError, match="the body's own") as caught:
        await body()

    assert caught.value is error
    assert loader.unloads == 1


@pytest.mark.parametrize("hook", ["on_load", "on_unload"])
async def test_interrupt_in_a_task_of_the_slots_closes_them_and_comes_out(hook: str) -> None:
    machine = Machine()
    first, second = (FakeLoader(name, machine=machine) for name in "ab")

    async def halt() -> None:
        raise HaltError

    setattr(first, hook, halt)
    slots = slots_on(machine)

    async def body() -> None:
        async with slots, anyio.create_task_group() as tasks:
            tasks.start_soon(hold, slots, first, 0.0)
            await anyio.sleep(0.1)
            await hold(slots, second, 0.0)

    with pytest.raises(BaseExceptionGroup) as caught:
        await body()

    assert caught.group_contains(HaltError)
    now = slots.statistics()
    assert (now.loaded, now.loading, now.unloading, now.waiting, now.using) == (0, 0, 0, 0, 0)
