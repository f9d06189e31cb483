"""Sessions in one SQLite file.

Responsibility: `SessionStore` over SQLite, for asyncio and trio, and for any number of processes.
Guarantees: those of the port. A change that has begun is finished before a cancellation is seen, so that no caller ever
    has to guess whether it was made. What is created, saved or deleted survives a power cut.
Not responsible for: file systems without working locks, network ones above all; erasing what is forgotten from the
    disk's blocks.
Source: https://sqlite.org/wal.html.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import anyio

from holdfast.adapters.sqlite.session_database import SessionDatabase
from holdfast.adapters.sqlite.session_tables import SessionTables
from holdfast.adapters.sqlite.single_thread import SingleThread
from holdfast.ports.clock import Clock
from holdfast.ports.session import (
    LoadedSession,
    RemovedSession,
    SavedSession,
    Session,
    SessionBounds,
    SessionHead,
    SessionStore,
    SessionTotals,
    SessionTurn,
)

__all__ = ["SqliteSessions"]

T = TypeVar("T")


class SqliteSessions:
    """Keeps sessions in a file; files beside it hold the write-ahead log. Open it with ``async with``.

    A use that changes nothing, that is `load`, is not synced to the disk: a power cut may take seconds off a session's
    life, and nothing else.

    Args:
        path: the file; it and its folder are made when missing.
        clock: measures idle time while the file is open.
        wall_s: seconds since the epoch; measures what passed while no process had it open.
        max_size_bytes: how large the file may become before saves fail as on a full disk; default 64 GiB, unmeasured.
    """

    _database: SessionDatabase

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        wall_s: Callable[[], float] = time.time,
        max_size_bytes: int = 64 * 1024**3,
    ) -> None:
        self._path = path
        self._clock = clock
        self._wall_s = wall_s
        self._max_size_bytes = max_size_bytes
        self._thread = SingleThread()
        self._opened = ExitStack()

    async def __aenter__(self) -> Self:
        """Open the file.

        Raises:
            SessionStoreError: if it cannot be opened, is no database of sessions, or one of a newer version.
        """
        try:
            self._database = await self._thread.run(self._open)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    async def create(self, session: Session, *, bounds: SessionBounds) -> tuple[RemovedSession, ...]:
        """Keep a new session; see `SessionStore.create`."""
        return await self._change(lambda tables: tables.create(session, bounds=bounds))

    async def load(self, tenant: str, session_id: str, *, bounds: SessionBounds) -> LoadedSession:
        """Return the session as it is now; see `SessionStore.load`."""
        return await self._change(lambda tables: tables.load(tenant, session_id, bounds=bounds), durable=False)

    async def save(
        self, head: SessionHead, *, persona: str | None, turn: SessionTurn | None, bounds: SessionBounds
    ) -> SavedSession:
        """Change the session if it is still as `head` says; see `SessionStore.save`."""
        return await self._change(lambda tables: tables.save(head, persona=persona, turn=turn, bounds=bounds))

    async def delete(self, tenant: str, session_id: str, *, bounds: SessionBounds) -> None:
        """Forget the session; see `SessionStore.delete`."""
        await self._change(lambda tables: tables.delete(tenant, session_id, bounds=bounds))

    def totals(self) -> SessionTotals:
        """Return what is kept and what became of the rest, as of the latest call here; others may have changed it."""
        return self._database.totals

    def _open(self) -> SessionDatabase:
        return self._opened.enter_context(
            closing(
                SessionDatabase(self._path, clock=self._clock, wall_s=self._wall_s, max_size_bytes=self._max_size_bytes)
            )
        )

    async def _close(self) -> None:
        with anyio.CancelScope(shield=True):  # closing takes one checkpoint of the log
            await self._thread.run(self._opened.close)

    async def _change(self, work: Callable[[SessionTables], T], *, durable: bool = True) -> T:
        return await self._thread.run(partial(self._database.change, work, durable=durable))


_: type[SessionStore] = SqliteSessions
