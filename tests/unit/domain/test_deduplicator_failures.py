from __future__ import annotations

import asyncio
import gc
import traceback
import weakref
from collections.abc import Awaitable

import anyio
import pytest

from holdfast.domain.deduplicator import Deduplicator, Shared
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import BackendUnavailableError, ClosedError, SharedFailureError
from holdfast.ports.service import Disposition
from holdfast.testing import VirtualClock
from tests.fakes.deduplication import KEY, OTHER, Backend, Callers, Collapse, engine, run, urgency

pytestmark = pytest.mark.anyio

# For what only asyncio can do, and for what depends on the order in which it runs what is ready.
ONLY_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)


class UncopyableError(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")


async def test_failure_reaches_every_waiter_as_its_own_copy_with_the_original_as_cause() -> None:
    original = BackendUnavailableError("down", backend="a")
    backend = Backend(error=original)
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        for _ in range(3):
            await callers.start(lambda: run(shared, backend))

    errors = callers.errors
    assert [type(error) for error in errors] == [BackendUnavailableError] * 3
    assert len({id(error) for error in [original, *errors]}) == 4
    assert all(error.__cause__ is original for error in errors)


async def test_failure_traceback_of_a_waiter_does_not_grow_with_the_others() -> None:
    backend = Backend(error=ValueError("down"))
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        for _ in range(5):
            await callers.start(lambda: run(shared, backend))

    for error in callers.errors:
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert frames.count("run") == 2  # the engine's, and that of this file


async def test_failure_that_cannot_be_copied_reaches_every_waiter_as_shared_failure() -> None:
    original = UncopyableError(code=7)
    backend = Backend(error=original)
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        for _ in range(2):
            await callers.start(lambda: run(shared, backend))

    errors = callers.errors
    assert [type(error) for error in errors] == [SharedFailureError] * 2
    assert errors[0] is not errors[1]
    assert all(error.__cause__ is original for error in errors)


async def test_failure_starts_no_herd() -> None:
    backend = Backend(error=ValueError("down"))
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        for _ in range(100):
            await callers.start(lambda: run(shared, backend))

    assert (backend.calls, len(callers.errors)) == (1, 100)


async def test_failure_is_not_kept() -> None:
    backend = Backend(error=ValueError("down"))
    async with engine() as shared:
        with pytest.raises(ValueError, match="down"):
            await run(shared, backend)
        backend.error = None

        answer = await run(shared, backend)

    assert answer == Shared(value="answer 2", disposition=Disposition.CALLED)
    assert (shared.statistics().failed, shared.statistics().completed) == (1, 1)


async def test_failure_of_work_that_is_no_coroutine_reaches_the_caller() -> None:
    def work(_: Urgency) -> Awaitable[str]:
        raise ValueError("not even begun")

    async with engine() as shared:
        with pytest.raises(ValueError, match="not even begun"):
            await run(shared, work)

    assert shared.statistics().in_flight == 0


async def test_failure_leaves_no_reference_cycle() -> None:
    class Payload:
        pass

    payload = Payload()
    remembered = weakref.ref(payload)
    error = ValueError("down")
    error.payload = payload  # type: ignore[attr-defined] # anything that should go with the error
    backend = Backend(error=error)
    del payload, error
    gc.disable()
    try:
        async with engine() as shared:
            try:
                await run(shared, backend)
            except ValueError:
                backend.error = None

        assert remembered() is None
    finally:
        gc.enable()


async def test_size_that_cannot_be_told_fails_the_callers() -> None:
    def size_of(value: str) -> int:
        raise TypeError(value)

    async with Deduplicator[str](clock=VirtualClock(), size_of=size_of) as shared:
        with pytest.raises(TypeError, match="answer 1"):
            await run(shared, Backend())

    assert (shared.statistics().in_flight, shared.statistics().failed) == (0, 1)


@ONLY_ASYNCIO
async def test_stray_cancellation_within_a_call_fails_its_waiters_and_spares_other_calls() -> None:
    async def work(_: Urgency) -> str:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        future.cancel()
        return await future

    backend = Backend()
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        await callers.start(lambda: shared.run(OTHER, backend, urgency=urgency()))
        with pytest.raises(SharedFailureError) as raised:
            await run(shared, work)

    assert isinstance(raised.value.__cause__, asyncio.CancelledError)
    assert callers.ended == [Shared(value="answer 1", disposition=Disposition.CALLED)]


async def test_collapse_of_a_call_fails_every_waiter_and_leaves_the_engine_as_it_is() -> None:
    collapse = Collapse()

    async def body(callers: Callers) -> None:
        async with engine() as shared:
            await callers.start(lambda: run(shared, Backend(error=collapse)))
            await callers.start(lambda: run(shared, Backend()))
            await callers.start(lambda: shared.run(OTHER, Backend(seconds=60.0), urgency=urgency()))
            await anyio.sleep(60.0)

    async with anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        with pytest.raises(BaseExceptionGroup) as raised:
            await body(callers)

    assert raised.value.exceptions == (collapse,)
    assert [type(error) for error in callers.errors] == [SharedFailureError, SharedFailureError, ClosedError]
    assert [error.__cause__ for error in callers.errors[:2]] == [collapse, collapse]


async def test_call_that_cannot_be_started_frees_its_key() -> None:
    shared = engine()
    async with shared:
        with pytest.raises(AttributeError):
            await shared.run(KEY, Backend(), urgency=None)  # type: ignore[arg-type] # fails after it was registered

    assert (shared.statistics().in_flight, shared.statistics().abandoned) == (0, 1)
