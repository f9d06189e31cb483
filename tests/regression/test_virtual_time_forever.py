"""Waiting forever beside a thread moved the virtual clock on by days until no timer fired any more."""

from __future__ import annotations

import time

import anyio
import pytest
from anyio.to_thread import run_sync

from holdfast.testing import VirtualClock

pytestmark = pytest.mark.anyio


async def test_sleep_forever_beside_a_thread_leaves_the_clock_alone() -> None:
    clock = VirtualClock()
    start_s = clock.monotonic_s()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep_forever)
        await run_sync(time.sleep, 0.01)
        await clock.sleep(1.0)
        tasks.cancel_scope.cancel()

    assert clock.monotonic_s() - start_s == pytest.approx(1.0)
