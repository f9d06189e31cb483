"""`asyncio.timeout` around a call let the next one use its SQLite connection while a thread was still at work on it.

The next call was refused as if the file were damaged; and where the file was closed, the process ended with SIGSEGV.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast.adapters.sqlite import SqliteJournal, SqliteSessions
from holdfast.adapters.sqlite.shared_store import SqliteStore
from holdfast.ports.journal import BatchItem, Fingerprints
from holdfast.ports.session import Session, SessionBounds, SessionHead
from holdfast.testing import ManualClock

pytestmark = [pytest.mark.anyio, pytest.mark.real_time, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


class SlowClock(ManualClock):
    """Is read within each transaction, and while a file is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.is_read = threading.Event()

    def monotonic_s(self) -> float:
        self.is_read.set()
        time.sleep(0.05)
        return super().monotonic_s()


class SlowItems(list[BatchItem]):
    """Are read within a transaction."""

    def __init__(self) -> None:
        super().__init__([BatchItem(line=1, id="a", byte_offset=0, size_bytes=1, sha256=bytes(32))])
        self.are_read = threading.Event()

    def __iter__(self) -> Iterator[BatchItem]:
        self.are_read.set()
        time.sleep(0.05)
        return super().__iter__()


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def cut(call: Coroutine[Any, Any, object], *, in_the_midst: threading.Event) -> None:
    in_the_midst.clear()
    asked = asyncio.get_running_loop().create_task(call)
    while not in_the_midst.is_set():  # noqa: ASYNC110 - a thread sets it
        await anyio.sleep(0.001)
    asked.cancel()  # as `asyncio.timeout` does
    with pytest.raises(asyncio.CancelledError):
        await asked


async def test_session_store_finishes_the_change_and_makes_the_next(tmp_path: Path) -> None:
    clock, bounds = SlowClock(), SessionBounds(max_bytes=1000, max_total_bytes=10_000, max_sessions=10, idle_s=60.0)

    def session(name: str) -> Session:
        head = SessionHead(tenant="t", session_id=name, incarnation="1", version=1, persona=None, fixed_bytes=1)
        return Session(head=head, system=None, turns=(), size_bytes=1)

    async with SqliteSessions(tmp_path / "sessions.sqlite3", clock=clock) as sessions:
        await cut(sessions.create(session("a"), bounds=bounds), in_the_midst=clock.is_read)
        made = sessions.totals().sessions
        await sessions.create(session("b"), bounds=bounds)

        assert (made, sessions.totals().sessions) == (1, 2)


async def test_session_store_that_is_left_while_it_opens_is_closed(tmp_path: Path) -> None:
    clock = SlowClock()
    sessions = SqliteSessions(tmp_path / "sessions.sqlite3", clock=clock)
    await cut(sessions.__aenter__(), in_the_midst=clock.is_read)

    # The log of a database goes with the last one to close it.
    assert names_in(tmp_path) == ["sessions.sqlite3"]


async def test_shared_store_finishes_the_change_and_makes_the_next(tmp_path: Path) -> None:
    clock = SlowClock()
    async with SqliteStore(tmp_path / "shared.sqlite3", clock=clock) as store:
        await store.epoch()
        make = store.run(lambda connection, _: connection.execute("CREATE TABLE made (x)"))
        await cut(make, in_the_midst=clock.is_read)
        tables = await store.run(
            lambda connection, _: connection.execute("SELECT name FROM sqlite_master WHERE name = 'made'").fetchall()
        )

        assert tables == [("made",)]


async def test_journal_finishes_the_change_and_is_whole_when_it_is_closed(tmp_path: Path) -> None:
    ledger, items = SqliteJournal(tmp_path / "journal.sqlite3"), SlowItems()

    async with ledger.writing() as journal:
        await cut(journal.enrol(items), in_the_midst=items.are_read)
        await journal.seal(Fingerprints(input_sha256="aa", configuration_sha256="bb"))

    assert (await ledger.summary()).items == 1


@pytest.mark.parametrize("wait_s", [0.0, 0.001, 0.003, 0.01, 0.03, 0.06])
async def test_journal_that_is_left_at_any_moment_can_be_written_again(tmp_path: Path, wait_s: float) -> None:
    ledger = SqliteJournal(tmp_path / "journal.sqlite3")

    async def write() -> None:
        async with ledger.writing() as journal:
            await journal.enrol(SlowItems())

    left = asyncio.get_running_loop().create_task(write())
    await anyio.sleep(wait_s)
    left.cancel()
    with suppress(asyncio.CancelledError):
        await left

    async with ledger.writing() as journal:
        assert await journal.enrol(SlowItems()) is None
