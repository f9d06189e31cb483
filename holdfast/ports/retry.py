"""Whether a failed attempt is tried again, and when.

Responsibility: the decision after each failure; the loop around it is `holdfast.domain.retry.Retry`.
Guarantees: a strategy is asked only about failures; a cancellation never reaches it.
Not responsible for: sleeping, deadlines (the loop refuses a delay that would outlast one) and budgets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from holdfast.ports.outcome import Outcome, Verdict

__all__ = ["FailedAttempt", "RetryStrategy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """What is known when an attempt has failed.

    Args:
        number: which attempt it was, from 1.
        error: what it raised.
        verdict: what that error means.
        elapsed_s: seconds since the first attempt began.
        previous_delay_s: the delay before this attempt; 0.0 for the first.
        slept_s: the delays before all attempts so far, added up.
        uniform: a random number in [0, 1), drawn for this decision alone.
    """

    number: int
    error: Exception
    verdict: Verdict
    elapsed_s: float
    previous_delay_s: float
    slept_s: float
    uniform: float

    @property
    def may_be_retried(self) -> bool:
        """Whether the verdict lets any strategy retry: something failed, and nobody said that no retry can help."""
        verdict = self.verdict
        return verdict.retry_allowed and verdict.outcome in (Outcome.FAILURE, Outcome.REJECTED_BY_PEER)


class RetryStrategy(Protocol):
    """Decides after each failed attempt.

    Ordering: asked once per failed attempt, in order. Atomicity: synchronous, keeps no state between calls, so one
    instance serves any number of concurrent callers. Cancellation: never seen here. Errors: none.
    """

    def delay_before_next_s(self, failed: FailedAttempt) -> float | None:
        """Return the seconds to wait before the next attempt, or None to give up.

        None whenever `failed.may_be_retried` is False. A delay is finite, and never below
        `failed.verdict.least_delay_s(failed.uniform)`: the peer's Retry-After holds.
        """
        ...
