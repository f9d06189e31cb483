"""What it costs lately to choose a backend first.

Responsibility: for each backend, an average of latencies that jumps up with a slow one and comes down with time, and
    how many requests have asked it and are not over.
Guarantees: one slow answer is enough to be known as slow; a failure never makes a backend look faster; a backend that
    nobody asks is forgiven as time passes, so that it is tried again; after any cancellation every request is counted
    out; a clock that goes back ages nothing.
Not responsible for: choosing: see `holdfast.domain.route_choice`.
Source: Finagle's `PeakEwma` load balancer,
    https://twitter.github.io/finagle/guide/Clients.html#power-of-two-choices-p2c-peak-ewma.

What choosing a backend costs is the time until its request was over, the time in other backends that were fallen back
to included. Measured at the backend alone, one that fails at once, or whose breaker is open, would be the fastest of
all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from holdfast.ports.clock import Clock

__all__ = ["Journey", "RouteLoad"]

_LEAST_COST_S: Final = 1e-6
"""What a measured backend costs at least, or requests in flight would no longer count after a quiet hour."""


class RouteLoad:
    """The load of one backend.

    Args:
        decay_s: seconds after which a latency weighs 1/e of what it did.
        clock: monotonic time.

    Attributes:
        in_flight: requests that have asked it and are not over.

    Example:
        >>> from holdfast.testing import ManualClock
        >>> load = RouteLoad(10.0, ManualClock())
        >>> load.observe(0.2, is_answer=True)
        >>> load.in_flight = 2
        >>> load.value()
        0.6000000000000001
    """

    __slots__ = ("_at_s", "_clock", "_cost_s", "_decay_s", "in_flight")

    def __init__(self, decay_s: float, clock: Clock) -> None:
        self._decay_s = decay_s
        self._clock = clock
        self._at_s = clock.monotonic_s()
        self._cost_s: float | None = None
        self.in_flight = 0

    def observe(self, cost_s: float, *, is_answer: bool) -> None:
        """Take note of one request that chose this backend.

        Args:
            cost_s: seconds until the request was over.
            is_answer: whether it ended with an answer; otherwise the time counts only if it is longer than usual.
        """
        before_s, weight = self._cost_s, self._weight()
        self._at_s = self._clock.monotonic_s()
        if before_s is None:
            self._cost_s = cost_s
        elif not is_answer:
            self._cost_s = max(before_s, cost_s)
        else:
            self._cost_s = max(cost_s, before_s * weight + cost_s * (1 - weight))

    def cost_s(self) -> float | None:
        """Return what it costs now to choose this backend, in seconds; None before the first request is over."""
        return None if self._cost_s is None else self._cost_s * self._weight()

    def value(self) -> float:
        """Return what it would cost one more request, were it to wait for those that are there.

        A backend of which nothing is known costs nothing, so that it is tried; but by one request at a time.
        """
        cost_s = self.cost_s()
        if cost_s is None:
            return math.inf if self.in_flight else 0.0
        return max(cost_s, _LEAST_COST_S) * (self.in_flight + 1)

    def _weight(self) -> float:
        now_s = self._clock.monotonic_s()
        self._at_s = min(self._at_s, now_s)  # a clock that went back would stop the ageing until it has caught up
        return math.exp((self._at_s - now_s) / self._decay_s)


class Journey:
    """One request on its way from backend to backend; end it in every case.

    Args:
        loads: of the backends, by name.
        clock: monotonic time.
    """

    __slots__ = ("_asked", "_clock", "_loads")

    def __init__(self, loads: Mapping[str, RouteLoad], clock: Clock) -> None:
        self._loads = loads
        self._clock = clock
        self._asked: list[tuple[RouteLoad, float]] = []

    def turn_to(self, backend: str) -> None:
        """Ask this backend, for the first time; the request is in flight there until it ends."""
        load = self._loads[backend]
        load.in_flight += 1
        self._asked.append((load, self._clock.monotonic_s()))

    def end(self, *, is_answer: bool | None) -> None:
        """Be in flight nowhere any more, and charge each backend with the time since it was turned to.

        Args:
            is_answer: whether there was one; None charges nothing, for a request that says nothing about the backends.
        """
        now_s = self._clock.monotonic_s()
        for load, began_s in self._asked:
            load.in_flight -= 1
            if is_answer is not None:
                load.observe(max(0.0, now_s - began_s), is_answer=is_answer)
