"""Hedging in virtual time: who answers, who is cancelled, and what is free when the answer comes."""

from __future__ import annotations

import contextlib
import gc
import itertools
import random
import weakref

import anyio
import pytest

from holdfast.domain.hedge import Hedge, HedgeConfig
from holdfast.domain.retry_budget import RetryBudget, RetryBudgetConfig
from holdfast.ports.events import HedgeLaunched, HedgeRefused, HedgeWon
from holdfast.testing import VirtualClock, virtual_backend
from tests.fakes.events import Listener

pytestmark = pytest.mark.anyio

USUAL_S = 1.0
WARM_UP = 100


class Scripted:
    """Work whose n-th attempt takes a while, and then answers with its number or raises; knows what runs."""

    def __init__(self, *attempts: float | tuple[float, BaseException]) -> None:
        self._attempts = attempts
        self.begun = 0
        self.running = 0
        self.cancelled: list[int] = []

    async def __call__(self) -> int:
        number = self.begun
        self.begun += 1
        attempt = self._attempts[number]
        delay_s, error = attempt if isinstance(attempt, tuple) else (attempt, None)
        self.running += 1
        try:
            await anyio.sleep(delay_s)
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(number)
            raise
        finally:
            self.running -= 1
        if error is not None:
            raise error
        return number


def roomy() -> RetryBudget:
    return RetryBudget(RetryBudgetConfig(min_retries=1_000_000), clock=VirtualClock())


async def warmed_up(
    config: HedgeConfig | None = None, *, budget: RetryBudget | None = None, events: Listener | None = None
) -> Hedge:
    """Return a hedge that knows a hundred calls of one second each."""
    hedge = Hedge("a", config or HedgeConfig(), budget=budget or roomy(), clock=VirtualClock(), events=events)
    async with anyio.create_task_group() as tasks:
        for _ in range(WARM_UP):
            tasks.start_soon(hedge.call, lambda: anyio.sleep(USUAL_S))
    return hedge


def assert_nothing_runs(hedge: Hedge, budget: RetryBudget) -> None:
    statistics = hedge.statistics()
    assert statistics.running == 0
    assert statistics.hedged == statistics.won + statistics.lost + statistics.failed + statistics.abandoned
    assert budget.statistics().retries_in_flight == budget.statistics().waiting == 0


async def test_call_before_enough_latencies_are_known_is_never_hedged() -> None:
    hedge = Hedge("a", budget=roomy(), clock=VirtualClock())
    work = Scripted(*[100.0] * 99)

    for number in range(99):
        assert await hedge.call(work) == number

    statistics = hedge.statistics()
    assert (statistics.calls, statistics.samples, statistics.due) == (99, 99, 0)


async def test_call_faster_than_the_95th_percentile_runs_once() -> None:
    hedge = await warmed_up()
    work = Scripted(0.9)

    assert await hedge.call(work) == 0
    assert (work.begun, hedge.statistics().due) == (1, 0)


async def test_call_slower_than_the_95th_percentile_is_begun_again_beside_the_first_which_loses() -> None:
    listener = Listener()
    hedge = await warmed_up(events=listener)
    delay_s = hedge.statistics().delay_s
    assert delay_s is not None
    work = Scripted(60.0, 0.5)
    began_s = anyio.current_time()

    answer = await hedge.call(work)

    assert anyio.current_time() - began_s == pytest.approx(USUAL_S + 0.5)
    assert answer == 1
    assert (work.begun, work.running, work.cancelled) == (2, 0, [0])
    assert (hedge.statistics().won, hedge.statistics().hedged) == (1, 1)
    assert listener.heard == [HedgeLaunched(backend="a", after_s=delay_s), HedgeWon(backend="a")]


async def test_call_whose_first_attempt_answers_after_all_cancels_the_second() -> None:
    hedge = await warmed_up()
    work = Scripted(1.5, 60.0)

    assert await hedge.call(work) == 0
    assert (work.running, work.cancelled, hedge.statistics().lost) == (0, [1], 1)


async def test_call_returns_only_when_the_loser_has_cleaned_up_and_its_permit_is_back() -> None:
    budget = roomy()
    hedge = await warmed_up(budget=budget)
    cleaned: list[str] = []
    attempts = iter([60.0, 0.5])

    async def work() -> str:
        delay_s = next(attempts)
        try:
            await anyio.sleep(delay_s)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await anyio.sleep(3.0)
            cleaned.append("first")
            raise
        return "second"

    answer = await hedge.call(work)

    assert (answer, cleaned) == ("second", ["first"])
    assert_nothing_runs(hedge, budget)


