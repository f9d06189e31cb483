"""What every `Clock` must do.

Responsibility: the contract of `holdfast.ports.clock`, as tests.
Guarantees: a clock that passes can drive every mechanism.
Not responsible for: how precise it is; a sleep may end up to one tick (1 ms) early, as timers of event loops do.
"""

# ruff: noqa: D102 - a test's name is its docstring
from __future__ import annotations

import anyio
import pytest

from holdfast.ports.clock import Clock

__all__ = ["ClockContract"]

_TICK_S = 0.001
_DELAY_S = 0.005


class ClockContract:
    """Subclass it as ``Test…`` with a fixture ``clock``; mark the subclass ``real_time`` if the clock is real."""

    pytestmark = pytest.mark.anyio

    async def test_monotonic_read_twice_never_goes_back(self, clock: Clock) -> None:
        readings = [clock.monotonic_s() for _ in range(100)]

        assert readings == sorted(readings)

    async def test_sleep_a_delay_passes_at_least_that_time(self, clock: Clock) -> None:
        before_s = clock.monotonic_s()
        await clock.sleep(_DELAY_S)

        assert clock.monotonic_s() - before_s >= _DELAY_S - _TICK_S

    @pytest.mark.parametrize("delay_s", [0.0, -1.0])
    async def test_sleep_nothing_lets_other_tasks_run(self, clock: Clock, delay_s: float) -> None:
        ran: list[str] = []

        async def other() -> None:
            ran.append("other")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            await clock.sleep(delay_s)
            ran.append("sleeper")

        assert "other" in ran
        assert "sleeper" in ran

    @pytest.mark.parametrize("delay_s", [0.0, 3600.0])
    async def test_sleep_in_a_cancelled_scope_ends_with_the_cancellation(self, clock: Clock, delay_s: float) -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await clock.sleep(delay_s)

        assert scope.cancelled_caught
