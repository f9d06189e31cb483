"""A bound on how long a backend may keep its readers waiting.

Responsibility: end an attempt that streams when its first piece, or the next one, takes too long.
Guarantees: time that the backend itself has to wait for a slow reader does not count; the attempt is cancelled and
    awaited before `AttemptTimeoutError` is raised; a cancellation from outside passes through as it is.
Not responsible for: the deadline of the whole call: the door enforces that one; slow readers: see
    `holdfast.domain.stream_outlet`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from holdfast.domain.stream_outlet import Outlet
from holdfast.domain.validation import require_positive
from holdfast.ports.errors import AttemptTimeoutError
from holdfast.ports.inference import Deliver

__all__ = ["StreamTimeout"]

T = TypeVar("T")

# A timer that was set anew with every piece would cost more than all the rest of the piece. So each is set for longer
# than need be, and left alone for as long as it is late enough.
_SLACK_RATIO: Final = 0.25


class StreamTimeout:
    """Gives each call the same number of seconds until its first piece, and between two of them.

    Args:
        first_s: seconds from the call to its first piece.
        idle_s: seconds from one piece that was taken to the next, and from the last one to the end; a quarter more
            may pass before it is noticed.
    """

    __slots__ = ("first_s", "idle_s")

    def __init__(self, *, first_s: float, idle_s: float) -> None:
        require_positive("first_s", first_s)
        require_positive("idle_s", idle_s)
        self.first_s = first_s
        self.idle_s = idle_s

    async def call(self, work: Callable[[Deliver], Awaitable[T]], outlet: Outlet) -> T:
        """Return what `work` returns, which delivers its pieces to `outlet`.

        Raises:
            AttemptTimeoutError: if a piece, or the end, took longer than it may; the work has ended by then.
        """
        scope = anyio.move_on_after(self.first_s)
        watch = _Watch(scope, outlet, self.idle_s)
        with scope:
            return await work(watch.deliver)
        raise AttemptTimeoutError(timeout_s=self.idle_s if watch.has_begun else self.first_s)


class _Watch:
    """Hands pieces on, and sets the timer for the next one."""

    __slots__ = ("_idle_s", "_outlet", "_reset_at_s", "_scope")

    def __init__(self, scope: anyio.CancelScope, outlet: Outlet, idle_s: float) -> None:
        self._scope = scope
        self._outlet = outlet
        self._idle_s = idle_s
        self._reset_at_s = -math.inf

    @property
    def has_begun(self) -> bool:
        return self._reset_at_s > -math.inf

    async def deliver(self, piece: str) -> None:
        if not piece:
            return
        if self._outlet.deliver_nowait(piece):
            now_s = anyio.current_time()
            if now_s < self._reset_at_s:
                return
        else:
            self._scope.deadline = math.inf
            await self._outlet.deliver(piece)
            now_s = anyio.current_time()
        self._reset_at_s = now_s + _SLACK_RATIO * self._idle_s
        self._scope.deadline = self._reset_at_s + self._idle_s
