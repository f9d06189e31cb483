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
from typing import TypeVar

import anyio

from holdfast.domain.validation import require_positive
from holdfast.ports.errors import AttemptTimeoutError
from holdfast.ports.inference import Deliver

__all__ = ["StreamTimeout"]

T = TypeVar("T")


class StreamTimeout:
    """Gives each call the same number of seconds until its first piece, and between two of them.

    Args:
        first_s: seconds from the call to its first piece.
        idle_s: seconds from one piece that was taken to the next, and from the last one to the end.
    """

    __slots__ = ("first_s", "idle_s")

    def __init__(self, *, first_s: float, idle_s: float) -> None:
        require_positive("first_s", first_s)
        require_positive("idle_s", idle_s)
        self.first_s = first_s
        self.idle_s = idle_s

    async def call(self, work: Callable[[Deliver], Awaitable[T]], deliver: Deliver) -> T:
        """Return what `work` returns, which hands its pieces on to `deliver`.

        Raises:
            AttemptTimeoutError: if a piece, or the end, took longer than it may; the work has ended by then.
        """
        allowed_s = self.first_s
        with anyio.move_on_after(allowed_s) as scope:

            async def timed(piece: str) -> None:
                nonlocal allowed_s
                if not piece:
                    return
                scope.deadline = math.inf
                await deliver(piece)
                allowed_s = self.idle_s
                scope.deadline = anyio.current_time() + allowed_s

            return await work(timed)
        raise AttemptTimeoutError(timeout_s=allowed_s)
