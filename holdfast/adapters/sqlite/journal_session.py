"""The one writer's hold on a batch journal.

Responsibility: the lock that makes a writer the only one, its connection, and what SQLite's errors mean.
Guarantees: the lock dies with the process; a committed change survives a power cut (WAL, `synchronous=FULL`); readers
    are never blocked, as the lock is a file of its own; nothing but Holdfast's errors leaves.
Not responsible for: threads: see `holdfast.adapters.sqlite.journal`. Network file systems whose locks do not work.
Source: https://sqlite.org/wal.html and https://sqlite.org/lang_transaction.html.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TypeVar

from holdfast.adapters.sqlite.journal_schema import Step, schema_version, upgrade
from holdfast.adapters.sqlite.transaction import transaction
from holdfast.ports.errors import BatchError, JournalLockedError, JournalWriteError

__all__ = ["JournalSession", "read_journal"]

T = TypeVar("T")

_UNREADABLE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# How long to wait for another connection that copies the write-ahead log back; it holds its locks for milliseconds.
_BUSY_TIMEOUT_S = 5.0


@contextmanager
def _translated(path: Path, *, writing: bool) -> Generator[None, None, None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if isinstance(error, BatchError):
            raise
        # Extended codes keep the primary one in their lowest byte; an error of the module itself has none.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if writing and code not in _UNREADABLE and not path.is_dir():
            raise JournalWriteError(f"the journal cannot be written ({error})", path=str(path)) from error
        raise BatchError(
            f"{path}: the journal cannot be read ({error}); restore a backup, or choose another output folder"
        ) from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


class JournalSession:
    """An open journal and the lock on it, until it is closed; used by one thread at a time.

    Args:
        path: the journal.
        max_size_bytes: how large it may become.
        steps: the schema, as steps from nothing.

    Raises:
        JournalLockedError: if another session holds the lock.
        JournalSchemaError: if the journal is of a newer version.
        JournalWriteError: if the folder, the lock or the journal cannot be written.
        BatchError: if it is not a journal, or damaged.
    """

    def __init__(self, path: Path, max_size_bytes: int, steps: Sequence[Step]) -> None:
        self._path = path
        with ExitStack() as opened, _translated(path, writing=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            opened.enter_context(closing(_lock(path)))
            self._connection = opened.enter_context(closing(_connect(path, "rwc")))
            upgrade(self._connection, path, steps)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            page_bytes: int = self._connection.execute("PRAGMA page_size").fetchone()[0]
            self._connection.execute(f"PRAGMA max_page_count = {max(1, max_size_bytes // page_bytes)}")
            self._opened = opened.pop_all()

    def change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one transaction, durable when this returns.

        Raises:
            JournalWriteError: if it cannot be saved, for example because the disk is full; nothing has changed then.
        """
        with _translated(self._path, writing=True), transaction(self._connection):
            return work(self._connection)

    def copy(self) -> Path:
        """Copy the journal as it stands to a new file beside it, durably, and return its path."""
        number = 1
        while (target := self._path.with_name(f"{self._path.stem}.backup-{number}{self._path.suffix}")).exists():
            number += 1
        # A copy that is killed half-way must not look like a backup.
        unfinished = target.with_name(f"{target.name}.tmp")
        with _translated(self._path, writing=True):
            unfinished.unlink(missing_ok=True)
            self._connection.execute("VACUUM INTO ?", (str(unfinished),))
            _sync(unfinished)
            unfinished.replace(target)
            _sync(target.parent)
        return target

    def close(self) -> None:
        """Close the journal, then give the lock back."""
        self._opened.close()


def _lock(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path.with_name(f"{path.name}.lock"), timeout=0, check_same_thread=False)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise JournalLockedError(path=str(path.parent)) from error
        raise
    return connection


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # pragma: no cover - Windows cannot open a folder, and syncs it by itself
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_journal(
    path: Path, steps: Sequence[Step], read: Callable[[sqlite3.Connection], T], *, absent: Callable[[], T]
) -> T:
    """Return what `read` makes of one snapshot of the journal, or `absent()` when there is none.

    Raises:
        JournalSchemaError: if the journal is of a newer version.
        JournalLockedError: if it is of an older one, and a writer of that version is at work.
        BatchError: if it is not a journal, or damaged.
    """
    with _translated(path, writing=False):
        if not path.exists():
            return absent()
        with closing(_connect(path, "rw")) as connection:
            version = schema_version(connection, path, steps)
            if not version:
                return absent()
            if version < len(steps):
                with closing(_lock(path)):
                    upgrade(connection, path, steps)
            connection.execute("BEGIN")
            return read(connection)