async def test_call_of_three_slow_attempts_makes_two_at_most() -> None:
    hedge = await warmed_up()
    work = Scripted(50.0, 60.0)

    assert await hedge.call(work) == 0
    assert work.begun == 2


async def test_call_that_fails_before_it_is_hedged_raises_the_same_object_at_once() -> None:
    hedge = await warmed_up()
    error = ConnectionError("refused")
    began_s = anyio.current_time()

    with pytest.raises(ConnectionError) as caught:
        await hedge.call(Scripted((0.5, error)))

    assert caught.value is error
    assert anyio.current_time() - began_s == pytest.approx(0.5)
    assert (hedge.statistics().due, getattr(error, "__notes__", [])) == (0, [])


async def test_call_whose_second_attempt_fails_waits_for_the_first() -> None:
    hedge = await warmed_up()
    work = Scripted(5.0, (0.5, ConnectionError()))

    assert await hedge.call(work) == 0
    assert (work.cancelled, hedge.statistics().lost) == ([], 1)


async def test_call_whose_first_attempt_fails_waits_for_the_second() -> None:
    hedge = await warmed_up()
    work = Scripted((2.0, ConnectionError()), 5.0)

    assert await hedge.call(work) == 1
    assert (work.cancelled, hedge.statistics().won) == ([], 1)


@pytest.mark.parametrize(("first_s", "second_s"), [(2.0, 5.0), (5.0, 2.0)])
async def test_call_whose_attempts_both_fail_raises_the_first_ones_error_and_notes_the_other(
    first_s: float, second_s: float
) -> None:
    budget = roomy()
    hedge = await warmed_up(budget=budget)
    first, second = ConnectionError("first"), ValueError("second")

    with pytest.raises(ConnectionError) as caught:
        await hedge.call(Scripted((first_s, first), (second_s, second)))

    assert caught.value is first
    assert any("ValueError: second" in note for note in first.__notes__)
    assert hedge.statistics().failed == 1
    assert_nothing_runs(hedge, budget)


async def test_call_whose_attempts_answer_at_the_same_moment_returns_one_of_them() -> None:
    budget = roomy()
    hedge = await warmed_up(budget=budget)

    for _ in range(5):
        assert await hedge.call(Scripted(USUAL_S + 1.0, 1.0)) in {0, 1}

    assert hedge.statistics().hedged >= 1
    assert_nothing_runs(hedge, budget)


@pytest.mark.parametrize("winner", [0, 1])
async def test_call_whose_loser_cannot_be_cancelled_waits_for_it_and_keeps_the_first_answer(winner: int) -> None:
    budget = roomy()
    hedge = await warmed_up(budget=budget)
    began_s = anyio.current_time()
    numbers = itertools.count()

    async def work() -> int:
        number = next(numbers)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(3.0 if number == winner else 30.0)
        return number

    answer = await hedge.call(work)

    statistics = hedge.statistics()
    assert answer == winner
    assert anyio.current_time() - began_s >= 30.0
    assert (statistics.lost, statistics.won, statistics.samples) == (1 - winner, winner, WARM_UP + 1)
    assert_nothing_runs(hedge, budget)


class StubbornClock(VirtualClock):
    """Its sleep is over when it is over, cancelled or not: as a timer that has just fired."""

    async def sleep(self, delay_s: float) -> None:
        with anyio.CancelScope(shield=True):
            await super().sleep(delay_s)


async def test_call_answered_when_the_wait_for_the_second_attempt_is_over_makes_none() -> None:
    hedge = Hedge("a", HedgeConfig(min_samples=1, max_ratio=1.0), budget=roomy(), clock=StubbornClock())
    await hedge.call(lambda: anyio.sleep(USUAL_S))
    work = Scripted(0.5)

    assert await hedge.call(work) == 0
    assert (work.begun, hedge.statistics().due) == (1, 0)


async def test_call_that_ends_at_the_moment_at_which_it_would_be_hedged_is_not() -> None:
    hedge = await warmed_up()
    delay_s = hedge.statistics().delay_s
    assert delay_s is not None

    for _ in range(5):
        await hedge.call(Scripted(delay_s, 60.0))

    assert_nothing_runs(hedge, roomy())


