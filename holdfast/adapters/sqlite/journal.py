"""A batch journal in one SQLite file.

Responsibility: `BatchLedger`, `BatchJournal` and `BatchRun` over SQLite, for asyncio and trio.
Guarantees: those of the ports. A change that has begun is finished before a cancellation is seen, so that no caller
    ever has to guess whether it was made.
Not responsible for: file systems without working locks, network ones above all.
Source: https://sqlite.org/wal.html; measured in benchmarks/bench_batch.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync

from holdfast.adapters.sqlite import journal_writing
from holdfast.adapters.sqlite.journal_reading import read_answers, read_failures, read_summary
from holdfast.adapters.sqlite.journal_schema import STEPS, Step
from holdfast.adapters.sqlite.journal_session import JournalSession, read_journal
from holdfast.adapters.sqlite.single_thread import SingleThread
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.journal import (
    AnsweredItem,
    BatchItem,
    BatchJournal,
    BatchLedger,
    BatchRun,
    BatchSummary,
    Claim,
    DuplicateId,
    FailedItem,
    Fingerprints,
    RolledBack,
)

__all__ = ["SqliteJournal"]

T = TypeVar("T")


class SqliteJournal:
    """The journal of one batch; files beside it hold the write-ahead log, the lock and the backups.

    Args:
        path: the file; it and its folder are made by the first writer.
        max_size_bytes: how large it may become before saves fail as on a full disk; default 64 GiB, unmeasured.
        steps: the schema, as steps from nothing; another one than the default is for tests of an upgrade.

    Raises:
        ConfigurationError: if `max_size_bytes` is less than 1.
    """

    def __init__(self, path: Path, *, max_size_bytes: int = 64 * 1024**3, steps: Sequence[Step] = STEPS) -> None:
        if max_size_bytes < 1:
            raise ConfigurationError(f"must be at least 1, not {max_size_bytes!r}", path="journal.max_size_bytes")
        self._path = path
        self._max_size_bytes = max_size_bytes
        self._steps = steps

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[BatchJournal, None]:
        """Become the only writer; see `BatchLedger.writing`."""
        thread, opened = SingleThread(), ExitStack()

        def open_session() -> JournalSession:
            return opened.enter_context(closing(JournalSession(self._path, self._max_size_bytes, self._steps)))

        try:
            writer = _Writer(await thread.run(open_session), thread)
            await writer.change(journal_writing.recover)
            yield writer
        finally:
            with anyio.CancelScope(shield=True):  # closing takes one checkpoint of the log, however large the batch
                await thread.run(opened.close)

    async def summary(self) -> BatchSummary:
        """Return the batch in numbers."""
        return await self._read(read_summary, absent=BatchSummary)

    async def answers(self, *, after_line: int, limit: int) -> Sequence[AnsweredItem]:
        """Return the next answers."""
        return await self._read(partial(read_answers, after_line=after_line, limit=limit), absent=list[AnsweredItem])

    async def failures(self, *, after_line: int, limit: int) -> Sequence[FailedItem]:
        """Return the next failures and rejections."""
        return await self._read(partial(read_failures, after_line=after_line, limit=limit), absent=list[FailedItem])

    async def _read(self, read: Callable[[sqlite3.Connection], T], *, absent: Callable[[], T]) -> T:
        return await run_sync(partial(read_journal, self._path, self._steps, read, absent=absent))


class _Writer:
    def __init__(self, session: JournalSession, thread: SingleThread) -> None:
        self._session = session
        self._thread = thread

    async def change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._thread.run(partial(self._session.change, work))

    async def enrol(self, items: Sequence[BatchItem]) -> DuplicateId | None:
        def work(connection: sqlite3.Connection) -> DuplicateId | None:
            duplicate = journal_writing.enrol(connection, items)
            if duplicate is not None:
                raise _DuplicateError(duplicate)
            return None

        try:
            return await self.change(work)
        except _DuplicateError as found:
            return found.duplicate

    async def seal(self, fingerprints: Fingerprints) -> None:
        await self.change(partial(journal_writing.seal, fingerprints=fingerprints))

    async def resume(self) -> BatchRun:
        return _Run(self, await self.change(journal_writing.continue_run))

    async def retry_failed(self) -> BatchRun:
        return _Run(self, await self.change(journal_writing.begin_retry))

    async def rollback(self) -> RolledBack | None:
        return await self._thread.run(self._rollback)

    def _rollback(self) -> RolledBack | None:
        run = self._session.change(journal_writing.newest_run)
        if run is None:
            return None
        backup = self._session.copy()
        results = self._session.change(partial(journal_writing.undo_run, number=run))
        return RolledBack(run=run, results=results, backup=str(backup))


class _DuplicateError(Exception):
    """Rolls the enrolment's transaction back."""

    def __init__(self, duplicate: DuplicateId) -> None:
        super().__init__(duplicate)
        self.duplicate = duplicate


class _Run:
    def __init__(self, writer: _Writer, number: int) -> None:
        self._writer = writer
        self._number = number

    async def claim(self, *, suspects: bool) -> Claim | None:
        return await self._writer.change(partial(journal_writing.claim, suspects=suspects))

    async def record_answer(self, answer: AnsweredItem) -> None:
        await self._writer.change(partial(journal_writing.record_answer, run=self._number, answer=answer))

    async def record_failure(self, failed: FailedItem) -> None:
        await self._writer.change(partial(journal_writing.record_failure, run=self._number, failed=failed))

    async def release(self, claim: Claim) -> None:
        await self._writer.change(partial(journal_writing.release, released=claim))


_: tuple[type[BatchLedger], type[BatchJournal], type[BatchRun]] = (SqliteJournal, _Writer, _Run)
