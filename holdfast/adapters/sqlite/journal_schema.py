"""The tables of a batch journal, and bringing an older journal up to date.

Responsibility: the schema, its version, and the steps between versions.
Guarantees: an upgrade is one transaction, so that nobody meets half of one, and one that is killed has changed nothing;
    a newer journal, or another program's database, is refused and left as it is.
Not responsible for: who may write: see `holdfast.adapters.sqlite.journal_session`.
Source: https://sqlite.org/pragma.html#pragma_user_version and #pragma_application_id.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from holdfast.adapters.sqlite.database_file import is_foreign
from holdfast.adapters.sqlite.transaction import transaction
from holdfast.ports.errors import BatchError, JournalSchemaError

__all__ = ["STEPS", "Step", "schema_version", "upgrade"]

Step = tuple[str, ...]
"""The statements that lead from one version to the next."""

_APPLICATION_ID = 0x486F6C64  # "Hold"

STEPS: Sequence[Step] = (
    (
        """
        CREATE TABLE batch (
            only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
            input_sha256 TEXT NOT NULL,
            configuration_sha256 TEXT NOT NULL
        )
        """,
        """
        CREATE TABLE item (
            line INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            byte_offset INTEGER NOT NULL,
            size_bytes INTEGER NOT NULL,
            sha256 BLOB NOT NULL
        )
        """,
        "CREATE TABLE run (number INTEGER PRIMARY KEY)",
        # What the newest run still has to do.
        """
        CREATE TABLE queue (
            line INTEGER PRIMARY KEY,
            crashes INTEGER NOT NULL DEFAULT 0,
            in_hand INTEGER NOT NULL DEFAULT 0
        )
        """,
        # `run` is NULL for a line that was rejected when it was enrolled; `kind` is NULL for an answer.
        """
        CREATE TABLE record (
            line INTEGER NOT NULL,
            run INTEGER,
            superseded_by INTEGER,
            elapsed_s REAL,
            kind TEXT,
            reason TEXT,
            text TEXT,
            backend TEXT,
            model TEXT,
            disposition TEXT,
            attempts INTEGER,
            queue_s REAL,
            backend_s REAL,
            input_tokens INTEGER,
            output_tokens INTEGER,
            citations TEXT
        )
        """,
        # At most one recorded result per item, held by the database itself.
        "CREATE UNIQUE INDEX current_record ON record (line) WHERE superseded_by IS NULL",
    ),
    # Who answered, and which validators an answer did not pass.
    (
        "ALTER TABLE record ADD COLUMN persona TEXT",
        "ALTER TABLE record ADD COLUMN marks TEXT NOT NULL DEFAULT '[]'",
    ),
    # Why an answer ended.
    ("ALTER TABLE record ADD COLUMN finish_reason TEXT",),
)


def schema_version(connection: sqlite3.Connection, path: Path, steps: Sequence[Step] = STEPS) -> int:
    """Return how many steps the journal has behind it; 0 for an empty file.

    Raises:
        JournalSchemaError: if it is newer than `steps`.
        BatchError: if it is not a journal.
    """
    if is_foreign(connection, _APPLICATION_ID):
        raise BatchError(f"{path}: not a Holdfast journal; choose another output folder")
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > len(steps):
        raise JournalSchemaError(path=str(path), found=found, supported=len(steps))
    return found


def upgrade(connection: sqlite3.Connection, path: Path, steps: Sequence[Step] = STEPS) -> None:
    """Take the steps that the journal lacks; a new journal lacks all of them.

    Raises:
        JournalSchemaError: if it is newer.
        BatchError: if it is not a journal.
    """
    with transaction(connection):
        for version in range(schema_version(connection, path, steps), len(steps)):
            for statement in steps[version]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version + 1}")
