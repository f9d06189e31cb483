"""The file that sessions are kept in, and its time.

Responsibility: open the database, run one change after the other in it, and say what SQLite's errors mean.
Guarantees: each change is one transaction; whatever asks for it survives a power cut (WAL, `synchronous=FULL`); nothing
    but Holdfast's errors leaves; time in the database never goes back, and goes on at the pace of the machine's
    monotonic clock while a process has it open.
Not responsible for: threads: see `holdfast.adapters.sqlite.sessions`. A wall clock that is set forward between a change
    and the next opening: that cannot be told from time that passed.
Sources: https://sqlite.org/wal.html; https://sqlite.org/pragma.html#pragma_synchronous; on time: adr/0022.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final, TypeVar

from holdfast.adapters.sqlite.database_file import begin_wal, is_foreign
from holdfast.adapters.sqlite.session_tables import SCHEMA, SessionTables
from holdfast.adapters.sqlite.transaction import transaction
from holdfast.ports.clock import Clock
from holdfast.ports.errors import SessionStoreError
from holdfast.ports.session import SessionTotals

__all__ = ["SessionDatabase"]

T = TypeVar("T")

_APPLICATION_ID: Final = 0x486F6C73  # "Hols"

# How long to wait for another process; it holds its lock for one change.
_BUSY_TIMEOUT_S: Final = 5.0

_MEANINGS: Final = {
    sqlite3.SQLITE_BUSY: "is locked by another process; end that one, or try again",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore a backup, or choose another file",
    sqlite3.SQLITE_NOTADB: "is not a database; choose another file",
    sqlite3.SQLITE_FULL: "cannot grow; free some space",
    sqlite3.SQLITE_READONLY: "cannot be written; change its permissions",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; choose a file, in a folder that may be written to",
}


@contextmanager
def _translated(path: Path) -> Generator[None]:
    try:
        yield
    except SessionStoreError:
        raise
    except (sqlite3.Error, OSError) as error:
        # Extended codes keep the primary one in their lowest byte; an error of the module itself has none.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        meaning = _MEANINGS.get(code, "cannot be used; mend what it says, or choose another file")
        raise SessionStoreError(f"the database of sessions {meaning} ({error})", path=str(path)) from error


class SessionDatabase:
    """An open database, until it is closed; used by one thread at a time.

    Args:
        path: the file; it and its folder are made when missing.
        clock: measures time while the database is open.
        wall_s: seconds since the epoch; measures what passed while no process had it open.
        max_size_bytes: how large the file may become.

    Raises:
        SessionStoreError: if it cannot be opened, is no database of sessions, or one of a newer version.
    """

    def __init__(self, path: Path, *, clock: Clock, wall_s: Callable[[], float], max_size_bytes: int) -> None:
        self._path = path
        self._clock = clock
        self._wall_s = wall_s
        with ExitStack() as opened, _translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = opened.enter_context(
                closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False))
            )
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._upgrade()
            begin_wal(self._connection, patience_s=_BUSY_TIMEOUT_S)
            page_bytes: int = self._connection.execute("PRAGMA page_size").fetchone()[0]
            self._connection.execute(f"PRAGMA max_page_count = {max(1, max_size_bytes // page_bytes)}")
            found = SessionTables(self._connection)
            self._ahead_s = found.elapsed_s + wall_s() - found.wall_s - clock.monotonic_s()
            self.change(lambda _: None, durable=False)  # a database that cannot be written shall not be opened
            self._opened = opened.pop_all()

    totals: SessionTotals
    """As of the latest change here."""

    def change(self, work: Callable[[SessionTables], T], *, durable: bool) -> T:
        """Run `work` in one transaction.

        Args:
            work: changes the tables.
            durable: whether the change must survive a power cut once this returns; it survives the process anyway.

        Raises:
            SessionStoreError: if it cannot be saved; nothing has changed then.
        """
        with _translated(self._path):
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with transaction(self._connection):
                tables = SessionTables(self._connection)
                tables.elapsed_s = self._elapsed_s(tables.elapsed_s)
                tables.wall_s = self._wall_s()
                result = work(tables)
                tables.write()
        self.totals = tables.totals
        return result

    def close(self) -> None:
        """Close the database."""
        with _translated(self._path):
            self._opened.close()

    def _elapsed_s(self, found_s: float) -> float:
        elapsed_s = self._ahead_s + self._clock.monotonic_s()
        if found_s > elapsed_s:
            # The wall clock was set back before this process began, or another one has measured more.
            self._ahead_s += found_s - elapsed_s
            return found_s
        return elapsed_s

    def _upgrade(self) -> None:
        with transaction(self._connection):
            found: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if is_foreign(self._connection, _APPLICATION_ID):
                raise SessionStoreError("is not a database of sessions; choose another file", path=str(self._path))
            if found > len(SCHEMA):
                raise SessionStoreError(
                    f"the schema of sessions {found} is newer than {len(SCHEMA)}; upgrade holdfast to read it",
                    path=str(self._path),
                )
            for version in range(found, len(SCHEMA)):
                for statement in SCHEMA[version]:
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                self._connection.execute(f"PRAGMA user_version = {version + 1}")
