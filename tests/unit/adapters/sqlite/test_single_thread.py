"""Pieces of blocking work, one after the other, whoever cancels them."""

from __future__ import annotations

import asyncio
import threading
import time

import anyio
import anyio.lowlevel
import pytest
from anyio import from_thread

from holdfast.adapters.sqlite.single_thread import SingleThread

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


class Pieces:
    """Work that takes a while, and sees whether two pieces ever run at once."""

    def __init__(self, lasts_s: float = 0.05) -> None:
        self._lasts_s = lasts_s
        self._running = 0
        self.begun = threading.Event()
        self.most_at_once = 0
        self.finished = 0

    def work(self) -> int:
        self._running += 1
        self.most_at_once = max(self.most_at_once, self._running)
        self.begun.set()
        time.sleep(self._lasts_s)
        self._running -= 1
        self.finished += 1
        return self.finished


async def begun(pieces: Pieces) -> None:
    while not pieces.begun.is_set():  # noqa: ASYNC110 - a thread sets it
        await anyio.sleep(0.001)


async def test_run_of_many_at_once_runs_one_at_a_time_in_order() -> None:
    thread, pieces, results = SingleThread(), Pieces(0.001), list[int]()

    async def run() -> None:
        results.append(await thread.run(pieces.work))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(run)

    assert pieces.most_at_once == 1
    assert results == list(range(1, 9))


async def test_run_of_what_fails_raises_its_error_and_the_next_one_runs() -> None:
    thread, error = SingleThread(), LookupError()

    def fail() -> None:
        raise error

    with pytest.raises(LookupError) as raised:
        await thread.run(fail)

    assert raised.value is error
    assert await thread.run(lambda: 42) == 42


async def test_run_that_is_cancelled_in_the_midst_has_finished_its_piece() -> None:
    thread, pieces = SingleThread(), Pieces()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(thread.run, pieces.work)
        await begun(pieces)
        tasks.cancel_scope.cancel()

    assert pieces.finished == 1


async def test_run_that_is_cancelled_while_it_waits_begins_nothing() -> None:
    thread, first, second = SingleThread(), Pieces(), Pieces()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(thread.run, first.work)
        await begun(first)
        with anyio.move_on_after(0.001):
            await thread.run(second.work)

    assert (first.finished, second.finished) == (1, 0)


@on_asyncio
@pytest.mark.parametrize("times", [1, 3])
async def test_run_that_asyncio_cancels_in_the_midst_has_finished_its_piece(times: int) -> None:
    thread, has_begun, goes_on, finished = SingleThread(), threading.Event(), threading.Event(), list[bool]()

    def work() -> None:
        has_begun.set()
        finished.append(goes_on.wait(30))

    asked = asyncio.get_running_loop().create_task(thread.run(work))
    while not has_begun.is_set():  # noqa: ASYNC110 - a thread sets it
        await anyio.sleep(0.001)
    for _ in range(times):
        asked.cancel()
        await anyio.sleep(0.01)  # others run meanwhile
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asked

    assert finished == [True]


@on_asyncio
async def test_piece_that_looks_whether_it_is_cancelled_is_told_when_asyncio_does() -> None:
    thread, looks = SingleThread(), list[int]()

    def look() -> None:
        for number in range(2000):
            from_thread.check_cancelled()
            looks.append(number)
            time.sleep(0.001)

    asked = asyncio.get_running_loop().create_task(thread.run(look))
    while not looks:  # noqa: ASYNC110 - a thread adds to it
        await anyio.sleep(0.001)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked

    assert len(looks) < 2000


@on_asyncio
@pytest.mark.parametrize("lasts_s", [0.0, 0.001, 0.004])
async def test_run_that_asyncio_cancels_at_any_moment_keeps_pieces_apart(lasts_s: float) -> None:
    thread, pieces = SingleThread(), Pieces(lasts_s)
    for number in range(60):
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                asked = asyncio.get_running_loop().create_task(thread.run(pieces.work))
                tasks.start_soon(_cancel_after, asked, number)

        finished = pieces.finished
        await anyio.sleep(2 * lasts_s)
        assert pieces.finished == finished  # none begins once it was cancelled

    assert pieces.most_at_once == 1
    assert await thread.run(lambda: 42) == 42


async def _cancel_after(task: asyncio.Task[int], turns: int) -> None:
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
