"""A bound on what runs at once.

Responsibility: grant permits, no more at a time than the limit.
Guarantees: in flight ≤ limit whenever a permit is granted; a permit counts exactly once, however often it is released;
    a limit that shrinks takes no permit back.
Not responsible for: waiting for a permit: `holdfast.domain.admission` does that, and calls this under it. How high the
    limit should be: see `holdfast.domain.adaptive_limit`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from holdfast.domain.deadline import Deadline
from holdfast.domain.validation import require_at_least
from holdfast.ports.errors import BackpressureError
from holdfast.ports.statistics import LimitStatistics

__all__ = ["ConcurrencyLimit", "Permit"]

T = TypeVar("T")


class Permit:
    """The right to be one of those in flight, known by its identity; made by `ConcurrencyLimit.try_acquire` only."""

    __slots__ = ()


class ConcurrencyLimit:
    """Lets so many calls run at once, and refuses the next. For one event loop.

    Args:
        max_in_flight: calls that may run at once; at least 1.

    Raises:
        ConfigurationError: if `max_in_flight` is below 1.

    Example:
        >>> limit = ConcurrencyLimit(1)
        >>> permit = limit.try_acquire()
        >>> limit.try_acquire() is None
        True
        >>> limit.release(permit)
        >>> limit.statistics().in_flight
        0
    """

    __slots__ = ("_held", "_max_in_flight")

    def __init__(self, max_in_flight: int) -> None:
        require_at_least("limit.max_in_flight", max_in_flight, 1)
        self._max_in_flight = max_in_flight
        self._held: set[Permit] = set()

    @property
    def max_in_flight(self) -> int:
        """How many calls may run at once, at present."""
        return self._max_in_flight

    def try_acquire(self) -> Permit | None:
        """Return a permit, to be released exactly once; None when the limit is reached."""
        if len(self._held) >= self._max_in_flight:
            return None
        permit = Permit()
        self._held.add(permit)
        return permit

    def resize(self, max_in_flight: int) -> None:
        """Set how many calls may run at once; at least 1. Those beyond it keep their permits until they release them.

        Whoever keeps a queue in front of the limit hands new slots on: nothing here knows who waits.
        """
        self._max_in_flight = max_in_flight

    def release(self, permit: Permit) -> None:
        """Give `permit` back; releasing it again, or one of another limit, changes nothing."""
        self._held.discard(permit)

    def statistics(self) -> LimitStatistics:
        """Return the limit and how much of it is in use."""
        return LimitStatistics(limit=self._max_in_flight, in_flight=len(self._held))

    async def call(self, work: Callable[[], Awaitable[T]], *, deadline: Deadline | None = None) -> T:
        """Call `work` if the limit allows, and return what it returns.

        Raises:
            BackpressureError: at once, if the limit is reached; `work` was not called.

        Cancellation: ends `work`; the permit is back before the cancellation goes on.
        """
        del deadline  # it never waits, so there is nothing to bound
        permit = self.try_acquire()
        if permit is None:
            raise BackpressureError(
                depth=0, capacity=0, retry_after_s=None, reason=f"{self._max_in_flight} calls are in flight"
            )
        try:
            return await work()
        finally:
            self.release(permit)
