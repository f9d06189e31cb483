"""Time, as the domain sees it.

Responsibility: the only source of time for every mechanism.
Guarantees: `monotonic_s` never goes back; a step of the wall clock changes nothing.
Not responsible for: dates and time zones; nothing in the domain needs them.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """A monotonic clock that can also wait.

    Ordering: readings never decrease within one process. Cancellation: `sleep` may be cancelled at any moment and
    leaves nothing behind. Errors: none.
    """

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary, fixed moment."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait for `delay_s` seconds; zero or less only yields to other tasks."""
        ...
