"""How long a place in line takes.

Responsibility: predict a wait from how long slots were held lately.
Guarantees: whoever is refused is told a time above zero after which to come back, also before anything was measured.
Not responsible for: how many are ahead: see `holdfast.domain.admission_line`.
Source: RFC 6298 section 2 for the smoothing.
"""

from __future__ import annotations

from typing import Final

__all__ = ["UNMEASURED_RETRY_AFTER_S", "PredictedWait"]

UNMEASURED_RETRY_AFTER_S: Final = 1.0
"""What whoever is refused is told before the first slot has come back, when nothing is known; unmeasured."""

_SMOOTHING_RATIO: Final = 1 / 8
"""Weight of the latest holding time in the average; RFC 6298's alpha."""


class PredictedWait:
    """Learns how long slots are held."""

    __slots__ = ("_holding_s",)

    def __init__(self) -> None:
        self._holding_s: float | None = None

    def record(self, held_s: float) -> None:
        """Take note of how long one slot was held."""
        if self._holding_s is None:
            self._holding_s = held_s
        else:
            self._holding_s += (held_s - self._holding_s) * _SMOOTHING_RATIO

    def wait_s(self, ahead: int, *, slots: int) -> float | None:
        """Return how long `ahead` entries take to be admitted; None before the first slot has come back."""
        return None if self._holding_s is None else ahead * self._holding_s / slots

    def retry_after_s(self, waiting: int, *, slots: int) -> float:
        """Return when those who wait will have been admitted; `UNMEASURED_RETRY_AFTER_S` where that says nothing."""
        return self.wait_s(waiting, slots=slots) or UNMEASURED_RETRY_AFTER_S
