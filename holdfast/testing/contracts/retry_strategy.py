"""What every retry strategy must hold.

Responsibility: the contract of `holdfast.ports.retry.RetryStrategy`, as a pytest class to derive from.
Guarantees: a strategy that passes gives up in time, obeys the peer, and serves concurrent callers.
Not responsible for: how long its delays are.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import pytest

from holdfast.ports.outcome import Outcome, Verdict
from holdfast.ports.retry import FailedAttempt, RetryStrategy

__all__ = ["RetryStrategyContract"]

_MAX_ATTEMPTS = 4
_FAILED = Verdict(outcome=Outcome.FAILURE)


def _failed(number: int, verdict: Verdict = _FAILED, *, uniform: float = 0.5) -> FailedAttempt:
    return FailedAttempt(
        number=number,
        error=ConnectionError("down"),
        verdict=verdict,
        elapsed_s=0.1 * number,
        previous_delay_s=0.05 if number > 1 else 0.0,
        slept_s=0.05 * (number - 1),
        uniform=uniform,
    )


class RetryStrategyContract(ABC):
    """Derive from it, name the class ``Test…`` and make your strategy; pytest does the rest.

    Example:
        >>> class TestMyStrategy(RetryStrategyContract):
        ...     def make_strategy(self, *, max_attempts: int) -> RetryStrategy:
        ...         return MyStrategy(max_attempts=max_attempts)
    """

    @abstractmethod
    def make_strategy(self, *, max_attempts: int) -> RetryStrategy:
        """Return a strategy that retries a `ConnectionError` until `max_attempts` attempts were made in all."""

    @pytest.mark.parametrize("number", range(1, _MAX_ATTEMPTS))
    def test_delay_while_attempts_are_left_is_a_finite_number_of_seconds(self, number: int) -> None:
        """A delay can be slept, whatever chance has drawn."""
        strategy = self.make_strategy(max_attempts=_MAX_ATTEMPTS)

        for uniform in (0.0, 0.5, math.nextafter(1.0, 0.0)):
            delay_s = strategy.delay_before_next_s(_failed(number, uniform=uniform))

            assert delay_s is not None
            assert 0.0 <= delay_s < math.inf

    @pytest.mark.parametrize("number", [_MAX_ATTEMPTS, _MAX_ATTEMPTS + 1, 10_000])
    def test_delay_when_every_attempt_was_made_gives_up(self, number: int) -> None:
        """The bound on attempts holds."""
        strategy = self.make_strategy(max_attempts=_MAX_ATTEMPTS)

        assert strategy.delay_before_next_s(_failed(number)) is None

    @pytest.mark.parametrize("number", [10, 2_000, 100_000])
    def test_delay_after_very_many_attempts_is_still_a_finite_number(self, number: int) -> None:
        """Back-off does not overflow."""
        strategy = self.make_strategy(max_attempts=number + 1)

        delay_s = strategy.delay_before_next_s(_failed(number))

        assert delay_s is not None
        assert 0.0 <= delay_s < math.inf

    @pytest.mark.parametrize(
        "verdict",
        [
            Verdict(outcome=Outcome.FAILURE, retry_allowed=False),
            Verdict(outcome=Outcome.REJECTED_BY_PEER, retry_allowed=False),
            Verdict(outcome=Outcome.IGNORED),
            Verdict(outcome=Outcome.SUCCESS),
            Verdict(outcome=Outcome.SLOW),
        ],
        ids=lambda verdict: f"{verdict.outcome.value}-{verdict.retry_allowed}",
    )
    def test_delay_after_a_verdict_that_forbids_a_retry_gives_up(self, verdict: Verdict) -> None:
        """Nobody retries what was ignored, what did not fail, or what the peer wants never to see again."""
        strategy = self.make_strategy(max_attempts=_MAX_ATTEMPTS)

        assert strategy.delay_before_next_s(_failed(1, verdict)) is None

    @pytest.mark.parametrize("retry_after_s", [0.0, 1.0, 30.0, 3600.0, math.inf])
    def test_delay_after_push_back_is_never_shorter_than_the_peer_asked_for(self, retry_after_s: float) -> None:
        """Retry-After is obeyed or the call given up, and callers turned away together come back spread."""
        strategy = self.make_strategy(max_attempts=_MAX_ATTEMPTS)
        failed = _failed(1, Verdict(outcome=Outcome.REJECTED_BY_PEER, retry_after_s=retry_after_s))

        delay_s = strategy.delay_before_next_s(failed)

        assert delay_s is None or failed.verdict.least_delay_s(failed.uniform) <= delay_s < math.inf

    def test_delay_of_one_caller_does_not_depend_on_another(self) -> None:
        """One instance serves callers that are at different attempts, in any order."""
        strategy = self.make_strategy(max_attempts=_MAX_ATTEMPTS)
        others = [_MAX_ATTEMPTS, 1, _MAX_ATTEMPTS, 2, _MAX_ATTEMPTS]

        for number in range(1, _MAX_ATTEMPTS):
            for other in others:
                strategy.delay_before_next_s(_failed(other))

            assert strategy.delay_before_next_s(_failed(number)) is not None
        assert strategy.delay_before_next_s(_failed(_MAX_ATTEMPTS)) is None
