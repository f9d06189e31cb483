from __future__ import annotations

import asyncio

import anyio
import pytest

from holdfast.domain.deduplicator import Deduplicator, Shared
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import ClosedError
from holdfast.ports.service import Disposition
from tests.fakes.deduplication import KEY, OTHER, Backend, Callers, Collapse, engine, run, settle

pytestmark = pytest.mark.anyio

# For what only asyncio can do, and for what depends on the order in which it runs what is ready.
ONLY_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)


async def test_closed_engine_refuses_every_request() -> None:
    async with engine() as shared:
        await run(shared, Backend())
        shared.close()

        with pytest.raises(ClosedError):
            await run(shared, Backend())
        with pytest.raises(ClosedError):
            shared.check_and_register(OTHER)

    assert shared.statistics().requests == 1


async def test_call_under_way_when_the_engine_closes_goes_on_for_its_waiters() -> None:
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        await callers.start(lambda: run(shared, Backend()))

        shared.close()

    assert callers.ended == [Shared(value="answer 1", disposition=Disposition.CALLED)]


async def test_leaving_the_engine_fails_the_waiters_then_cancels_the_calls_and_awaits_them() -> None:
    order: list[str] = []

    async def work(_: Urgency) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1.0)
            order.append("call ended")
        return "never"

    async def caller() -> Shared[str]:
        try:
            return await run(shared, work)
        finally:
            order.append("caller told")

    async with anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        async with engine() as shared:
            await callers.start(caller)
            await callers.start(caller)
        order.append("left")

    assert [type(error) for error in callers.errors] == [ClosedError, ClosedError]
    assert order == ["caller told", "caller told", "call ended", "left"]
    assert shared.statistics().in_flight == 0


@ONLY_ASYNCIO
async def test_call_that_had_not_begun_when_the_engine_was_left_never_begins() -> None:
    backend = Backend()
    told: list[Exception] = []

    async def caller(shared: Deduplicator[str], leave: anyio.Event) -> None:
        leave.set()
        with pytest.raises(ClosedError) as raised:
            await run(shared, backend)
        told.append(raised.value)

    async with anyio.create_task_group() as tasks:
        leave = anyio.Event()
        async with engine() as shared:
            tasks.start_soon(caller, shared, leave)
            await leave.wait()

    assert (backend.calls, len(told), shared.statistics().called) == (0, 1, 1)


async def test_engine_never_opened_refuses_every_request() -> None:
    with pytest.raises(ClosedError):
        await run(engine(), Backend())


async def test_engine_left_refuses_every_request_also_while_calls_still_end() -> None:
    async def slow_to_end(_: Urgency) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(10.0)
        return "never"

    async def late() -> Shared[str]:
        await anyio.sleep(1.0)
        return await run(shared, Backend())

    async with anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        async with engine() as shared:
            await callers.start(lambda: run(shared, slow_to_end))
            await callers.start(late)
        with pytest.raises(ClosedError):
            await run(shared, Backend())

    assert [type(error) for error in callers.errors] == [ClosedError, ClosedError]
    assert shared.statistics().requests == 1


async def test_engine_opened_again_refuses() -> None:
    shared = engine()
    async with shared:
        pass

    with pytest.raises(ClosedError):
        async with shared:
            pass


@pytest.mark.parametrize("error", [ValueError("body"), Collapse("body")])
async def test_error_of_the_body_leaves_the_engine_as_it_is(error: BaseException) -> None:
    async def body(callers: Callers) -> None:
        async with engine() as shared:
            await callers.start(lambda: run(shared, Backend()))
            raise error

    async with anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        with pytest.raises(type(error)) as raised:
            await body(callers)

    assert raised.value is error
    assert [type(error) for error in callers.errors] == [ClosedError]


async def test_cancellation_around_the_engine_passes_through_and_fails_the_waiters_outside() -> None:
    async with anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        with anyio.CancelScope() as scope:
            async with engine() as shared:
                await callers.start(lambda: run(shared, Backend()))
                scope.cancel()
                await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert [type(error) for error in callers.errors] == [ClosedError]


async def test_cancellation_around_the_engine_reaches_the_calls_before_the_body_notices() -> None:
    async with anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        with anyio.CancelScope() as scope:
            async with engine() as shared:
                await callers.start(lambda: run(shared, Backend()))
                with anyio.CancelScope(shield=True):
                    scope.cancel()
                    await settle()

                    assert [type(error) for error in callers.errors] == [ClosedError]


@ONLY_ASYNCIO
async def test_native_cancellation_of_the_body_passes_through_as_the_same_exception() -> None:
    seen: list[asyncio.CancelledError] = []

    async def body() -> None:
        async with engine() as shared:
            shared.check_and_register(KEY)
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError as error:
                seen.append(error)
                raise

    task = asyncio.ensure_future(body())
    await settle()
    task.cancel("from outside")

    with pytest.raises(asyncio.CancelledError) as raised:
        await task
    assert raised.value is seen[0]


async def test_wait_landed_returns_when_an_abandoned_call_has_ended() -> None:
    ended = False

    async def work(_: Urgency) -> str:
        nonlocal ended
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1.0)
            ended = True
        return "never"

    async with engine() as shared:
        with anyio.move_on_after(1.0):
            await run(shared, work)
        assert (shared.statistics().in_flight, ended) == (0, False)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shared.wait_landed)
            await shared.wait_landed()

        assert ended


async def test_wait_landed_without_a_call_returns_at_once() -> None:
    async with engine() as shared:
        await run(shared, Backend())

        await shared.wait_landed()

    assert shared.statistics().completed == 1
