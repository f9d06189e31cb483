"""How long to leave alone what failed.

Responsibility: the pause after each of several failures in a row, and how chance spreads a pause of any kind.
Guarantees: no pause is longer than the longest, and each is at least half of what it could be; one success forgets
    every failure.
Not responsible for: sleeping; retries of calls, which have more to go by: see `holdfast.domain.retry_policy`.
Source: "Exponential Backoff And Jitter",
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

__all__ = ["Backoff", "equal_jitter"]

_MOST_DOUBLINGS: Final = 32
"""From here on every pause is the longest one; more would overflow a float some day."""


class Backoff:
    """Pauses that double.

    Args:
        first_s: the longest that the first one may be; above 0.
        max_s: the longest that any may be.
        random: returns a number in [0, 1); called once for each pause.

    Example:
        >>> backoff = Backoff(1.0, 5.0, random=lambda: 1.0)
        >>> [backoff.fail() for _ in range(4)]
        [1.0, 2.0, 4.0, 5.0]
    """

    __slots__ = ("_failures", "_first_s", "_max_s", "_random")

    def __init__(self, first_s: float, max_s: float, *, random: Callable[[], float]) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._random = random
        self._failures = 0

    def fail(self, *, at_once: bool = False) -> float:
        """Return the pause after one more failure, in seconds.

        Args:
            at_once: whether it is the longest from the start, because what failed does not pass by itself.
        """
        doublings = _MOST_DOUBLINGS if at_once else min(self._failures, _MOST_DOUBLINGS)
        self._failures += 1
        return equal_jitter(min(self._max_s, math.ldexp(self._first_s, doublings)), self._random())

    def succeed(self) -> None:
        """Forget every failure."""
        self._failures = 0


def equal_jitter(longest_s: float, uniform: float) -> float:
    """Return a pause from half of `longest_s` to all of it, so that those who lost the same peer come back apart.

    Args:
        longest_s: seconds.
        uniform: chance, in [0, 1).
    """
    return longest_s * (0.5 + 0.5 * uniform)
