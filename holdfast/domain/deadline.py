"""One absolute deadline for every layer of a call.

Responsibility: say how much time is left.
Guarantees: it is set once, at the door; inner layers read it and never extend it. Only the flight that several callers
    share moves its own deadline, to the latest of theirs, or lifts it.
Not responsible for: cancelling anything: whoever set it does that, with a cancel scope of its own.
Source: gRPC deadlines, https://grpc.io/docs/guides/deadlines/.
"""

from __future__ import annotations

import math

from holdfast.domain.validation import require_positive
from holdfast.ports.clock import Clock

__all__ = ["Deadline"]

# The scope that ends a call at its deadline runs on the event loop's clock, which need not be the clock given here
# (trio's starts at a random offset). Without some slack, rounding between the two would let a call that was ended at
# its deadline see a deadline that has not passed. 1 ms is the resolution to which epoll waits.
_SLACK_S = 0.001


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
        """Return the seconds left; never below 0.0."""
        return max(0.0, self._at_s - self._clock.monotonic_s())

    def has_passed(self) -> bool:
        """Return whether at most 1 ms is left, which is as exact as the event loop's timers are."""
        return self._at_s - self._clock.monotonic_s() <= _SLACK_S

    def postpone_to(self, other: Deadline) -> None:
        """Take the later of both. For the owner of a shared flight only, when a caller joins it."""
        self._at_s = max(self._at_s, other.at_s)

    def lift(self) -> None:
        """Never pass. For the owner of a shared flight only, when the time that it takes is no longer its own."""
        self._at_s = math.inf

    @property
    def is_lifted(self) -> bool:
        """Whether it never passes, so that how long the call takes says nothing about whoever is called."""
        return self._at_s == math.inf

    def copy(self) -> Deadline:
        """Return a deadline of the same moment, which can be postponed on its own."""
        return Deadline(self._at_s, self._clock)
