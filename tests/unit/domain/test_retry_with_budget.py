"""`Retry` drawing on a `RetryBudget`."""

from __future__ import annotations

import gc
import weakref

import anyio
import pytest

from holdfast.domain.deadline import Deadline
from holdfast.domain.retry import Retry
from holdfast.domain.retry_budget import RetryBudget, RetryBudgetConfig
from holdfast.domain.retry_policy import Jitter, RetryPolicy
from holdfast.ports.errors import BackendRequestError, BackendThrottledError, BreakerOpenError
from holdfast.ports.outcome import Outcome
from holdfast.ports.statistics import RetryBudgetStatistics
from holdfast.testing import VirtualClock

pytestmark = pytest.mark.anyio

POLICY = RetryPolicy(jitter=Jitter.NONE, base_delay_s=1.0)


class Failing:
    """Work that takes half a second, fails with the given errors, and then answers."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0
        self.ended_at_s = 0.0

    async def __call__(self) -> str:
        self.calls += 1
        await anyio.sleep(0.5)
        self.ended_at_s = anyio.current_time()
        if self._errors:
            raise self._errors.pop(0)
        return "answer"


def budget_of(*, min_retries: int = 3, window_s: float = 10.0) -> RetryBudget:
    return RetryBudget(RetryBudgetConfig(min_retries=min_retries, window_s=window_s), clock=VirtualClock())


def retry_on(budget: RetryBudget) -> Retry:
    return Retry(POLICY, clock=VirtualClock(), random=lambda: 0.5, budget=budget)


async def test_call_that_succeeds_at_once_earns_and_asks_for_nothing() -> None:
    budget = budget_of(min_retries=0)
    for _ in range(5):
        await retry_on(budget).call(Failing())

    statistics = budget.statistics()
    assert (statistics.tokens, statistics.asked, statistics.in_flight) == (1, 0, 0)


async def test_call_within_the_budget_is_retried() -> None:
    budget = budget_of()

    assert await retry_on(budget).call(Failing(ConnectionError(), ConnectionError())) == "answer"
    statistics = budget.statistics()
    assert (statistics.asked, statistics.retried, statistics.in_flight, statistics.tokens) == (2, 2, 0, 1)


async def test_call_without_a_token_raises_the_real_error_at_once_with_a_note() -> None:
    error = ConnectionError("down")
    work = Failing(error)

    with pytest.raises(ConnectionError) as caught:
        await retry_on(budget_of(min_retries=0)).call(work)

    assert caught.value is error
    assert error.__notes__ == ["holdfast: 1 attempt in 0.5 s; the retry budget is spent"]
    assert work.calls == 1
    assert anyio.current_time() == work.ended_at_s


async def test_call_without_room_in_flight_raises_the_real_error_when_it_is_due_with_a_note() -> None:
    budget = budget_of(min_retries=2)
    retry = retry_on(budget)
    error = ConnectionError("down")
    work = Failing(error)

    others = [budget.try_spend(), budget.try_spend()]

    async def crowd_out() -> None:
        await anyio.sleep(1.0)
        assert [other is not None and other.try_begin() for other in others] == [True, True]

    for _ in range(15):
        budget.begin().settle(Outcome.FAILURE)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(crowd_out)
        with pytest.raises(ConnectionError) as caught:
            await retry.call(work)

    assert caught.value is error
    assert error.__notes__ == ["holdfast: 1 attempt in 1.5 s; the retry budget is spent on others in flight"]
    assert work.calls == 1
    assert budget.statistics().without_room == 1


async def test_call_refused_by_the_budget_does_not_chain_and_leaves_no_reference_cycle() -> None:
    class Failure(Exception):  # noqa: N818 - unlike the builtin ones, it can be referred to weakly
        pass

    last: list[tuple[weakref.ref[Failure], BaseException | None]] = []
    gc.disable()
    try:
        try:
            await retry_on(budget_of(min_retries=1)).call(Failing(Failure("first"), Failure("second")))
        except Failure as failure:
            last.append((weakref.ref(failure), failure.__context__))

        assert [(reference(), context) for reference, context in last] == [(None, None)]
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "error",
    [
        BackendThrottledError(backend="a", retry_allowed=False),
        BackendRequestError("too long", backend="a"),
        BreakerOpenError(breaker="a", retry_after_s=1.0),
    ],
    ids=["never retry", "caller's mistake", "our own refusal"],
)
async def test_call_that_no_retry_can_help_asks_for_none(error: Exception) -> None:
    budget = budget_of()
    work = Failing(error)

    with pytest.raises(type(error)):
        await retry_on(budget).call(work)

    assert (work.calls, budget.statistics().asked) == (1, 0)


async def test_call_whose_retry_would_miss_the_deadline_asks_for_none() -> None:
    budget = budget_of()

    with pytest.raises(ConnectionError):
        await retry_on(budget).call(Failing(ConnectionError()), deadline=Deadline.after(1.2, VirtualClock()))

    assert budget.statistics().asked == 0


async def test_call_that_fails_earns() -> None:
    budget = budget_of(min_retries=0, window_s=100.0)
    for _ in range(4):
        with pytest.raises(ConnectionError):
            await retry_on(budget).call(Failing(ConnectionError()))

    assert budget.statistics().tokens == 0
    with pytest.raises(ConnectionError):
        await retry_on(budget).call(Failing(ConnectionError()))
    assert budget.statistics().tokens == 1


async def test_call_refused_by_ourselves_earns_nothing() -> None:
    budget = budget_of(min_retries=0, window_s=100.0)
    for _ in range(50):
        with pytest.raises(BreakerOpenError):
            await retry_on(budget).call(Failing(BreakerOpenError(breaker="a", retry_after_s=1.0)))

    assert budget.statistics().tokens == 0


async def test_call_holds_no_place_while_it_sleeps() -> None:
    budget = budget_of()
    seen: list[RetryBudgetStatistics] = []

    async def watch() -> None:
        for _ in range(3):
            seen.append(budget.statistics())
            await anyio.sleep(0.75)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(retry_on(budget).call, Failing(ConnectionError()))
        await anyio.sleep(0.25)
        await watch()

    in_flight = [(statistics.in_flight, statistics.retries_in_flight, statistics.waiting) for statistics in seen]
    assert in_flight == [(1, 0, 0), (0, 0, 1), (1, 1, 0)]


async def test_calls_that_all_fail_are_retried_for_a_fifth_of_them_at_most() -> None:
    budget = budget_of()
    retry = retry_on(budget)
    made = 0

    async def work() -> None:
        nonlocal made
        made += 1
        await anyio.sleep(0.01 * (made % 100))
        raise ConnectionError

    async def caller() -> None:
        with pytest.raises(ConnectionError):
            await retry.call(work)

    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(caller)

    statistics = budget.statistics()
    assert 1000 < made <= 1200
    assert made == 1000 + statistics.retried
    assert statistics.asked == statistics.without_token + statistics.without_room + statistics.retried
    assert (statistics.in_flight, statistics.waiting) == (0, 0)


@pytest.mark.parametrize(("at_s", "tokens"), [(0.25, 3), (1.0, 3), (1.75, 2)], ids=["first", "sleeping", "retrying"])
async def test_call_cancelled_gives_back_what_it_holds_and_a_token_it_has_not_used(at_s: float, tokens: int) -> None:
    budget = budget_of()

    with anyio.move_on_after(at_s) as scope:
        await retry_on(budget).call(Failing(ConnectionError()))

    statistics = budget.statistics()
    assert scope.cancelled_caught
    assert (statistics.in_flight, statistics.retries_in_flight, statistics.waiting) == (0, 0, 0)
    assert statistics.tokens == tokens


async def test_calls_cancelled_during_their_retries_do_not_buy_more_of_them() -> None:
    budget = budget_of()
    policy = RetryPolicy(jitter=Jitter.NONE, base_delay_s=0.01)
    retry = Retry(policy, clock=VirtualClock(), random=lambda: 0.5, budget=budget)
    made = 0

    async def work() -> None:
        nonlocal made
        made += 1
        await anyio.sleep(0.01)
        raise ConnectionError

    async def caller() -> None:
        with anyio.move_on_after(0.025), pytest.raises(ConnectionError):
            await retry.call(work)

    for _ in range(100):
        await caller()

    assert budget.statistics().in_flight == 0
    assert 100 < made <= 120


async def test_call_that_ends_with_what_is_no_exception_gives_its_place_back() -> None:
    budget = budget_of()

    async def work() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await retry_on(budget).call(work)

    assert budget.statistics().in_flight == 0
