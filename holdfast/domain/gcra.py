"""How much of one quantity may go through, by the generic cell rate algorithm.

Responsibility: for one quantity with a rate and a burst: whether a cost fits now, and when it will; taking it, and
    setting right afterwards what was really used.
Guarantees: what was taken in any window and is not given back is at most ``burst + rate x window``, whatever was
    settled and refunded meanwhile; what a call uses beyond its cost is a debt, paid off before anything else goes
    through; a clock that steps back pays nothing off and delays nothing.
Not responsible for: time and errors: see `holdfast.domain.rate_limit`.

GCRA is told by its theoretical arrival time, the moment at which everything that was taken has been paid off at the
rate; a cost fits while that moment is at most a burst ahead. It is kept here in the form that ITU-T I.371 shows to be
equivalent, a level that drains at the rate, because a refund has to know whose part has drained. What has drained is
past: if it could be refunded, a cost that was reserved, paid off by waiting and then cancelled would let its amount
through once more. So what is known to be used drains first, and then the reservations, the oldest first: a refund loses
only what the rate paid for while there was nothing else to pay for.

Sources: ITU-T I.371, annex A, "Equivalence of the virtual scheduling and the continuous-state leaky bucket algorithm";
    cost above 1: the `redis-cell` module, https://github.com/brandur/redis-cell.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

__all__ = ["SLACK_S", "Gcra"]

SLACK_S: Final = 1e-6
"""Taken for no wait at all: whoever comes back exactly when told must not be refused for a rounding error."""


class Gcra:
    """One quantity. Its state is a few numbers, and one entry for each open reservation that has not drained.

    Args:
        per_s: units that are paid off in a second; above 0.
        burst: units that may be taken at once; above 0.
        max_debt_s: seconds of the rate that are kept of what exceeds the burst; the rest of it is forgiven.
        now_s: the time.

    Example:
        >>> gcra = Gcra(per_s=2.0, burst=10.0, max_debt_s=60.0, now_s=0.0)
        >>> gcra.try_take("a", 10.0, now_s=0.0)
        True
        >>> gcra.wait_s(4.0, now_s=1.0)
        1.0
        >>> gcra.settle("a", 10.0, used=5.0, now_s=1.0)
        >>> gcra.left(now_s=1.0)
        7.0
    """

    __slots__ = ("_at_s", "_fits", "_held", "_held_total", "_most", "_per_s", "_used", "burst")

    def __init__(self, *, per_s: float, burst: float, max_debt_s: float, now_s: float) -> None:
        self._per_s = per_s
        self.burst = burst
        self._fits = burst + per_s * SLACK_S
        self._most = burst + per_s * max_debt_s
        self._at_s = now_s
        self._used = 0.0
        self._held: OrderedDict[Hashable, float] = OrderedDict()  # what has not drained, the oldest first
        self._held_total = 0.0

    def retune(self, *, per_s: float, burst: float, max_debt_s: float, now_s: float) -> None:
        """Go by other numbers from now on; what was taken stays taken, and is paid off at the new rate.

        Args:
            per_s: as for a new one, like those that follow.
            burst: units that may be taken at once.
            max_debt_s: seconds of the rate that are kept of what exceeds the burst.
            now_s: the time.
        """
        self._drain(now_s)
        self._per_s = per_s
        self.burst = burst
        self._fits = burst + per_s * SLACK_S
        self._most = burst + per_s * max_debt_s
        self._used = min(self._used, self._most)

    def try_take(self, key: Hashable, cost: float, now_s: float) -> bool:
        """Take `cost` if it fits now, and return whether it did; what was taken has to be settled once.

        Args:
            key: what this reservation is known by, and no other that is open.
            cost: in units, from 0.
            now_s: the time.

        Complexity: O(1), amortised over the reservations that drain.
        """
        self._drain(now_s)
        # Compared first, because a cost that is a whole number beyond any float could not be added.
        if cost > self._fits or self._used + self._held_total + cost > self._fits:
            return False
        self._held[key] = cost
        self._held_total += cost
        return True

    def wait_s(self, cost: float, now_s: float) -> float:
        """Return the seconds until `cost` fits if nothing else is taken; infinity when it exceeds the burst."""
        if cost > self.burst:
            return math.inf
        self._drain(now_s)
        return max(0.0, self._used + self._held_total + cost - self.burst) / self._per_s

    def settle(self, key: Hashable, cost: float, used: float, now_s: float) -> None:
        """Set right that what took `cost` came to `used` units: less is a refund, of `cost` at most; more is a debt."""
        self._drain(now_s)
        left = self._held.pop(key, 0.0)
        self._held_total = self._held_total - left if self._held else 0.0
        unpaid = used - (cost - left)
        if unpaid > 0:
            self._used += unpaid
            if used > cost:
                self._used = min(self._used, self._most)

    def left(self, now_s: float) -> float:
        """Return the units that could be taken now; below 0 while there is a debt."""
        self._drain(now_s)
        return self.burst - self._used - self._held_total

    def paid_off_in_s(self, now_s: float) -> float:
        """Return the seconds until the theoretical arrival time, when the whole burst is there again."""
        return (self.burst - self.left(now_s)) / self._per_s

    def _drain(self, now_s: float) -> None:
        due = (now_s - self._at_s) * self._per_s
        self._at_s = now_s
        if due <= 0:
            return
        if due < self._used:
            self._used -= due
            return
        due -= self._used
        self._used = 0.0
        while self._held:
            key, left = next(iter(self._held.items()))
            if due < left:
                self._held[key] = left - due
                self._held_total -= due
                return
            due -= left
            self._held_total -= left
            del self._held[key]
        self._held_total = 0.0  # what is left of it is a rounding error
