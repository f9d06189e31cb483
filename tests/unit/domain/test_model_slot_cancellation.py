"""A cancel at every checkpoint of everything that waits in the slots."""

from __future__ import annotations

import anyio
import pytest

from holdfast.domain.host_guard import HostGuard, HostGuardConfig
from holdfast.domain.model_slot import ModelSlotConfig, ModelSlots
from holdfast.ports.inference import Prompt
from holdfast.ports.statistics import ModelSlotStatistics
from holdfast.testing import VirtualClock, sweep_cancellation
from tests.fakes.model import FakeLoader, Machine

pytestmark = pytest.mark.anyio

USUAL = ModelSlotConfig()
PROMPT = Prompt(messages=())


async def checkpoints() -> None:
    for _ in range(3):
        await anyio.lowlevel.checkpoint()


def loaders_on(machine: Machine, names: str = "ab") -> list[FakeLoader]:
    loaders = [FakeLoader(name, size_bytes=60, machine=machine) for name in names]
    for loader in loaders:
        loader.on_load = loader.on_unload = checkpoints
    return loaders


def slots_on(machine: Machine, config: ModelSlotConfig = USUAL) -> ModelSlots:
    guard = HostGuard(machine, HostGuardConfig(reserve_bytes=0))
    return ModelSlots(config, guard=guard, clock=VirtualClock(), collect=lambda: None)


async def use(slots: ModelSlots, loader: FakeLoader) -> None:
    async with slots.use(loader) as backend:
        await backend.complete(PROMPT)


def assert_adds_up(now: ModelSlotStatistics) -> None:
    assert now.asked == now.waiting + now.granted + now.refused + now.failed + now.cancelled
    assert now.begun == now.loading + now.loads + now.failed_loads + now.cancelled_loads
    assert now.loads == now.loaded + now.unloading + now.unloads


def assert_nothing_is_held(now: ModelSlotStatistics, loaders: list[FakeLoader]) -> None:
    assert (now.using, now.waiting, now.loading, now.unloading) == (0, 0, 0, 0)
    assert (now.refused, now.failed, now.failed_loads, now.failed_unloads) == (0, 0, 0, 0)
    assert_adds_up(now)
    assert [loader.overlaps for loader in loaders] == [0] * len(loaders)


async def test_user_cancelled_at_every_checkpoint_of_a_first_load_leaves_nothing_behind() -> None:
    machine = Machine(total_bytes=100)
    (loader,) = loaders_on(machine, "a")
    opened: list[ModelSlots] = []

    async def scenario() -> None:
        opened.append(slots_on(machine))
        async with opened[-1] as slots:
            await use(slots, loader)

    async def check() -> None:
        now = opened[-1].statistics()
        assert (now.loaded, now.loading, now.unloading, now.using, now.waiting) == (0, 0, 0, 0, 0)
        assert_adds_up(now)
        assert machine.present == []

    assert await sweep_cancellation(scenario, check) >= 3


async def test_user_cancelled_at_every_checkpoint_of_a_change_of_models_leaves_nothing_behind() -> None:
    machine = Machine(total_bytes=100)
    first, second = loaders = loaders_on(machine)
    async with slots_on(machine) as slots:

        async def check() -> None:
            await anyio.sleep(0.1)
            assert_nothing_is_held(slots.statistics(), loaders)
            with anyio.fail_after(1.0):
                await use(slots, first)
            assert [model.name for model in machine.present] == ["a"]

        await use(slots, first)
        assert await sweep_cancellation(lambda: use(slots, second), check) >= 2

    assert machine.most_present == 1
    assert machine.present == []


async def test_user_cancelled_at_every_checkpoint_while_another_waits_leaves_the_load_to_that_one() -> None:
    machine = Machine(total_bytes=100)
    first, second = loaders = loaders_on(machine)
    async with slots_on(machine) as slots, anyio.create_task_group() as tasks:

        async def scenario() -> None:
            tasks.start_soon(use, slots, second)
            await anyio.sleep(0.001)
            await use(slots, second)

        second.on_load = lambda: anyio.sleep(0.01)

        async def check() -> None:
            await anyio.sleep(0.1)
            now = slots.statistics()
            assert_nothing_is_held(now, loaders)
            assert now.cancelled_loads == 0
            with anyio.fail_after(1.0):
                await use(slots, first)

        assert await sweep_cancellation(scenario, check) >= 2


async def test_waiter_cancelled_at_every_checkpoint_lets_those_behind_in() -> None:
    machine = Machine(total_bytes=100)
    first, second = loaders = loaders_on(machine)
    async with slots_on(machine) as slots, anyio.create_task_group() as tasks:

        async def hold() -> None:
            async with slots.use(first):
                await anyio.sleep(0.5)

        async def scenario() -> None:
            tasks.start_soon(hold)
            await anyio.sleep(0.1)
            await use(slots, second)

        async def check() -> None:
            with anyio.fail_after(2.0):
                await use(slots, first)
            await anyio.sleep(1.0)
            assert_nothing_is_held(slots.statistics(), loaders)

        assert await sweep_cancellation(scenario, check) >= 2


async def test_waiter_cancelled_at_every_checkpoint_of_its_timeout_leaves_nothing_behind() -> None:
    machine = Machine(total_bytes=100)
    (loader,) = loaders = loaders_on(machine, "a")
    loader.on_load = lambda: anyio.sleep(3.0)
    async with slots_on(machine, ModelSlotConfig(wait_timeout_s=1.0, max_idle_s=0.1)) as slots:

        async def check() -> None:
            await anyio.sleep(20.0)
            now = slots.statistics()
            assert_nothing_is_held(now, loaders)
            assert now.loaded == 0

        assert await sweep_cancellation(lambda: use(slots, loader), check) >= 2


async def test_slots_cancelled_at_every_checkpoint_of_their_life_leave_no_model_behind() -> None:
    machine = Machine(total_bytes=100)
    first, second = loaders = loaders_on(machine)
    opened: list[ModelSlots] = []

    async def scenario() -> None:
        opened.append(slots_on(machine))
        async with opened[-1] as slots, anyio.create_task_group() as tasks:
            tasks.start_soon(use, slots, first)
            tasks.start_soon(use, slots, second)
            tasks.start_soon(use, slots, first)

    async def check() -> None:
        now = opened[-1].statistics()
        assert (now.loaded, now.loading, now.unloading, now.using, now.waiting) == (0, 0, 0, 0, 0)
        assert_adds_up(now)
        assert machine.present == []
        assert [loader.loads == loader.unloads for loader in loaders] == [True, True]

    assert await sweep_cancellation(scenario, check) >= 3
    assert machine.most_present == 1


async def test_caller_cancelled_in_the_moment_of_its_grant_hands_the_slot_on() -> None:
    machine = Machine(total_bytes=100)
    first, second = loaders = loaders_on(machine)
    scope = anyio.CancelScope()

    async def cancel() -> None:
        await anyio.sleep(0.1)
        scope.cancel()

    first.on_load = cancel
    async with slots_on(machine) as slots, anyio.create_task_group() as tasks:

        async def use_first() -> None:
            with scope:
                await use(slots, first)

        tasks.start_soon(use_first)
        await anyio.sleep(0.01)
        with anyio.fail_after(1.0):
            await use(slots, second)
        now = slots.statistics()

    assert (now.granted, now.cancelled, now.loads) == (1, 1, 2)
    assert_nothing_is_held(now, loaders)
