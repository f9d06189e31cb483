"""Many users of a few models, over loaders that fail and hang and a machine whose memory others take."""

from __future__ import annotations

import math
import random
from collections import Counter

import anyio
import pytest

from holdfast.domain.host_guard import HostGuard, HostGuardConfig
from holdfast.domain.model_slot import ModelSlotConfig, ModelSlots
from holdfast.ports.errors import BackendUnavailableError, BackpressureError, HostMemoryError
from holdfast.ports.inference import Prompt
from holdfast.testing import VirtualClock
from tests.fakes.model import FakeLoader, Machine

pytestmark = pytest.mark.anyio

USERS = 40
TURNS = 10
PROMPT = Prompt(messages=())


class Unreliable:
    """What goes on in a load or unload; behaves once it is told to."""

    def __init__(self, chance: random.Random, name: str) -> None:
        self._chance = chance
        self._name = name
        self.behaves = False

    async def __call__(self) -> None:
        luck = 1.0 if self.behaves else self._chance.random()
        if luck < 0.05:
            await anyio.sleep(math.inf)
        await anyio.sleep(self._chance.choice([0.0, 0.1, 1.0]))
        if luck < 0.4:
            raise BackendUnavailableError("chaos", backend=self._name)


async def _take_turns(slots: ModelSlots, loaders: list[FakeLoader], chance: random.Random, ended: Counter[str]) -> None:
    for _ in range(TURNS):
        await anyio.sleep(chance.expovariate(1.0))
        with anyio.move_on_after(chance.choice([0.0, 0.1, 5.0, 60.0])):
            try:
                async with slots.use(chance.choice(loaders)) as backend:
                    await backend.complete(PROMPT)
                    await anyio.sleep(chance.choice([0.0, 0.1, 1.0]))
                ended["served"] += 1
            except (BackendUnavailableError, BackpressureError, HostMemoryError) as error:
                ended[type(error).__name__] += 1


async def _take_memory(machine: Machine, chance: random.Random) -> None:
    for _ in range(30):
        await anyio.sleep(chance.expovariate(0.5))
        machine.leaked_bytes = chance.choice([0, 0, 0, 20])


@pytest.mark.parametrize("max_loaded", [1, 2])
@pytest.mark.parametrize("seed", range(4))
async def test_chaos_over_unreliable_loaders_leaves_every_count_back_and_no_model(seed: int, max_loaded: int) -> None:
    print(f"seed={seed}")
    chance = random.Random(seed)
    machine = Machine(total_bytes=100)
    loaders = [FakeLoader(name, size_bytes=size, machine=machine) for name, size in (("a", 30), ("b", 50), ("c", 90))]
    faults = [Unreliable(chance, loader.name) for loader in loaders]
    for loader, fault in zip(loaders, faults, strict=True):
        loader.on_load = loader.on_unload = fault
    config = ModelSlotConfig(
        max_loaded=max_loaded,
        max_waiters=20,
        max_idle_s=3.0,
        wait_timeout_s=8.0,
        load_timeout_s=4.0,
        unload_timeout_s=2.0,
        settle_timeout_s=1.0,
    )
    guard = HostGuard(machine, HostGuardConfig(reserve_bytes=10))
    ended: Counter[str] = Counter()

    async with ModelSlots(config, guard=guard, clock=VirtualClock(), collect=lambda: None) as slots:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_take_memory, machine, chance)
            for _ in range(USERS):
                tasks.start_soon(_take_turns, slots, loaders, random.Random(chance.random()), ended)
        machine.leaked_bytes = 0
        for fault in faults:
            fault.behaves = True
        await anyio.sleep(60.0)
        calm = slots.statistics()
        with anyio.fail_after(60.0):
            for loader in loaders:
                async with slots.use(loader) as backend:
                    assert (await backend.complete(PROMPT)).text == loader.name
    now = slots.statistics()

    assert ended["served"] > 0
    assert len(ended) > 1, "nothing went wrong: this was no chaos"
    assert (calm.using, calm.waiting, calm.loading, calm.unloading, calm.loaded) == (0, 0, 0, 0, 0)
    assert calm.asked == calm.granted + calm.refused + calm.failed + calm.cancelled
    assert calm.begun == calm.loads + calm.failed_loads + calm.cancelled_loads
    assert machine.most_present <= max_loaded
    assert now.loads == now.unloads == sum(loader.loads for loader in loaders)
    assert [loader.overlaps for loader in loaders] == [0, 0, 0]
    assert machine.present == []
