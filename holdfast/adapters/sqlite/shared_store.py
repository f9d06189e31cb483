"""What several processes of one machine share in one SQLite file.

Responsibility: `SharedStore` over SQLite, and one way in which everything that is kept there is changed: a transaction,
    at the time of the file.
Guarantees: time in the file never goes back, and goes on at the pace of the machine's monotonic clock while a process
    has it open, however the wall clock is set; a file that was removed or replaced is noticed, and counts as emptied; a
    file of something else is refused and left alone; errors are those of the port.
Not responsible for: what is kept: see the modules beside this one; going on without the file: see
    `holdfast.domain.store_link`; file systems without working locks, network ones above all; a power cut, which may
    take the latest changes.
Sources: https://sqlite.org/wal.html; on time: adr/0022.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import anyio

from holdfast.adapters.sqlite.database_file import begin_wal, is_foreign
from holdfast.adapters.sqlite.single_thread import SingleThread
from holdfast.adapters.sqlite.transaction import transaction
from holdfast.ports.clock import Clock
from holdfast.ports.errors import StoreError, StoreRefusedError, StoreUnavailableError
from holdfast.ports.shared_store import SharedStore

__all__ = ["STORE", "SqliteStore"]

T = TypeVar("T")

STORE: Final = "sqlite"
"""What events and errors call it."""

_APPLICATION_ID: Final = 0x486F6C68  # "Holh"
_US_PER_S: Final = 1_000_000

# One row; what is kept has tables of its own, made by whoever keeps it.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS shared (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    epoch TEXT NOT NULL,
    elapsed_us INTEGER NOT NULL,
    wall_us INTEGER NOT NULL
)
"""

_REFUSALS: Final = {
    sqlite3.SQLITE_CORRUPT: "is damaged; remove it, or choose another file",
    sqlite3.SQLITE_NOTADB: "is not a database; choose another file",
    sqlite3.SQLITE_READONLY: "cannot be written; change its permissions",
    sqlite3.SQLITE_PERM: "cannot be opened; change its permissions",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; choose a file, in a folder that may be written to",
    sqlite3.SQLITE_ERROR: "is not as this version of holdfast left it; choose another file",
}


class SqliteStore:
    """One file. Open it with ``async with``; the file is opened, and made when missing, by the first who asks.

    Args:
        path: the file; files beside it hold the write-ahead log.
        clock: measures time while the file is open.
        wall_s: seconds since the epoch; measures what passed while no process had it open.
        busy_timeout_s: seconds that one waits for another process, which holds its lock for one change; default 0.2, so
            that one that hangs is noticed before whoever asks has given up.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        wall_s: Callable[[], float] = time.time,
        busy_timeout_s: float = 0.2,
    ) -> None:
        self._path = path
        self._clock = clock
        self._wall_s = wall_s
        self._busy_timeout_s = busy_timeout_s
        self._schemas = [_SCHEMA]
        self._file: _OpenFile | None = None
        self._thread = SingleThread()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):  # closing takes one checkpoint of the log
            await self._thread.run(self._close)

    @property
    def name(self) -> str:
        """What events and errors call it."""
        return STORE

    def add_schema(self, statement: str) -> None:
        """Make a table, an index or the like when the file is opened; before anybody asks.

        Args:
            statement: makes it, if it is not there.
        """
        self._schemas.append(statement)

    async def epoch(self) -> str:
        """Return the name of the present contents; see `SharedStore.epoch`."""
        return await self.run(_read_epoch)

    async def run(self, work: Callable[[sqlite3.Connection, int], T]) -> T:
        """Run `work` in one transaction, and return what it returns.

        Args:
            work: reads and changes its tables; given the time of the file, in microseconds.

        Raises:
            StoreUnavailableError: if the file is locked, or the disk is full or fails.
            StoreRefusedError: if it will not do until somebody acts.

        Cancellation: the change was not made, or is finished first.
        """
        return await self._thread.run(partial(self._run, work))

    def _run(self, work: Callable[[sqlite3.Connection, int], T]) -> T:
        try:
            if self._file is not None and not self._file.is_there():
                self._close()
            if self._file is None:
                self._file = _OpenFile(
                    self._path,
                    self._schemas,
                    clock=self._clock,
                    wall_s=self._wall_s,
                    busy_timeout_s=self._busy_timeout_s,
                )
            return self._file.change(work)
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, StoreError):
                raise
            raise _of_port(error, self._path) from error

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


class _OpenFile:
    """The file while it is open; used by one thread at a time."""

    def __init__(
        self,
        path: Path,
        schemas: list[str],
        *,
        clock: Clock,
        wall_s: Callable[[], float],
        busy_timeout_s: float,
    ) -> None:
        self._path = path
        self._clock = clock
        self._wall_s = wall_s
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
        try:
            self._make(schemas, patience_s=busy_timeout_s)
            self._inode = path.stat().st_ino
        except BaseException:
            self._connection.close()
            raise

    def is_there(self) -> bool:
        """Return whether the path still leads to this file."""
        try:
            return self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def change(self, work: Callable[[sqlite3.Connection, int], T]) -> T:
        """Run `work` in one transaction."""
        connection = self._connection
        with transaction(connection):
            before = connection.total_changes
            found_us: int = connection.execute("SELECT elapsed_us FROM shared").fetchone()[0]
            now_us = self._elapsed_us(found_us)
            result = work(connection, now_us)
            if connection.total_changes != before:  # whoever only looks leaves the log as it is
                connection.execute("UPDATE shared SET elapsed_us = ?, wall_us = ?", (now_us, self._wall_us()))
        return result

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _make(self, schemas: list[str], *, patience_s: float) -> None:
        if is_foreign(self._connection, _APPLICATION_ID):
            raise StoreRefusedError(f"{self._path} belongs to something else; choose another file", store=STORE)
        begin_wal(self._connection, patience_s=patience_s)
        self._connection.execute("PRAGMA synchronous = NORMAL")
        with transaction(self._connection):
            self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            for schema in schemas:
                self._connection.execute(schema)
            new = (secrets.token_hex(8), _US_PER_S, self._wall_us())
            self._connection.execute("INSERT OR IGNORE INTO shared VALUES (1, ?, ?, ?)", new)
            found_us, wall_us = self._connection.execute("SELECT elapsed_us, wall_us FROM shared").fetchone()
        passed_us = max(0, self._wall_us() - wall_us)
        self._ahead_us: int = found_us + passed_us - self._monotonic_us()

    def _elapsed_us(self, found_us: int) -> int:
        elapsed_us = self._ahead_us + self._monotonic_us()
        if found_us > elapsed_us:
            # The wall clock was set back before this process began, or another one has measured more.
            self._ahead_us += found_us - elapsed_us
            return found_us
        return elapsed_us

    def _monotonic_us(self) -> int:
        return round(self._clock.monotonic_s() * _US_PER_S)

    def _wall_us(self) -> int:
        return round(self._wall_s() * _US_PER_S)


def _read_epoch(connection: sqlite3.Connection, _: int) -> str:
    (epoch,) = connection.execute("SELECT epoch FROM shared").fetchone()
    return str(epoch)


def _of_port(error: Exception, path: Path) -> StoreError:
    # Extended codes keep the primary one in their lowest byte; an error of the module itself has none.
    refusal = _REFUSALS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if refusal is not None:
        return StoreRefusedError(f"{path} {refusal} ({error})", store=STORE)
    return StoreUnavailableError(f"{path} cannot be used now ({error})", store=STORE)


_: type[SharedStore] = SqliteStore
