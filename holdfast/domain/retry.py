"""Calling again what failed.

Responsibility: the loop: call, ask the strategy about a failure, sleep, call again.
Guarantees: a first attempt that succeeds reads the clock once, and enters the budget if there is one; nothing is held
    while sleeping, because every permit is taken and given back inside the attempt; no delay outlasts the deadline; the
    last attempt's own error surfaces as the same object, with a note; a cancellation passes through untouched and is
    never retried.
Not responsible for: when to retry (`holdfast.ports.retry.RetryStrategy`), how much of the load may be retries
    (`holdfast.domain.retry_budget`), what an error means (`holdfast.domain.outcomes`), cutting an attempt off
    (`holdfast.domain.timeout`), counting attempts (the caller's `work` can).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from holdfast.domain.deadline import Deadline
from holdfast.domain.outcomes import Classifier, classify
from holdfast.domain.retry_budget import RetryBudget
from holdfast.domain.retry_policy import RetryPolicy
from holdfast.ports.clock import Clock
from holdfast.ports.errors import RefusedError
from holdfast.ports.events import EventSink, RetryRefused, RetryScheduled
from holdfast.ports.outcome import Outcome
from holdfast.ports.retry import FailedAttempt, RetryStrategy

__all__ = ["Retry"]

T = TypeVar("T")


class Retry:
    """Calls again what failed, for as long as a strategy says so. One instance serves any number of concurrent callers.

    Args:
        strategy: decides after each failure.
        clock: monotonic time, and the sleep between attempts.
        random: returns a random number in [0, 1).
        classify: says what an error means.
        budget: asked before each retry that the strategy allows, and told of every attempt; shared by all that call the
            same peer. None leaves the number of retries to the strategy alone.
        events: told of each failed attempt, and whether another one follows.
        name: what events call the peer.

    Example:
        >>> import anyio, random
        >>> from holdfast.testing import ManualClock
        >>> answers = iter([ConnectionResetError(), "42"])
        >>> async def work():
        ...     if isinstance(answer := next(answers), Exception):
        ...         raise answer
        ...     return answer
        >>> anyio.run(Retry(clock=ManualClock(), random=random.random).call, work)
        '42'
    """

    __slots__ = ("_budget", "_classify", "_clock", "_events", "_name", "_random", "_strategy")

    def __init__(  # noqa: PLR0913 - one for each port or rule
        self,
        strategy: RetryStrategy = RetryPolicy(),  # noqa: B008 - a frozen value
        *,
        clock: Clock,
        random: Callable[[], float],
        classify: Classifier = classify,
        budget: RetryBudget | None = None,
        events: EventSink | None = None,
        name: str = "",
    ) -> None:
        self._strategy = strategy
        self._clock = clock
        self._random = random
        self._classify = classify
        self._budget = budget
        self._events = events
        self._name = name

    def follow(self, strategy: RetryStrategy) -> None:
        """Let `strategy` decide from the next failure on, also for those who are between two attempts."""
        self._strategy = strategy

    async def call(self, work: Callable[[], Awaitable[T]], *, deadline: Deadline | None = None) -> T:
        """Return what `work` returns, from the first attempt that does not fail.

        Args:
            work: called once for each attempt.
            deadline: a delay that would last until then or longer is refused; None never refuses one.

        Raises:
            Exception: whatever the last attempt raised, with a note that tells how many were made and why no more. A
                refusal of our own, which says nothing about the peer, is such a note on the failure before it.

        Cancellation: passes through as it is, during an attempt as well as between two; nothing is left behind.
        """
        began_s = self._clock.monotonic_s()
        permit = None if self._budget is None else self._budget.begin()
        number = 1
        delay_s = slept_s = 0.0
        failure: Exception | None = None  # the last one of the peer's
        try:
            while True:
                try:
                    result = await work()
                except Exception as error:  # noqa: BLE001 - raised below, unless another attempt follows
                    verdict = self._classify(error)
                    if permit is not None:
                        permit.settle(verdict.outcome)
                    # Kept in no variable but `failure`, which is cleared: its traceback holds this frame.
                    decided_s = self._decide(
                        FailedAttempt(
                            number=number,
                            error=error,
                            verdict=verdict,
                            elapsed_s=self._clock.monotonic_s() - began_s,
                            previous_delay_s=delay_s,
                            slept_s=slept_s,
                            uniform=self._random(),
                        ),
                        deadline,
                    )
                    failure = _foremost(failure, error, number)
                else:
                    if permit is not None:
                        permit.settle(Outcome.SUCCESS)
                        permit = None
                    return result
                # Outside of the handler, so that nothing that happens from here on is chained to this error.
                if decided_s is None:
                    break
                if self._budget is not None and (permit := self._budget.try_spend()) is None:
                    elapsed_s = self._clock.monotonic_s() - began_s
                    self._give_up(failure, number, elapsed_s, "budget", "the retry budget is spent")
                    break
                self._tell_scheduled(failure, number, decided_s)
                await self._clock.sleep(decided_s)
                if permit is not None and not permit.try_begin():
                    elapsed_s = self._clock.monotonic_s() - began_s
                    words = "the retry budget is spent on others in flight"
                    self._give_up(failure, number, elapsed_s, "budget_in_flight", words)
                    break
                number += 1
                delay_s = decided_s
                slept_s += decided_s
            raise failure
        finally:
            failure = None  # or this frame and the error's traceback would keep each other alive
            if permit is not None:  # cancelled, or settled already
                permit.settle(None)

    def _decide(self, failed: FailedAttempt, deadline: Deadline | None) -> float | None:
        delay_s = self._strategy.delay_before_next_s(failed)
        if delay_s is None and failed.may_be_retried:
            reason, words = "strategy", "the retry strategy allows no further one"
        elif delay_s is None:
            reason, words = "of_no_use", "no retry can help with this"
        elif deadline is not None and delay_s >= (left_s := deadline.remaining_s()):
            reason, words = "deadline", f"the next, in {delay_s:.3g} s, would miss the deadline in {left_s:.3g} s"
        else:
            return delay_s
        self._give_up(failed.error, failed.number, failed.elapsed_s, reason, words)
        return None

    def _give_up(self, error: Exception, number: int, elapsed_s: float, reason: str, words: str) -> None:
        attempts = "1 attempt" if number == 1 else f"{number} attempts"
        error.add_note(f"holdfast: {attempts} in {elapsed_s:.3g} s; {words}")
        if self._events is not None:
            self._events.emit(
                RetryRefused(backend=self._name, attempt=number, reason=reason, error=type(error).__name__)
            )

    def _tell_scheduled(self, error: Exception, number: int, delay_s: float) -> None:
        if self._events is not None:
            self._events.emit(
                RetryScheduled(backend=self._name, attempt=number, delay_s=delay_s, error=type(error).__name__)
            )


def _foremost(failure: Exception | None, error: Exception, number: int) -> Exception:
    """Return `error`, or the failure before it if `error` is a refusal of our own: that says nothing about the peer."""
    if failure is None or not isinstance(error, RefusedError):
        return error
    failure.add_note(f"holdfast: attempt {number} was refused: {type(error).__name__}: {error}")
    return failure
