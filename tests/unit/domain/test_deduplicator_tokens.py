from __future__ import annotations

import anyio
import pytest

from holdfast.domain.deduplicator import Shared
from holdfast.domain.flight import InProgress, New
from holdfast.domain.result_window import Cached
from holdfast.ports.errors import ClosedError
from holdfast.ports.service import Disposition
from tests.fakes.deduplication import KEY, Backend, Callers, engine, run, settle

pytestmark = pytest.mark.anyio


async def test_token_completed_by_its_holder_answers_those_who_joined() -> None:
    async with engine() as shared, anyio.create_task_group() as tasks:
        found = shared.check_and_register(KEY)
        assert isinstance(found, New)
        callers = Callers(tasks)
        await callers.start(lambda: run(shared, Backend()))

        assert shared.complete(found.token, "by hand")
        assert not shared.complete(found.token, "again")

    assert callers.ended == [Shared(value="by hand", disposition=Disposition.JOINED)]
    assert shared.statistics().called == 1


async def test_token_failed_by_its_holder_fails_those_who_joined() -> None:
    async with engine() as shared, anyio.create_task_group() as tasks:
        found = shared.check_and_register(KEY)
        assert isinstance(found, New)
        callers = Callers(tasks)
        await callers.start(lambda: run(shared, Backend()))

        assert shared.fail(found.token, ValueError("by hand"))

    assert [str(error) for error in callers.errors] == ["by hand"]


async def test_token_whose_joiners_all_left_is_still_its_holders() -> None:
    async with engine() as shared:
        found = shared.check_and_register(KEY)
        assert isinstance(found, New)
        with anyio.move_on_after(1.0):
            await run(shared, Backend())

        assert shared.complete(found.token, "by hand")

        assert shared.check_and_register(KEY) == Cached(value="by hand")


async def test_token_never_settled_fails_those_who_joined_when_the_engine_is_left() -> None:
    async with anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        async with engine() as shared:
            shared.check_and_register(KEY)
            await callers.start(lambda: run(shared, Backend()))

    assert [type(error) for error in callers.errors] == [ClosedError]


async def test_waiter_keeps_the_call_going_until_it_leaves() -> None:
    backend = Backend()
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        await callers.start(lambda: run(shared, backend))
        found = shared.check_and_register(KEY)
        assert isinstance(found, InProgress)
        callers.scopes[0].cancel()
        await settle()
        assert backend.cancelled == 0

        with anyio.move_on_after(0.1):
            await found.waiter.wait()
        await settle()

    assert (backend.cancelled, shared.statistics().abandoned) == (1, 1)


async def test_waiter_that_left_and_waits_again_is_told_that_the_call_was_abandoned() -> None:
    async with engine() as shared:
        async with anyio.create_task_group() as tasks:
            callers = Callers(tasks)
            await callers.start(lambda: run(shared, Backend()))
            found = shared.check_and_register(KEY)
            assert isinstance(found, InProgress)
            waiter = found.waiter
            callers.scopes[0].cancel()
            with anyio.move_on_after(0.1):
                await waiter.wait()

        with pytest.raises(ClosedError):
            await waiter.wait()


async def test_waiter_that_left_and_waits_again_counts_no_more() -> None:
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        await callers.start(lambda: run(shared, Backend()))
        found = shared.check_and_register(KEY)
        assert isinstance(found, InProgress)
        for _ in range(2):
            with anyio.move_on_after(0.1):
                await found.waiter.wait()

        assert await found.waiter.wait() == "answer 1"

    assert shared.statistics().abandoned == 0
