"""One absolute deadline for every layer of a call.

Responsibility: say how much time is left.
Guarantees: it is set once, at the door; inner layers read it and never extend it. Only the flight that several callers
    share moves its own deadline, to the latest of theirs.
Not responsible for: cancelling anything: whoever set it does that, with a cancel scope of its own.
Source: gRPC deadlines, https://grpc.io/docs/guides/deadlines/.
"""

from __future__ import annotations

from holdfast.domain.validation import require_positive
from holdfast.ports.clock import Clock

__all__ = ["Deadline"]

# Event loops wake a timer up to one clock tick early (asyncio: `loop._clock_resolution`; 15.6 ms at worst, on Windows).
# Without it a scope that ended at the deadline would see a deadline that has not passed.
_TICK_S = 0.001


class Deadline:
    """A moment on the monotonic clock by which a call must have ended.

    Args:
        at_s: the moment, on `clock`.
        clock: what to compare it with.

    Example:
        >>> from holdfast.testing import ManualClock
        >>> clock = ManualClock()
        >>> deadline = Deadline.after(5.0, clock)
        >>> clock.advance(2.0)
        >>> deadline.remaining_s()
        3.0
    """

    __slots__ = ("_at_s", "_clock")

    def __init__(self, at_s: float, clock: Clock) -> None:
        self._at_s = at_s
        self._clock = clock

    def __repr__(self) -> str:
        return f"Deadline(at_s={self._at_s!r})"

    @classmethod
    def after(cls, timeout_s: float, clock: Clock) -> Deadline:
        """Return the deadline `timeout_s` seconds from now.

        Raises:
            ConfigurationError: if `timeout_s` is not a finite number above zero.
        """
        require_positive("timeout_s", timeout_s)
        return cls(clock.monotonic_s() + timeout_s, clock)

    @property
    def at_s(self) -> float:
        """The moment, in seconds on its clock."""
        return self._at_s

    def remaining_s(self) -> float:
        """Return the seconds left, 0.0 once it has passed."""
        return max(0.0, self._at_s - self._clock.monotonic_s())

    def has_passed(self) -> bool:
        """Return whether no time is left, to within one tick of the event loop's timer (1 ms)."""
        return self._at_s - self._clock.monotonic_s() <= _TICK_S

    def postpone_to(self, other: Deadline) -> None:
        """Take the later of both. For the owner of a shared flight only, when a caller joins it."""
        self._at_s = max(self._at_s, other.at_s)

    def copy(self) -> Deadline:
        """Return a deadline of the same moment, which can be postponed on its own."""
        return Deadline(self._at_s, self._clock)
