from __future__ import annotations

import anyio
import pytest
from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_attempt,
    stop_after_delay,
    stop_before_delay,
    wait_fixed,
)
from tenacity.retry import RetryBaseT

from holdfast.adapters.tenacity import TenacityStrategy
from holdfast.domain.deadline import Deadline
from holdfast.domain.retry import Retry
from holdfast.ports.errors import BackendRequestError, BackendThrottledError
from holdfast.testing import VirtualClock

pytestmark = pytest.mark.anyio

RETRIES_ANYTHING: list[RetryBaseT] = [
    retry_if_not_exception_type(ValueError),
    retry_if_exception(lambda _: True),
    retry_if_exception_type(BaseException),
    lambda _: True,
]


class Failing:
    """Work of one second that always fails, with a new error each time."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.attempts = 0

    async def __call__(self) -> None:
        self.attempts += 1
        await anyio.sleep(1.0)
        raise self._errors.pop(0) if self._errors else ConnectionError(str(self.attempts))


def retry(strategy: TenacityStrategy) -> Retry:
    return Retry(strategy, clock=VirtualClock(), random=lambda: 0.5)


async def test_call_with_a_tenacity_stop_surfaces_the_last_error_and_not_a_retry_error() -> None:
    work = Failing()

    with pytest.raises(ConnectionError, match="3") as caught:
        await retry(TenacityStrategy(stop=stop_after_attempt(3), wait=wait_fixed(2))).call(work)

    assert work.attempts == 3
    assert caught.value.__notes__ == ["holdfast: 3 attempts in 7 s; the retry strategy allows no further one"]


async def test_call_with_a_tenacity_delay_stop_counts_virtual_seconds() -> None:
    after, before = Failing(), Failing()

    with pytest.raises(ConnectionError):
        await retry(TenacityStrategy(stop=stop_after_delay(9), wait=wait_fixed(2))).call(after)
    with pytest.raises(ConnectionError):
        await retry(TenacityStrategy(stop=stop_before_delay(9), wait=wait_fixed(2))).call(before)

    assert after.attempts == 4
    assert before.attempts == 3


async def test_call_with_tenacity_never_outlasts_our_deadline() -> None:
    clock = VirtualClock()
    work = Failing()

    with pytest.raises(ConnectionError):
        await retry(TenacityStrategy(stop=stop_after_attempt(100), wait=wait_fixed(2))).call(
            work, deadline=Deadline.after(5.0, clock)
        )

    assert work.attempts == 2


async def test_call_with_tenacity_does_not_retry_a_callers_mistake_that_tenacity_would() -> None:
    work = Failing(BackendRequestError("too long", backend="a"))

    with pytest.raises(BackendRequestError):
        await retry(TenacityStrategy(stop=stop_after_attempt(3), wait=wait_fixed(2))).call(work)

    assert work.attempts == 1


async def test_call_with_tenacity_told_never_to_retry_stops() -> None:
    work = Failing(BackendThrottledError(backend="a", retry_allowed=False))

    with pytest.raises(BackendThrottledError):
        await retry(TenacityStrategy(stop=stop_after_attempt(3), wait=wait_fixed(2))).call(work)

    assert work.attempts == 1


@pytest.mark.parametrize("rule", RETRIES_ANYTHING)
@pytest.mark.parametrize("at_s", [0.5, 2.0], ids=["during an attempt", "between two attempts"])
async def test_call_with_a_predicate_that_retries_anything_still_ends_when_cancelled(
    rule: RetryBaseT, at_s: float
) -> None:
    work = Failing()
    policy = retry(TenacityStrategy(stop=stop_after_attempt(5), wait=wait_fixed(2), retry=rule))

    with anyio.move_on_after(at_s) as scope:
        await policy.call(work)
    await anyio.sleep(60)

    assert scope.cancelled_caught
    assert work.attempts == 1


async def test_callers_that_share_one_strategy_do_not_mix_up_their_attempts() -> None:
    shared = retry(
        TenacityStrategy.of(AsyncRetrying(stop=stop_after_attempt(3), wait=wait_fixed(2), retry=lambda _: True))
    )
    works = [Failing() for _ in range(5)]

    async def caller(work: Failing) -> None:
        with pytest.raises(ConnectionError):
            await shared.call(work)

    async with anyio.create_task_group() as tasks:
        for work in works:
            tasks.start_soon(caller, work)

    assert [work.attempts for work in works] == [3, 3, 3, 3, 3]
