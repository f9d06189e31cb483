"""Asking a second time when the first answer takes long.

Responsibility: run an attempt, a second one beside it once it is slower than nearly all before, and take the first
    answer.
Guarantees: second attempts are never more than the configured share of the calls, and draw on the budget of the
    retries; by the time an answer is returned or an error raised, both attempts are over, and what they held is free; a
    cancellation reaches both and passes through as it is; until enough latencies are known, an attempt runs alone, in
    the caller's task, for the price of two readings of the clock.
Not responsible for: whether asking twice does harm: the caller hedges only what is idempotent; when to hedge
    (`holdfast.domain.hedge_core`); calling again what failed (`holdfast.domain.retry`).
Sources: see `holdfast.domain.hedge_core`; why it is built so: adr/0020.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import anyio

from holdfast.domain.cancellation import is_cancellation
from holdfast.domain.compose import Policy
from holdfast.domain.deadline import Deadline
from holdfast.domain.hedge_core import HedgeConfig, HedgeCore, HedgeEnd
from holdfast.domain.outcomes import Classifier, classify
from holdfast.domain.retry_budget import RetryBudget
from holdfast.ports.clock import Clock
from holdfast.ports.events import EventSink
from holdfast.ports.outcome import Outcome
from holdfast.ports.statistics import HedgeStatistics

__all__ = ["Hedge", "HedgeConfig"]

T = TypeVar("T")


class Hedge:
    """Asks one peer a second time when it is slow. One instance serves any number of concurrent callers of one loop.

    Args:
        name: the peer's, in events.
        config: see `HedgeConfig`.
        budget: that of the peer's retries; a second attempt is one of them.
        clock: monotonic time, and the wait before the second attempt.
        classify: what an error means, for the budget.
        events: who hears of hedges.

    Example:
        >>> from holdfast.testing import VirtualClock
        >>> clock = VirtualClock()
        >>> hedge = Hedge("echo", HedgeConfig(min_samples=20), budget=RetryBudget(clock=clock), clock=clock)
        >>> pauses_s = iter([0.0] * 20 + [3600.0, 0.0])
        >>> async def work():
        ...     await clock.sleep(next(pauses_s))
        ...     return "42"
        >>> async def main():
        ...     answers = [await hedge.call(work) for _ in range(21)]
        ...     return answers[-1], hedge.statistics().won
        >>> anyio.run(main)
        ('42', 1)
    """

    __slots__ = ("_classify", "_clock", "_core")

    def __init__(
        self,
        name: str,
        config: HedgeConfig = HedgeConfig(),  # noqa: B008 - frozen
        *,
        budget: RetryBudget,
        clock: Clock,
        classify: Classifier = classify,
        events: EventSink | None = None,
    ) -> None:
        self._core = HedgeCore(name, config, budget=budget, events=events)
        self._clock = clock
        self._classify = classify

    async def call(self, work: Callable[[], Awaitable[T]], *, deadline: Deadline | None = None) -> T:
        """Return the first answer of `work`, which is called once, or twice at once.

        A first attempt that fails before the second has begun fails the call. After that, whichever attempt is left is
        waited for.

        Args:
            work: idempotent.
            deadline: of the whole request; whoever set it cancels the work then.

        Raises:
            Exception: whatever the first attempt raised, the same object; if there was a second one, with a note that
                says how that failed.

        Cancellation: cancels both attempts and waits for them. The attempt that lost is cancelled too, and waited for:
            one that takes long to clean up delays the answer.
        """
        del deadline  # the door cancels at the deadline, and the policies inside are told of it by themselves
        delay_s = self._core.begin()
        began_s = self._clock.monotonic_s()
        if delay_s is None:
            value = await work()
            self._core.record(self._clock.monotonic_s() - began_s)
            return value
        return await self._race(_Race(work, began_s), delay_s)

    def statistics(self) -> HedgeStatistics:
        """Return what was counted so far, and the delay that holds now."""
        return self._core.statistics()

    async def _race(self, race: _Race[T], delay_s: float) -> T:
        try:
            await self._run_both(race, delay_s)
            return race.result()
        finally:
            race.failure = None  # its traceback leads back here: neither would be freed without the other
            if race.is_hedged:
                self._core.settle(race.end)

    async def _run_both(self, race: _Race[T], delay_s: float) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                race.scope = tasks.cancel_scope
                tasks.start_soon(self._run_second, race, delay_s)
                await self._run_first(race)
        except BaseExceptionGroup as group:
            # Wrapped by the task group, which is our own affair. Under trio a cancellation may stand beside it.
            cancelled = anyio.get_cancelled_exc_class()
            fatal = next(error for error in group.exceptions if not isinstance(error, cancelled))
        else:
            return
        try:
            raise fatal
        finally:
            del fatal  # as above

    async def _run_first(self, race: _Race[T]) -> None:
        try:
            value = await race.work()
        except Exception as error:  # noqa: BLE001 - raised by `_Race.result`, unless the second attempt answers
            race.failure = error
            if not race.is_hedged:
                race.scope.cancel()
        except BaseException as raised:
            race.failure = raised
            raise
        else:
            if race.answer(value, HedgeEnd.LOST):
                self._core.record(self._clock.monotonic_s() - race.began_s)

    async def _run_second(self, race: _Race[T], delay_s: float) -> None:
        await self._clock.sleep(delay_s)
        # The first attempt may have ended at this very moment.
        if race.scope.cancel_called or (permit := self._core.try_launch(delay_s)) is None:
            return
        race.is_hedged = True
        outcome = None
        try:
            value = await race.work()
        except Exception as error:  # noqa: BLE001 - told in a note, if the first attempt does not answer either
            outcome = self._classify(error).outcome
            race.note = f"{type(error).__name__}: {error}"
        except BaseException as raised:
            if not is_cancellation(raised) or anyio.current_effective_deadline() == -math.inf:
                raise
            # Nothing around this attempt was cancelled: something inside of it was, and asyncio let that out. Raised
            # here, it would cancel the first attempt too.
            race.note = "cancelled from within"
        else:
            outcome = Outcome.SUCCESS
            if race.answer(value, HedgeEnd.WON) and race.failure is None:
                self._core.record(self._clock.monotonic_s() - race.began_s)
        finally:
            permit.settle(outcome)


class _Race(Generic[T]):
    """One call, as its two attempts share it.

    Attributes:
        scope: around both attempts.
        is_hedged: whether there is a second one.
        end: how the call ends for the statistics; ABANDONED until something else is known.
        failure: what the first attempt raised.
        note: how the second one failed.
    """

    __slots__ = ("_value", "began_s", "end", "failure", "is_hedged", "note", "scope", "work")

    _value: T
    scope: anyio.CancelScope

    def __init__(self, work: Callable[[], Awaitable[T]], began_s: float) -> None:
        self.work = work
        self.began_s = began_s
        self.is_hedged = False
        self.end = HedgeEnd.ABANDONED
        self.failure: BaseException | None = None
        self.note: str | None = None

    def answer(self, value: T, end: HedgeEnd) -> bool:
        """End the call with an answer and cancel the other attempt; return False if that one had answered before."""
        if self.end is not HedgeEnd.ABANDONED:
            return False
        self._value = value
        self.end = end
        self.scope.cancel()
        return True

    def result(self) -> T:
        """Return the answer; once both attempts are over."""
        failure = self.failure
        if self.end is not HedgeEnd.ABANDONED or failure is None:
            return self._value
        self.end = HedgeEnd.FAILED
        if self.note is not None:
            failure.add_note(f"holdfast: a second attempt was made beside this one, and failed too; {self.note}")
        try:
            raise failure
        finally:
            del failure  # or this frame and its traceback would keep each other alive


_: Final[type[Policy]] = Hedge
