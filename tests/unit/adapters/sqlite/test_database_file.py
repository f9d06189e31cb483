"""Whose a file is, and its write-ahead log, while others are at work on the same file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from holdfast.adapters.sqlite.database_file import begin_wal, is_foreign

OURS = 0x486F6C64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "database.sqlite3"


def make(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute("COMMIT")


def make_ours(path: Path) -> None:
    make(path, "CREATE TABLE x (y)", f"PRAGMA application_id = {OURS}", "PRAGMA user_version = 1")


@pytest.mark.parametrize(
    ("statements", "foreign"),
    [
        ((), False),
        ((f"PRAGMA application_id = {OURS}",), False),
        ((f"PRAGMA application_id = {OURS}", "CREATE TABLE x (y)", "PRAGMA user_version = 7"), False),
        (("CREATE TABLE x (y)",), True),
        (("CREATE VIEW x AS SELECT 1",), True),
        (("PRAGMA user_version = 1",), True),
        (("PRAGMA application_id = 7",), True),
        (("PRAGMA application_id = 7", "CREATE TABLE x (y)"), True),
    ],
)
def test_database_is_foreign_unless_it_is_empty_or_ours(path: Path, statements: tuple[str, ...], foreign: bool) -> None:
    make(path, *statements)

    with closing(sqlite3.connect(path)) as connection:
        assert is_foreign(connection, OURS) is foreign


@pytest.mark.parametrize("at", [1, 2, 3])
def test_database_that_somebody_makes_in_the_meantime_is_not_foreign(path: Path, at: int) -> None:
    seen: list[str] = []

    def look(statement: str) -> None:
        seen.append(statement)
        if len(seen) == at:
            with suppress(sqlite3.OperationalError):  # which is locked while one looks at it
                make_ours(path)

    with closing(sqlite3.connect(path)) as connection:
        connection.set_trace_callback(look)
        assert not is_foreign(connection, OURS)


class Busy:
    """Stands for a connection whose file others are busy with for a while."""

    def __init__(self, fail: Callable[[], None], times: int) -> None:
        self._fail = fail
        self.left = times

    def execute(self, statement: str) -> None:
        assert statement == "PRAGMA journal_mode = WAL"
        if self.left:
            self.left -= 1
            self._fail()


def locked(path: Path) -> Callable[[], None]:
    def fail() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as first:
            first.execute("BEGIN IMMEDIATE")
            with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as second:
                second.execute("BEGIN IMMEDIATE")

    return fail


def test_wal_is_asked_for_again_while_others_are_busy(path: Path) -> None:
    busy = Busy(locked(path), times=2)

    begin_wal(busy, patience_s=30.0)  # type: ignore[arg-type] # as much of a connection as is used

    assert busy.left == 0


def test_wal_is_not_asked_for_for_ever(path: Path) -> None:
    busy = Busy(locked(path), times=1000)

    with pytest.raises(sqlite3.OperationalError, match="locked"):
        begin_wal(busy, patience_s=0.1)  # type: ignore[arg-type] # as above

    assert busy.left >= 1000 - 12  # a hundred times a second, and not as often as it goes


def test_wal_of_a_file_that_is_no_database_is_not_asked_for_again(path: Path) -> None:
    path.write_bytes(b"no database" * 100)

    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.DatabaseError, match="not a database"):
        begin_wal(connection, patience_s=30.0)