async def test_call_without_a_token_of_the_retries_goes_on_with_its_first_attempt() -> None:
    listener = Listener()
    budget = RetryBudget(RetryBudgetConfig(min_retries=0), clock=VirtualClock())
    hedge = await warmed_up(budget=budget, events=listener)
    work = Scripted(60.0)

    assert await hedge.call(work) == 0
    assert (work.begun, hedge.statistics().without_token) == (1, 1)
    assert listener.heard == [HedgeRefused(backend="a", reason="without_token")]


async def test_call_that_is_refused_a_second_attempt_and_fails_later_raises_its_error() -> None:
    budget = RetryBudget(RetryBudgetConfig(min_retries=0), clock=VirtualClock())
    hedge = await warmed_up(budget=budget)
    error = ConnectionError()

    with pytest.raises(ConnectionError) as caught:
        await hedge.call(Scripted((60.0, error)))

    assert caught.value is error


async def test_calls_that_are_all_slow_after_a_warm_up_are_hedged_for_one_in_twenty() -> None:
    hedge = await warmed_up()
    attempts = 0

    async def slow() -> None:
        nonlocal attempts
        attempts += 1
        await anyio.sleep(60.0)

    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(hedge.call, slow)

    # Five were saved up in the warm-up; a thousand calls at once save no more than ten.
    assert hedge.statistics().hedged == 10
    assert attempts == 1010


async def test_samples_hold_a_lost_first_attempt_with_the_time_it_had_run_and_no_second_one() -> None:
    hedge = await warmed_up(HedgeConfig(percent=99, max_ratio=1.0))

    for _ in range(2):
        await hedge.call(Scripted(60.0, 0.5))  # lost after 1.5 s
    statistics = hedge.statistics()

    assert statistics.samples == WARM_UP + 2
    assert statistics.delay_s == pytest.approx(1.5)


async def test_samples_of_calls_that_failed_or_were_cancelled_are_none() -> None:
    hedge = await warmed_up()

    with pytest.raises(ConnectionError):
        await hedge.call(Scripted((0.1, ConnectionError())))
    with anyio.move_on_after(0.5):
        await hedge.call(Scripted(60.0))
    await hedge.call(Scripted((2.0, ConnectionError()), 5.0))

    assert hedge.statistics().samples == WARM_UP


async def test_delay_under_steady_load_is_the_percentile_of_unhedged_calls_however_many_are_hedged() -> None:
    chance = random.Random(1)
    hedge = await warmed_up(HedgeConfig(max_ratio=1.0))

    for _ in range(3000):
        await hedge.call(Scripted(30.0 if chance.random() < 0.04 else chance.random(), 0.5))

    statistics = hedge.statistics()
    assert statistics.delay_s == pytest.approx(0.95 / 0.96, abs=0.01)
    assert statistics.won > 100


async def test_cancel_from_outside_ends_both_attempts_and_is_no_error() -> None:
    budget = roomy()
    hedge = await warmed_up(budget=budget)
    work = Scripted(60.0, 60.0)

    with anyio.move_on_after(5.0) as scope:
        await hedge.call(work)

    assert scope.cancelled_caught
    assert (work.begun, work.running, sorted(work.cancelled)) == (2, 0, [0, 1])
    assert hedge.statistics().abandoned == 1
    assert_nothing_runs(hedge, budget)


async def test_cancel_from_outside_after_the_first_attempt_has_failed_ends_the_second() -> None:
    budget = roomy()
    hedge = await warmed_up(budget=budget)
    work = Scripted((2.0, ConnectionError()), 60.0)

    with anyio.move_on_after(5.0) as scope:
        await hedge.call(work)

    assert scope.cancelled_caught
    assert (work.running, work.cancelled, hedge.statistics().abandoned) == (0, [1], 1)
    assert_nothing_runs(hedge, budget)


class Fatal(BaseException):
    """Ends more than one call."""


@pytest.mark.parametrize("attempts", [(60.0, (2.0, Fatal("second"))), ((2.0, Fatal("first")), 60.0)])
async def test_call_attempt_that_raises_no_exception_surfaces_as_the_same_object(
    attempts: tuple[float | tuple[float, BaseException], ...],
) -> None:
    budget = roomy()
    hedge = await warmed_up(budget=budget)
    work = Scripted(*attempts)
    fatal = next(attempt[1] for attempt in attempts if isinstance(attempt, tuple))

    with pytest.raises(Fatal) as caught:
        await hedge.call(work)

    assert caught.value is fatal
    assert work.running == 0
    assert_nothing_runs(hedge, budget)


