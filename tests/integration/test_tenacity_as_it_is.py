"""What ADR 0005 says of tenacity itself. A failure here means that a new version changed: read the ADR again."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from tenacity import (
    AsyncRetrying,
    RetryError,
    retry_always,
    retry_if_exception,
    retry_if_exception_message,
    retry_if_exception_type,
    retry_if_not_exception_message,
    retry_if_not_exception_type,
    retry_unless_exception_type,
    stop_after_attempt,
    wait_fixed,
)
from tenacity.retry import RetryBaseT

pytestmark = pytest.mark.anyio

RETRY_CANCELLATION: dict[str, RetryBaseT] = {
    "retry_if_not_exception_type": retry_if_not_exception_type(ValueError),
    "retry_unless_exception_type": retry_unless_exception_type(ValueError),
    "retry_if_not_exception_message": retry_if_not_exception_message("fatal"),
    "retry_if_exception": retry_if_exception(lambda error: not isinstance(error, ValueError)),
    "retry_always": retry_always,
}
LET_CANCELLATION_PASS: dict[str, RetryBaseT] = {
    "retry_if_exception_type": retry_if_exception_type(),
    "retry_if_exception_message": retry_if_exception_message("busy"),
}


async def attempts_after_task_cancel(retry: RetryBaseT) -> int:
    attempts = 0

    async def work() -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(1)

    task: asyncio.Task[None] = asyncio.create_task(AsyncRetrying(stop=stop_after_attempt(3), retry=retry)(work))
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return attempts


@pytest.mark.parametrize("name", RETRY_CANCELLATION)
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_tenacity_predicate_retries_a_cancelled_asyncio_task(name: str) -> None:
    assert await attempts_after_task_cancel(RETRY_CANCELLATION[name]) > 1


@pytest.mark.parametrize("name", LET_CANCELLATION_PASS)
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_tenacity_predicate_lets_a_cancelled_asyncio_task_end(name: str) -> None:
    assert await attempts_after_task_cancel(LET_CANCELLATION_PASS[name]) == 1


async def cancel_in_an_attempt_of(retrying: AsyncRetrying) -> int:
    attempts = 0

    async def work() -> None:
        nonlocal attempts
        attempts += 1
        await anyio.sleep(60)

    with anyio.move_on_after(1):
        await retrying(work)
    return attempts


@pytest.mark.parametrize("name", RETRY_CANCELLATION)
async def test_tenacity_predicate_turns_a_cancellation_in_the_last_attempt_into_a_retry_error(name: str) -> None:
    retrying = AsyncRetrying(stop=stop_after_attempt(1), retry=RETRY_CANCELLATION[name])

    with pytest.raises(RetryError):
        await cancel_in_an_attempt_of(retrying)


@pytest.mark.parametrize("name", RETRY_CANCELLATION)
async def test_tenacity_under_a_cancel_scope_is_stopped_by_its_own_sleep(name: str) -> None:
    retrying = AsyncRetrying(stop=stop_after_attempt(3), retry=RETRY_CANCELLATION[name])

    assert await cancel_in_an_attempt_of(retrying) == 1


async def test_tenacity_shared_by_callers_that_iterate_it_mixes_up_their_attempts() -> None:
    shared = AsyncRetrying(stop=stop_after_attempt(3), wait=wait_fixed(1), reraise=True)
    attempts = [0, 0]

    async def loop(which: int) -> None:
        async for attempt in shared:
            with attempt:
                attempts[which] += 1
                await anyio.sleep(0.1)
                raise ConnectionError

    async def caller(which: int) -> None:
        with pytest.raises(ConnectionError):
            await loop(which)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller, 0)
        tasks.start_soon(caller, 1)

    assert sum(attempts) < 6, "two callers, three attempts each"


async def test_tenacity_shared_by_callers_that_call_it_mixes_up_their_statistics_only() -> None:
    shared = AsyncRetrying(stop=stop_after_attempt(3), wait=wait_fixed(1), reraise=True)
    attempts = [0, 0]
    told: list[int] = []

    async def caller(which: int) -> None:
        async def work() -> None:
            attempts[which] += 1
            await anyio.sleep(0.1)
            raise ConnectionError

        with pytest.raises(ConnectionError):
            await shared(work)
        told.append(shared.statistics["attempt_number"])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller, 0)
        tasks.start_soon(caller, 1)

    assert attempts == [3, 3]
    assert told == [5, 5]
