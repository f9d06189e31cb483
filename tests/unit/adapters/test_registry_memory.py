from __future__ import annotations

import anyio
import pytest

from holdfast.adapters.memory import MemoryRegistry
from holdfast.testing import VirtualClock
from tests.fakes.registry import instance

pytestmark = pytest.mark.anyio


async def test_who_waits_wakes_in_the_moment_in_which_an_instance_dies() -> None:
    registry = MemoryRegistry(clock=VirtualClock())
    await registry.register(instance(1), ttl_s=7.0, forget_after_s=60.0)
    index, _ = await registry.instances("asks", index=0, wait_s=0.0)
    began_s = anyio.current_time()

    _, listed = await registry.instances("asks", index=index or 0, wait_s=60.0)

    assert listed == ()
    assert anyio.current_time() - began_s == pytest.approx(7.0)


async def test_instance_that_was_dead_for_long_is_forgotten() -> None:
    registry = MemoryRegistry(clock=VirtualClock())
    await registry.register(instance(1), ttl_s=7.0, forget_after_s=10.0)
    await anyio.sleep(16.9)
    dead = await registry.heartbeat(instance(1))
    await anyio.sleep(17.1)

    assert dead
    assert not await registry.heartbeat(instance(1))


async def test_clear_forgets_everything_and_wakes_who_waits() -> None:
    registry = MemoryRegistry(clock=VirtualClock())
    await registry.register(instance(1), ttl_s=100.0, forget_after_s=100.0)
    before, _ = await registry.instances("asks", index=0, wait_s=0.0)
    seen: list[object] = []

    async def wait() -> None:
        seen.append(await registry.instances("asks", index=before or 0, wait_s=60.0))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(1.0)
        registry.clear()

    assert seen == [((before or 0) + 1, ())]
    assert not await registry.heartbeat(instance(1))
