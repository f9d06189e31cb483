"""When to try again, and when to give up: the built-in strategy.

Responsibility: decide, from one failed attempt, how long to wait before the next one, if there is a next one.
Guarantees: never more than `max_attempts`; a back-off is never above `max_delay_s`; only a peer's own Retry-After makes
    a delay longer than that, and never by more than a tenth of what it asked for.
Not responsible for: calling, sleeping and deadlines: see `holdfast.domain.retry`.
Sources: the jitters: AWS Architecture Blog, "Exponential Backoff And Jitter",
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/. The defaults: the standard mode of the
    AWS SDKs as of 2026, https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html. Retry-After:
    RFC 9110, section 10.2.3.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, assert_never

from holdfast.domain.backoff import equal_jitter
from holdfast.domain.validation import require, require_at_least
from holdfast.ports.outcome import Outcome
from holdfast.ports.retry import FailedAttempt, RetryStrategy

__all__ = ["Jitter", "RetryPolicy"]

# 2.0 ** 1024 raises OverflowError; a product with 2.0 ** 1023 is at worst infinite, and then capped.
_MAX_EXPONENT: Final = 1023


class Jitter(enum.StrEnum):
    """How chance spreads callers that failed together; the words are those of the source."""

    NONE = "none"
    """The whole back-off: for a single caller, or where a test wants one number."""
    FULL = "full"
    """Anything from 0 to the whole back-off: the fewest calls under contention."""
    EQUAL = "equal"
    """Anything from half to the whole back-off: never an immediate retry."""
    DECORRELATED = "decorrelated"
    """Anything from the base to three times the previous delay: grows with what was drawn, not with the attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential back-off with jitter, which obeys a peer's Retry-After.

    Args:
        max_attempts: attempts in all, the first one included, from 1. Default 3, as in the AWS SDKs.
        base_delay_s: seconds that double with each attempt, from 0. Default 0.05, as in the AWS SDKs.
        throttled_base_delay_s: the same, after the peer pushed back. Default 1.0, as in the AWS SDKs.
        max_delay_s: seconds above which no back-off grows. Default 20.0, as in the AWS SDKs.
        max_retry_after_s: seconds of Retry-After above which it is better to give up. Default 60.0; unmeasured.
        jitter: how a back-off is spread. Default full, as in the AWS SDKs.

    Raises:
        ConfigurationError: if a value is out of its range, or the base is above the maximum.

    Example:
        >>> policy = RetryPolicy(jitter=Jitter.NONE)
        >>> [policy.delay_for_attempt(number, uniform=0.5) for number in (1, 2, 3, 100)]
        [0.05, 0.1, 0.2, 20.0]
    """

    max_attempts: int = 3
    base_delay_s: float = 0.05
    throttled_base_delay_s: float = 1.0
    max_delay_s: float = 20.0
    max_retry_after_s: float = 60.0
    jitter: Jitter = Jitter.FULL

    def __post_init__(self) -> None:
        require_at_least("retry.max_attempts", self.max_attempts, 1)
        require_at_least("retry.base_delay_s", self.base_delay_s, 0.0)
        require_at_least("retry.throttled_base_delay_s", self.throttled_base_delay_s, 0.0)
        require_at_least("retry.max_delay_s", self.max_delay_s, 0.0)
        require_at_least("retry.max_retry_after_s", self.max_retry_after_s, 0.0)
        require(
            self.base_delay_s <= self.max_delay_s,
            f"must be at most retry.max_delay_s, {self.max_delay_s!r}, not {self.base_delay_s!r}",
            path="retry.base_delay_s",
        )

    def delay_for_attempt(
        self, number: int, *, uniform: float, previous_delay_s: float = 0.0, throttled: bool = False
    ) -> float:
        """Return the back-off after the attempt `number`, in seconds; the peer's Retry-After is not part of it.

        Pure: the same arguments always give the same delay.

        Args:
            number: which attempt failed, from 1, however large.
            uniform: chance, in [0, 1).
            previous_delay_s: the delay before that attempt; only decorrelated jitter reads it.
            throttled: whether the peer had pushed back.
        """
        base_s = self.throttled_base_delay_s if throttled else self.base_delay_s
        ceiling_s = min(self.max_delay_s, base_s * 2.0 ** min(number - 1, _MAX_EXPONENT))
        match self.jitter:
            case Jitter.NONE:
                return ceiling_s
            case Jitter.FULL:
                return ceiling_s * uniform
            case Jitter.EQUAL:
                return equal_jitter(ceiling_s, uniform)
            case Jitter.DECORRELATED:
                widest_s = 3 * max(base_s, previous_delay_s)
                return min(self.max_delay_s, base_s + (widest_s - base_s) * uniform)
            case _:  # pragma: no cover - unreachable, and the type checkers hold it so
                assert_never(self.jitter)

    def delay_before_next_s(self, failed: FailedAttempt) -> float | None:
        """Return the seconds to wait before the next attempt, or None to give up."""
        if failed.number >= self.max_attempts or not failed.may_be_retried:
            return None
        verdict = failed.verdict
        if verdict.retry_after_s is not None and verdict.retry_after_s > self.max_retry_after_s:
            return None
        backoff_s = self.delay_for_attempt(
            failed.number,
            uniform=failed.uniform,
            previous_delay_s=failed.previous_delay_s,
            throttled=verdict.outcome is Outcome.REJECTED_BY_PEER,
        )
        return max(backoff_s, verdict.least_delay_s(failed.uniform))


_: type[RetryStrategy] = RetryPolicy