async def test_call_cancelled_whose_attempt_raises_no_exception_for_it_surfaces_that_and_keeps_nothing_alive() -> None:
    hedge = await warmed_up()
    raised: list[weakref.ref[Fatal]] = []
    numbers = itertools.count()
    surfaced = False

    async def work() -> None:
        is_first = next(numbers) == 0
        try:
            await anyio.sleep(60.0)
        finally:
            if is_first:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(1.0)  # until the second one has gone
                fatal = Fatal()
                raised.append(weakref.ref(fatal))
                try:
                    raise fatal
                finally:
                    del fatal

    gc.disable()
    try:
        with anyio.move_on_after(5.0):
            try:
                await hedge.call(work)
            except Fatal:
                surfaced = True
        alive = [fatal() for fatal in raised if fatal() is not None]
    finally:
        gc.enable()

    assert surfaced
    assert (len(raised), alive) == (1, [])
    assert hedge.statistics().abandoned == 1


async def test_call_that_raises_a_group_of_its_own_raises_that_group() -> None:
    hedge = await warmed_up()
    group = ExceptionGroup("mine", [ConnectionError(), ValueError()])

    with pytest.raises(ExceptionGroup) as caught:
        await hedge.call(Scripted((2.0, group), (60.0, ConnectionError())))

    assert caught.value is group


class Failure(Exception):  # noqa: N818 - reads as one
    """Can be referred to weakly."""


@pytest.mark.parametrize("second_s", [0.5, 60.0])
async def test_call_that_failed_keeps_nothing_alive(second_s: float) -> None:
    hedge = await warmed_up()
    failures: list[weakref.ref[Failure]] = []
    delays_s = iter([2.0, second_s])

    async def work() -> None:
        await anyio.sleep(next(delays_s))
        failure = Failure()
        failures.append(weakref.ref(failure))
        try:
            raise failure
        finally:
            del failure

    gc.disable()
    try:
        with contextlib.suppress(Failure):
            await hedge.call(work)
        alive = [failure() for failure in failures if failure() is not None]
    finally:
        gc.enable()

    assert (len(failures), alive) == (2, [])


@pytest.mark.parametrize("anyio_backend", [virtual_backend("asyncio")])
async def test_call_second_attempt_cancelled_from_within_leaves_the_first_alone() -> None:
    hedge = await warmed_up()
    attempts = iter([_sleep_5_s, _cancelled_future])

    async def work() -> str:
        return await next(attempts)()

    assert await hedge.call(work) == "slept"
    assert hedge.statistics().lost == 1


@pytest.mark.parametrize("anyio_backend", [virtual_backend("asyncio")])
async def test_call_both_attempts_cancelled_from_within_raises_what_the_first_raised() -> None:
    budget = roomy()
    hedge = await warmed_up(budget=budget)

    with pytest.raises(anyio.get_cancelled_exc_class()):
        await hedge.call(_cancelled_future)

    assert_nothing_runs(hedge, budget)


async def _sleep_5_s() -> str:
    await anyio.sleep(5.0)
    return "slept"


async def _cancelled_future() -> str:
    import asyncio  # noqa: PLC0415 - what a driver of asyncio does, and only on asyncio

    await anyio.sleep(2.0)
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    future.cancel()
    return await future


class BackwardClock(VirtualClock):
    """Is set back by an hour when told to."""

    def __init__(self) -> None:
        self.set_back_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() - self.set_back_s


async def test_clock_set_back_an_hour_during_a_call_changes_no_delay_and_no_answer() -> None:
    clock = BackwardClock()
    hedge = Hedge("a", HedgeConfig(min_samples=1), budget=roomy(), clock=clock)
    await hedge.call(lambda: anyio.sleep(USUAL_S))
    before = hedge.statistics()

    async def set_back() -> str:
        await anyio.sleep(0.5)
        clock.set_back_s += 3600.0
        return "answer"

    answer = await hedge.call(set_back)

    after = hedge.statistics()
    assert answer == "answer"
    assert (after.delay_s, after.samples) == (before.delay_s, before.samples)
