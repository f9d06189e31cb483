"""Shared answers in SQLite, for processes of one machine.

Responsibility: `AnswerStore` over one SQLite file, for asyncio and trio.
Guarantees: those of the port; all outcomes together take no more than `max_bytes`, unless it is one alone; those make
    room for it that would have ended first; what has ended is removed, a few at a time.
Not responsible for: the rule: see `holdfast.ports.answer_record`; time and the file: see
    `holdfast.adapters.sqlite.shared_store`.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from holdfast.adapters.sqlite.shared_store import SqliteStore
from holdfast.ports.answer_record import AnswerRecord, claimed, extended, released, settled
from holdfast.ports.answer_store import AnswerClaim, AnswerStore, Busy, Told, Won

__all__ = ["SqliteAnswers"]

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY,
    changed_at_us INTEGER NOT NULL,
    token INTEGER NOT NULL,
    claimant TEXT,
    held_until_us INTEGER NOT NULL,
    settled INTEGER,
    outcome BLOB NOT NULL,
    kept_until_us INTEGER NOT NULL,
    told_until_us INTEGER NOT NULL,
    ends_at_us INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL
)
"""
_INDEX: Final = "CREATE INDEX IF NOT EXISTS answers_by_end ON answers (ends_at_us, size_bytes)"

_FIND: Final = """
SELECT changed_at_us, token, claimant, held_until_us, settled, outcome, kept_until_us, told_until_us
FROM answers WHERE key = ?
"""

_MOST_ENDED_AT_ONCE: Final = 16
"""Records that one claim removes beside its own work, so that none pays for a whole night's; unmeasured."""


class SqliteAnswers:
    """Keeps answers in a `SqliteStore`; make it before that is asked anything.

    Args:
        store: the file.
        max_bytes: what all outcomes may take together; default 256 MiB, unmeasured.
    """

    def __init__(self, store: SqliteStore, *, max_bytes: int = 256 * 1024**2) -> None:
        self._store = store
        self._max_bytes = max_bytes
        store.add_schema(_TABLE)
        store.add_schema(_INDEX)

    async def claim(self, claim: AnswerClaim) -> Told | Won | Busy:
        """Return what came of the key, or who is at it; see `AnswerStore.claim`."""

        def work(connection: sqlite3.Connection, now_us: int) -> Told | Won | Busy:
            record, heard = claimed(_find(connection, claim.key), claim, now_us)
            if isinstance(heard, Won):
                _forget_ended(connection, now_us)
                _keep(connection, claim.key, record)
            return heard

        return await self._store.run(work)

    async def extend(self, key: bytes, *, token: int, lease_s: float) -> bool:
        """Begin the lease anew; see `AnswerStore.extend`."""

        def work(connection: sqlite3.Connection, now_us: int) -> bool:
            record = extended(_find(connection, key), token=token, lease_s=lease_s, now_us=now_us)
            return _keep(connection, key, record)

        return await self._store.run(work)

    async def settle(self, key: bytes, *, token: int, outcome: bytes, keep_s: float, tell_s: float) -> bool:
        """End a claim with what came of it; see `AnswerStore.settle`."""

        def work(connection: sqlite3.Connection, now_us: int) -> bool:
            found = _find(connection, key)
            record = settled(found, token=token, outcome=outcome, keep_s=keep_s, tell_s=tell_s, now_us=now_us)
            if record is not found:
                self._make_room(connection, len(outcome))
            return _keep(connection, key, record)

        return await self._store.run(work)

    async def release(self, key: bytes, *, claimant: str) -> None:
        """End the claimant's claim without an outcome; see `AnswerStore.release`."""

        def work(connection: sqlite3.Connection, now_us: int) -> bool:
            return _keep(connection, key, released(_find(connection, key), claimant=claimant, now_us=now_us))

        await self._store.run(work)

    def _make_room(self, connection: sqlite3.Connection, size_bytes: int) -> None:
        (kept_bytes,) = connection.execute("SELECT coalesce(sum(size_bytes), 0) FROM answers").fetchone()
        first_to_end = connection.execute(
            "SELECT rowid, size_bytes FROM answers WHERE size_bytes > 0 ORDER BY ends_at_us"
        )
        while kept_bytes + size_bytes > self._max_bytes and (row := first_to_end.fetchone()) is not None:
            connection.execute("DELETE FROM answers WHERE rowid = ?", (row[0],))
            kept_bytes -= row[1]


def _find(connection: sqlite3.Connection, key: bytes) -> AnswerRecord | None:
    row = connection.execute(_FIND, (key,)).fetchone()
    if row is None:
        return None
    changed_at_us, token, claimant, held_until_us, settled_token, outcome, kept_until_us, told_until_us = row
    return AnswerRecord(
        changed_at_us=changed_at_us,
        token=token,
        claimant=claimant,
        held_until_us=held_until_us,
        settled=settled_token,
        outcome=outcome,
        kept_until_us=kept_until_us,
        told_until_us=told_until_us,
    )


def _keep(connection: sqlite3.Connection, key: bytes, record: AnswerRecord | None) -> bool:
    if record is None:
        return False
    connection.execute(
        "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key,
            record.changed_at_us,
            record.token,
            record.claimant,
            record.held_until_us,
            record.settled,
            record.outcome,
            record.kept_until_us,
            record.told_until_us,
            record.ends_at_us,
            len(record.outcome),
        ),
    )
    return True


def _forget_ended(connection: sqlite3.Connection, now_us: int) -> None:
    ended = "SELECT rowid FROM answers WHERE ends_at_us <= ? ORDER BY ends_at_us LIMIT ?"
    connection.execute(f"DELETE FROM answers WHERE rowid IN ({ended})", (now_us, _MOST_ENDED_AT_ONCE))  # noqa: S608 - above


_: type[AnswerStore] = SqliteAnswers
