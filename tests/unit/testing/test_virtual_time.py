from __future__ import annotations

import anyio
import pytest

from holdfast.testing import VirtualClock, sweep_cancellation

pytestmark = pytest.mark.anyio


async def test_sleep_in_virtual_time_jumps_to_each_timer_in_order() -> None:
    clock = VirtualClock()
    start_s = clock.monotonic_s()
    woken: list[float] = []

    async def sleeper(delay_s: float) -> None:
        await clock.sleep(delay_s)
        woken.append(clock.monotonic_s() - start_s)

    async with anyio.create_task_group() as tasks:
        for delay_s in (3600.0, 1.0, 60.0):
            tasks.start_soon(sleeper, delay_s)

    assert woken == pytest.approx([1.0, 60.0, 3600.0])


async def test_sweep_scenario_with_three_checkpoints_is_cancelled_at_each() -> None:
    reached: list[int] = []
    runs: list[list[int]] = []

    async def scenario() -> None:
        reached.clear()
        for step in range(3):
            await anyio.lowlevel.checkpoint()
            reached.append(step)

    async def check() -> None:
        runs.append(list(reached))

    checkpoints = await sweep_cancellation(scenario, check)

    assert checkpoints >= 3
    assert runs[0] == []
    assert runs[-1] == [0, 1, 2]


async def test_sweep_cancellation_at_a_park_is_delivered_there() -> None:
    freed: list[str] = []

    async def scenario() -> None:
        event = anyio.Event()
        try:
            with anyio.move_on_after(5):
                await event.wait()
        finally:
            freed.append("freed")

    async def check() -> None:
        assert freed.pop() == "freed"

    assert await sweep_cancellation(scenario, check) >= 1
