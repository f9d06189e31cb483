"""What a retry tells of its decisions."""

from __future__ import annotations

import anyio
import pytest

from holdfast.domain.deadline import Deadline
from holdfast.domain.retry import Retry
from holdfast.domain.retry_budget import RetryBudget, RetryBudgetConfig
from holdfast.domain.retry_policy import Jitter, RetryPolicy
from holdfast.ports.errors import BackendRequestError, BackendThrottledError
from holdfast.ports.events import RetryRefused, RetryScheduled
from holdfast.ports.outcome import Outcome
from holdfast.testing import VirtualClock
from tests.fakes.events import Listener

pytestmark = pytest.mark.anyio

POLICY = RetryPolicy(jitter=Jitter.NONE, base_delay_s=1.0)


class Failing:
    """Work that fails with the given errors, and then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self._errors = list(errors)

    async def __call__(self) -> str:
        await anyio.sleep(0.5)
        if self._errors:
            raise self._errors.pop(0)
        return "answer"


@pytest.fixture
def told() -> Listener:
    return Listener()


def retry(told: Listener, budget: RetryBudget | None = None) -> Retry:
    return Retry(POLICY, clock=VirtualClock(), random=lambda: 0.5, budget=budget, events=told, name="echo")


def budget_of(min_retries: int) -> RetryBudget:
    return RetryBudget(RetryBudgetConfig(min_retries=min_retries), clock=VirtualClock())


async def test_call_that_succeeds_at_once_tells_nothing(told: Listener) -> None:
    await retry(told).call(Failing())

    assert told.heard == []


async def test_call_that_is_retried_tells_each_pause_before_it_begins(told: Listener) -> None:
    told_at_s: list[float] = []
    told.then = lambda: told_at_s.append(anyio.current_time())
    began_s = anyio.current_time()

    await retry(told).call(Failing(ConnectionResetError(), ConnectionError()))

    assert told.heard == [
        RetryScheduled(backend="echo", attempt=1, delay_s=1.0, error="ConnectionResetError"),
        RetryScheduled(backend="echo", attempt=2, delay_s=2.0, error="ConnectionError"),
    ]
    assert told_at_s == pytest.approx([began_s + 0.5, began_s + 2.0])


async def test_call_that_runs_out_of_attempts_tells_that_the_strategy_refuses(told: Listener) -> None:
    with pytest.raises(ConnectionError):
        await retry(told).call(Failing(ConnectionError(), ConnectionError(), ConnectionError()))

    assert told.heard[-1] == RetryRefused(backend="echo", attempt=3, reason="strategy", error="ConnectionError")


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (BackendRequestError("too long", backend="echo"), "BackendRequestError"),
        (BackendThrottledError(backend="echo", retry_allowed=False), "BackendThrottledError"),
    ],
)
async def test_call_that_no_retry_can_help_tells_so(error: Exception, name: str, told: Listener) -> None:
    with pytest.raises(type(error)):
        await retry(told).call(Failing(error))

    assert told.heard == [RetryRefused(backend="echo", attempt=1, reason="of_no_use", error=name)]


async def test_call_whose_deadline_comes_first_tells_so(told: Listener) -> None:
    with pytest.raises(ConnectionError):
        await retry(told).call(Failing(ConnectionError()), deadline=Deadline.after(1.0, VirtualClock()))

    assert told.heard == [RetryRefused(backend="echo", attempt=1, reason="deadline", error="ConnectionError")]


async def test_call_without_a_token_tells_that_the_budget_refuses(told: Listener) -> None:
    with pytest.raises(ConnectionError):
        await retry(told, budget_of(min_retries=0)).call(Failing(ConnectionError()))

    assert told.heard == [RetryRefused(backend="echo", attempt=1, reason="budget", error="ConnectionError")]


async def test_call_without_room_in_flight_tells_so_after_its_pause(told: Listener) -> None:
    budget = budget_of(min_retries=2)
    others = [budget.try_spend(), budget.try_spend()]
    for _ in range(15):
        budget.begin().settle(Outcome.FAILURE)

    async def crowd_out() -> None:
        await anyio.sleep(1.0)
        assert [other is not None and other.try_begin() for other in others] == [True, True]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(crowd_out)
        with pytest.raises(ConnectionError):
            await retry(told, budget).call(Failing(ConnectionError()))

    assert told.heard == [
        RetryScheduled(backend="echo", attempt=1, delay_s=1.0, error="ConnectionError"),
        RetryRefused(backend="echo", attempt=1, reason="budget_in_flight", error="ConnectionError"),
    ]


async def test_sink_that_looks_sees_the_token_spent(told: Listener) -> None:
    budget = budget_of(min_retries=3)
    waiting: list[int] = []
    told.then = lambda: waiting.append(budget.statistics().waiting)

    await retry(told, budget).call(Failing(ConnectionError()))

    assert waiting == [1]


@pytest.mark.parametrize("after_s", [0.2, 1.0])
async def test_call_that_is_cancelled_tells_nothing_of_that(after_s: float, told: Listener) -> None:
    with anyio.move_on_after(after_s):
        await retry(told).call(Failing(ConnectionError()))

    assert [event for event in told.heard if not isinstance(event, RetryScheduled)] == []


async def test_call_without_a_sink_fails_as_it_does_with_one() -> None:
    error = ConnectionError()

    with pytest.raises(ConnectionError) as caught:
        await Retry(RetryPolicy(max_attempts=1), clock=VirtualClock(), random=lambda: 0.5).call(Failing(error))

    assert caught.value is error
