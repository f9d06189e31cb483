"""The machine's own time.

Responsibility: `Clock` over the system's monotonic clock and the running event loop.
Guarantees: a step of the wall clock (NTP, a user, daylight saving) changes nothing.
Not responsible for: counting while the machine is suspended: on Linux and macOS the monotonic clock stands still then.
Source: PEP 418.
"""

from __future__ import annotations

import time

import anyio

from holdfast.ports.clock import Clock

__all__ = ["SystemClock"]


class SystemClock:
    """Seconds since an arbitrary moment, usually the start of the machine."""

    # Not a method around it: every request asks for the time some twenty times.
    monotonic_s = staticmethod(time.monotonic)

    async def sleep(self, delay_s: float) -> None:
        """Wait for `delay_s` seconds; zero or less only yields to other tasks."""
        await anyio.sleep(max(0.0, delay_s))


_: type[Clock] = SystemClock
