"""How fast a batch goes just now.

Responsibility: results per second over the last half minute, and the time that is left at this rate.
Guarantees: memory is bounded, however often it is asked; a batch that stands still has no rate after half a minute.
Not responsible for: the rate of the whole run: the report has that.
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["RecentRate"]

_WINDOW_S: Final = 30.0
_MIN_STEP_S: Final = 0.1


class RecentRate:
    """Looks at counts as they grow."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def observe(self, now_s: float, settled: int) -> None:
        """Note that `settled` results were there at `now_s`."""
        seen = self._seen
        if len(seen) > 1 and now_s - seen[-2][0] < _MIN_STEP_S:
            seen.pop()
        seen.append((now_s, settled))
        while len(seen) > 1 and seen[1][0] <= now_s - _WINDOW_S:
            seen.popleft()

    @property
    def per_s(self) -> float | None:
        """Return results per second; None as long as nothing can be said."""
        if len(self._seen) < 2:
            return None
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s and last > first else None

    def left_s(self, pending: int) -> float | None:
        """Return the seconds that `pending` more results take at this rate."""
        per_s = self.per_s
        return pending / per_s if per_s is not None else None
