"""How long a place in line takes.

Responsibility: predict a wait from how long slots were held lately.
Guarantees: whoever is refused is told a time above zero after which to come back, also before anything was measured.
Not responsible for: how many are ahead: see `holdfast.domain.admission_line`.
"""

from __future__ import annotations

from holdfast.domain.retry_after import UNMEASURED_RETRY_AFTER_S, SmoothedTime

__all__ = ["PredictedWait"]


class PredictedWait:
    """Learns how long slots are held."""

    __slots__ = ("_holding",)

    def __init__(self) -> None:
        self._holding = SmoothedTime()

    def record(self, held_s: float) -> None:
        """Take note of how long one slot was held."""
        self._holding.record(held_s)

    def wait_s(self, ahead: int, *, slots: int) -> float | None:
        """Return how long `ahead` entries take to be admitted; None before the first slot has come back."""
        holding_s = self._holding.average_s
        return None if holding_s is None else ahead * holding_s / slots

    def retry_after_s(self, waiting: int, *, slots: int) -> float:
        """Return when those who wait will have been admitted; `UNMEASURED_RETRY_AFTER_S` where that says nothing."""
        return self.wait_s(waiting, slots=slots) or UNMEASURED_RETRY_AFTER_S
