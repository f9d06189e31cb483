"""How one call ended, in the only words that statistics understand.

Responsibility: the closed set of outcomes, and the verdict that crosses `RetryStrategy` and `TripPolicy`.
Guarantees: one enum for every mechanism, so that a retry, a breaker and a limit never disagree about one call.
Not responsible for: deciding which error is which outcome: see `holdfast.domain.outcomes`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

__all__ = ["Outcome", "Verdict"]

_RETRY_AFTER_SPREAD_RATIO: Final = 0.1


class Outcome(enum.Enum):
    """How one call ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    SLOW = "slow"
    """It succeeded, but took longer than the caller's threshold for slow."""
    REJECTED_BY_PEER = "rejected_by_peer"
    """The peer pushed back: it works, and wants less."""
    IGNORED = "ignored"
    """Cancelled, invalid, or refused by ourselves: feeds no statistic, and always gives the permit back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An outcome, with what the peer said about trying again.

    Args:
        outcome: how the call ended.
        retry_after_s: seconds the peer asked us to wait; None when it did not say.
        retry_allowed: False when the peer, or the kind of error, says that no retry can help.
    """

    outcome: Outcome
    retry_after_s: float | None = None
    retry_allowed: bool = True

    def least_delay_s(self, uniform: float) -> float:
        """Return what the peer asked us to wait, and up to 10 % more, so that those it turned away return spread.

        Args:
            uniform: a random number in [0, 1).

        Returns:
            Seconds; 0.0 when it did not ask.
        """
        return max(0.0, self.retry_after_s or 0.0) * (1 + _RETRY_AFTER_SPREAD_RATIO * uniform)
