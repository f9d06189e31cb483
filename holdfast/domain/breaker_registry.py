"""One breaker for each name, and no more names than fit.

Responsibility: give everyone who calls the same peer the same breaker.
Guarantees: never more than `max_breakers`; a breaker is dropped only while it is closed and no call is in flight, or
    when it is said that its peer is gone.
Not responsible for: making the names: a name that comes from a request is bounded here, not made sensible.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from holdfast.domain.circuit_breaker import CircuitBreaker
from holdfast.domain.validation import require_at_least
from holdfast.ports.errors import RefusedError
from holdfast.ports.statistics import BreakerState, BreakerStatistics

__all__ = ["BreakerRegistry"]


class BreakerRegistry:
    """Makes breakers as they are asked for.

    Args:
        make: returns a new breaker of that name.
        max_breakers: how many are kept (default 1024; unmeasured).

    Example:
        >>> from random import Random
        >>> from holdfast.testing import ManualClock
        >>> registry = BreakerRegistry(lambda name: CircuitBreaker(name, clock=ManualClock(), random=Random(1).random))
        >>> registry.get("echo") is registry.get("echo")
        True
    """

    def __init__(self, make: Callable[[str], CircuitBreaker], *, max_breakers: int = 1024) -> None:
        require_at_least("breaker.max_breakers", max_breakers, 1)
        self._make = make
        self._max_breakers = max_breakers
        self._breakers: OrderedDict[str, CircuitBreaker] = OrderedDict()  # the least recently used one first

    def get(self, name: str) -> CircuitBreaker:
        """Return the breaker called `name`, made now if there is none.

        At the bound, the least recently used breaker that is closed and idle makes room; whoever still holds it goes on
        with a breaker of their own, so ask for it again rather than keeping it where names come and go.

        Raises:
            RefusedError: if there are `max_breakers` and each is open or in use.

        Complexity: O(1), O(max_breakers) when room must be made.
        """
        breaker = self._breakers.get(name)
        if breaker is None:
            if len(self._breakers) >= self._max_breakers:
                self._make_room(name)
            breaker = self._breakers[name] = self._make(name)
        self._breakers.move_to_end(name)
        return breaker

    def forget(self, name: str) -> None:
        """Drop the breaker called `name`, in whatever state it is, because its peer is gone for good.

        An open one would never make room: it closes only by calls, which nobody makes any more.
        """
        self._breakers.pop(name, None)

    def statistics(self) -> tuple[BreakerStatistics, ...]:
        """Return what each breaker counts, the least recently used one first."""
        return tuple(breaker.statistics() for breaker in self._breakers.values())

    def _make_room(self, name: str) -> None:
        for oldest, breaker in self._breakers.items():
            statistics = breaker.statistics()
            if statistics.state is BreakerState.CLOSED and statistics.in_flight == 0:
                del self._breakers[oldest]
                return
        raise RefusedError(
            f"no breaker for {name!r}: all {self._max_breakers} are open or in use; "
            f"raise breaker.max_breakers, or use fewer names"
        )
