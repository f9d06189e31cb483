"""Telling sustained overload from a burst.

Responsibility: say of one line whether it waits too long because more comes than is served.
Guarantees: a burst that is being worked off is no overload, however long that takes; neither is a line that moves on
    before anyone in it has waited for too long.
Not responsible for: what is done about it: see `holdfast.domain.admission_flow`.
Source: RFC 8289 (CoDel) section 3 for the question, and for asking it over a whole interval. CoDel asks only how long
    the wait is, which grows while a burst is worked off; hence arrivals and services are compared as well.
"""

from __future__ import annotations

__all__ = ["OverloadWatch"]


class OverloadWatch:
    """Watches one line from the moment that something waits in it until it is empty.

    Args:
        after_s: seconds that it takes to pass for overloaded. The first third of them may be a burst; in the second and
            the last, or in two such thirds later, more must have come than was served.
        wait_s: seconds that the oldest must have waited then.
        now_s: when it began.

    Attributes:
        since_s: since when it passes for overloaded; None while it does not.
    """

    __slots__ = ("_arrivals", "_growing", "_judged_at_s", "_served", "_wait_s", "_window_s", "since_s")

    def __init__(self, *, after_s: float, wait_s: float, now_s: float) -> None:
        self.since_s: float | None = None
        self._wait_s = wait_s
        self._window_s = after_s / 3
        self._judged_at_s = now_s + self._window_s
        self._growing = -1
        self._arrivals = 0
        self._served = 0

    def count_arrival(self, now_s: float, *, oldest_s: float) -> None:
        """Take note of one that came, if only to be refused, when the oldest had been there since `oldest_s`."""
        self._judge(now_s, now_s - oldest_s)
        self._arrivals += 1

    def count_served(self, now_s: float, *, oldest_s: float) -> None:
        """Take note of one that gets a slot, when the oldest has been there since `oldest_s`."""
        self._judge(now_s, now_s - oldest_s)
        self._served += 1

    def _judge(self, now_s: float, waited_s: float) -> None:
        if self.since_s is not None or now_s < self._judged_at_s:
            return
        # In two windows, as those who come again as soon as they are answered may all happen to come in one.
        self._growing = self._growing + 1 if self._arrivals > self._served else 0
        if self._growing > 1 and waited_s > self._wait_s:
            self.since_s = now_s
        is_late = now_s - self._judged_at_s >= self._window_s
        self._judged_at_s = (now_s if is_late else self._judged_at_s) + self._window_s
        self._arrivals = 0
        self._served = 0
