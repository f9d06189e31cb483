"""Blocking work on something that only one thread at a time may use.

Responsibility: run pieces of it in worker threads, one after the other.
Guarantees: no two pieces ever run at once; a cancellation finds a piece finished, or sees to it that it never begins,
    also one of asyncio's own (`asyncio.timeout`, `Task.cancel`, Ctrl-C), of which AnyIO's shield knows nothing.
Not responsible for: ending a long piece early: it asks `anyio.from_thread.check_cancelled`, which such a cancellation
    reaches, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar

import anyio
from anyio.to_thread import run_sync

__all__ = ["SingleThread"]

T = TypeVar("T")

_LOOK_EVERY_S: Final = 0.005


class SingleThread:
    """Runs one piece of work at a time, in the order in which they were asked for. For one event loop."""

    def __init__(self) -> None:
        self._turn = anyio.Lock(fast_acquire=True)
        # Of its own: whatever fills the common one must not hold up a database.
        self._limiter = anyio.CapacityLimiter(1)

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns.

        Raises:
            Exception: whatever `work` does.

        Cancellation: it was not begun, or is finished first.
        """
        piece = _Piece(work)
        results: list[T] = []
        async with self._turn:
            with anyio.CancelScope() as scope:
                try:
                    results.append(await run_sync(piece.run, limiter=self._limiter))
                except BaseException:
                    await piece.end(scope)
                    raise
        return results[0]


class _Piece(Generic[T]):
    """Work that a thread begins, unless the task that waits for it gives it up before."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._beginning = deque((None,))
        self._has_ended = False

    def run(self) -> T:
        """Do it, in the thread."""
        self._beginning.pop()  # atomic, as `deque` promises; there is nobody to hear of an IndexError
        try:
            return self._work()
        finally:
            self._has_ended = True

    async def end(self, scope: anyio.CancelScope) -> None:
        """See to it that it runs no more; that takes a while only where asyncio itself has cancelled the task."""
        with suppress(IndexError):
            self._beginning.pop()
            return
        while not self._has_ended:
            scope.cancel()  # for work that asks
            # A further cancellation changes nothing, and the first one goes on as soon as this is over.
            with suppress(anyio.get_cancelled_exc_class()), anyio.CancelScope(shield=True):
                await anyio.sleep(_LOOK_EVERY_S)
