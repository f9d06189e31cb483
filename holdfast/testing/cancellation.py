"""A cancel at every checkpoint.

Responsibility: run a scenario again and again, each time cancelling it at one checkpoint later, until one run ends by
    itself.
Guarantees: the k-th run is cancelled exactly when the scenario gives up control for the k-th time, on asyncio and trio.
Not responsible for: what must hold afterwards: the caller's `check` says that.
Source: trio's design notes on checkpoints, https://trio.readthedocs.io/en/stable/reference-core.html#checkpoints.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

import anyio

__all__ = ["cancel_at_checkpoint", "sweep_cancellation"]

T = TypeVar("T")
S = TypeVar("S")

_MOST_CHECKPOINTS = 10_000


class _Counter(Generic[T]):
    def __init__(self, work: Coroutine[Any, Any, T], at: int, cancel: Callable[[], None]) -> None:
        self._work = work
        self._at = at
        self._cancel = cancel
        self.seen = 0

    @types.coroutine
    def run(self) -> Generator[Any, Any, T]:
        """Drive the coroutine by hand, so that every suspension passes through here."""
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            try:
                suspended_on = self._work.send(sent) if thrown is None else self._work.throw(thrown)
            except StopIteration as stop:
                result: T = stop.value
                return result
            self.seen += 1
            if self.seen == self._at:
                self._cancel()
            sent, thrown = None, None
            try:
                sent = yield suspended_on
            except BaseException as error:  # noqa: BLE001 - handed on to the coroutine, as `yield from` does
                thrown = error


async def cancel_at_checkpoint(work: Coroutine[Any, Any, T], at: int) -> bool:
    """Run `work` and cancel it when it gives up control for the `at`-th time, counted from 1.

    Returns:
        Whether it got that far; False means that it ended by itself before.
    """
    scope = anyio.CancelScope()
    counter = _Counter(work, at, scope.cancel)
    with scope:
        await counter.run()
    return counter.seen >= at


async def sweep_cancellation(
    scenario: Callable[[], Coroutine[Any, Any, object]],
    check: Callable[[], Awaitable[None]],
) -> int:
    """Run `scenario` with a cancel at its 1st, 2nd, 3rd … checkpoint, and `check` after each run.

    Args:
        scenario: makes a fresh coroutine for each run.
        check: asserts what must hold after any cancellation; called also after the last, undisturbed run.

    Returns:
        How many checkpoints the undisturbed scenario has.
    """
    for at in range(1, _MOST_CHECKPOINTS):
        reached = await cancel_at_checkpoint(scenario(), at)
        await check()
        if not reached:
            return at - 1
    raise AssertionError(f"the scenario still runs after {_MOST_CHECKPOINTS} checkpoints; is it endless?")
