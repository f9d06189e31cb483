"""Time under a test's control.

Responsibility: a clock that a test moves by hand, and event loops whose waits take no real time.
Guarantees: under `virtual_backend`, every timer of the loop fires in order and at its virtual moment, and the loop
    jumps to the next timer as soon as every task waits. Nothing sleeps.
Not responsible for: threads and sockets: a virtual loop does not wait for them; test those on the real backends.
Source: trio's `MockClock(autojump_threshold=0)`, of which `VirtualTimeLoop` is the asyncio counterpart.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final

import anyio
import anyio.lowlevel

from holdfast.ports.clock import Clock

__all__ = ["ManualClock", "VirtualClock", "VirtualTimeLoop", "virtual_backend"]


class ManualClock:
    """A clock that stands still until it is told to move.

    For synchronous tests; `sleep` moves it by the delay and yields once.
    """

    def __init__(self, now_s: float = 1000.0) -> None:
        self._now_s = now_s

    def monotonic_s(self) -> float:
        """Return the time that was set."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`."""
        assert seconds >= 0, "a monotonic clock does not go back"
        self._now_s += seconds

    async def sleep(self, delay_s: float) -> None:
        """Move forward by `delay_s` and let other tasks run once."""
        self.advance(max(0.0, delay_s))
        await anyio.lowlevel.checkpoint()


class VirtualClock:
    """The time of the running event loop, which is virtual under `virtual_backend`."""

    def monotonic_s(self) -> float:
        """Return the loop's time."""
        return anyio.current_time()

    async def sleep(self, delay_s: float) -> None:
        """Wait in the loop's time."""
        await anyio.sleep(max(0.0, delay_s))


class _JumpingSelector:
    """Never waits: where a selector would block until the next timer, the clock jumps there."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if not ready:
            if timeout is None:
                # Only a callback from another thread can wake the loop now.
                return self._real.select(None)
            self._loop.advance(timeout)
        return ready

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - everything else is the real selector's business
        return getattr(self._real, name)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose clock jumps to the next timer whenever nothing else is left to do."""

    def __init__(self) -> None:
        self._virtual_s = 1000.0
        super().__init__(_JumpingSelector(self))  # type: ignore[arg-type] # it has the methods that the loop calls

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual_s

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call `callback` at the virtual moment `when`."""
        if when == math.inf:
            # A timer that never fires must not move the clock: asyncio asks for a day at a time, and after a hundred
            # of them its clock resolution drowns in the rounding of the sum and no timer fires any more.
            return asyncio.TimerHandle(when, callback, args, self, context)
        return super().call_at(when, callback, *args, context=context)

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._virtual_s += seconds


def virtual_backend(name: str) -> tuple[str, dict[str, Any]]:
    """Return what an `anyio_backend` fixture needs to run ``asyncio`` or ``trio`` in virtual time.

    Make a new one for each test: a virtual clock belongs to one run.
    """
    if name == "asyncio":
        return name, {"loop_factory": VirtualTimeLoop}
    import trio.testing  # noqa: PLC0415 - trio is needed by those who test on it, not by everyone

    return name, {"clock": trio.testing.MockClock(autojump_threshold=0)}


_: Final[tuple[type[Clock], ...]] = (ManualClock, VirtualClock)
