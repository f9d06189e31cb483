"""When to come back, as refusals say it.

Responsibility: learn how long something takes, and what a refusal says before that is known.
Guarantees: an average of which each sample is an eighth; no sample is below zero, whatever the clock does.
Not responsible for: turning it into a wait: whoever refuses knows what has to end first.
Source: RFC 6298 section 2 for the smoothing.
"""

from __future__ import annotations

from typing import Final

__all__ = ["UNMEASURED_RETRY_AFTER_S", "SmoothedTime"]

UNMEASURED_RETRY_AFTER_S: Final = 1.0
"""What whoever is refused is told, in seconds, where nothing has been measured yet; unmeasured."""

_SMOOTHING_RATIO: Final = 1 / 8
"""Weight of the latest sample; RFC 6298's alpha."""


class SmoothedTime:
    """An average that follows the latest samples.

    Attributes:
        average_s: in seconds; None before the first sample.
    """

    __slots__ = ("average_s",)

    def __init__(self) -> None:
        self.average_s: float | None = None

    def record(self, took_s: float) -> None:
        """Take note of one sample, in seconds."""
        took_s = max(0.0, took_s)
        if self.average_s is None:
            self.average_s = took_s
        else:
            self.average_s += (took_s - self.average_s) * _SMOOTHING_RATIO
