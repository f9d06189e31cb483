"""What sessions look like in tables.

Responsibility: the schema, and the statements of each change.
Guarantees: nothing here commits, so that a caller's transaction is whole; appending and trimming a turn read and write
    no other turn.
Not responsible for: opening the database, its time and its errors: see `holdfast.adapters.sqlite.session_database`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from holdfast.ports.errors import SessionConflictError, SessionNotFoundError
from holdfast.ports.inference import Role
from holdfast.ports.session import (
    LoadedSession,
    Removal,
    RemovedSession,
    SavedSession,
    Session,
    SessionBounds,
    SessionHead,
    SessionMessage,
    SessionTotals,
    SessionTurn,
)

__all__ = ["SCHEMA", "SessionTables"]

SCHEMA: Final[Sequence[tuple[str, ...]]] = (
    (
        # Its time begins at what the wall clock shows when the database is made.
        """
        CREATE TABLE store (
            only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
            sessions INTEGER NOT NULL DEFAULT 0,
            size_bytes INTEGER NOT NULL DEFAULT 0,
            created INTEGER NOT NULL DEFAULT 0,
            expired INTEGER NOT NULL DEFAULT 0,
            evicted INTEGER NOT NULL DEFAULT 0,
            deleted INTEGER NOT NULL DEFAULT 0,
            uses INTEGER NOT NULL DEFAULT 0,
            elapsed_s REAL NOT NULL DEFAULT 0,
            wall_s REAL NOT NULL DEFAULT 0
        )
        """,
        "INSERT INTO store (only_row) VALUES (1)",
        """
        CREATE TABLE session (
            number INTEGER PRIMARY KEY,
            tenant TEXT NOT NULL,
            id TEXT NOT NULL,
            incarnation TEXT NOT NULL,
            version INTEGER NOT NULL,
            persona TEXT,
            fixed_bytes INTEGER NOT NULL,
            size_bytes INTEGER NOT NULL,
            last_use INTEGER NOT NULL,
            used_at_s REAL NOT NULL,
            UNIQUE (tenant, id)
        )
        """,
        # By number, because two uses can have the same time.
        "CREATE UNIQUE INDEX session_by_use ON session (last_use)",
        # Apart, because SQLite writes a row as a whole, and a session's changes with every use.
        """
        CREATE TABLE system_message (
            session INTEGER PRIMARY KEY REFERENCES session ON DELETE CASCADE,
            content BLOB NOT NULL
        )
        """,
        """
        CREATE TABLE turn (
            number INTEGER PRIMARY KEY,
            session INTEGER NOT NULL REFERENCES session ON DELETE CASCADE,
            size_bytes INTEGER NOT NULL
        )
        """,
        "CREATE INDEX turn_of_session ON turn (session)",
        """
        CREATE TABLE message (
            number INTEGER PRIMARY KEY,
            turn INTEGER NOT NULL REFERENCES turn ON DELETE CASCADE,
            role TEXT NOT NULL,
            content BLOB NOT NULL
        )
        """,
        "CREATE INDEX message_of_turn ON message (turn)",
    ),
)
"""The statements that lead from each version to the next."""

_COLUMNS: Final = "number, tenant, id, incarnation, version, persona, fixed_bytes, size_bytes, used_at_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A row of the table of sessions."""

    number: int
    head: SessionHead
    size_bytes: int
    idle_s: float


class SessionTables:
    """The tables within one transaction: made at its begin, and written at its end.

    Args:
        connection: in a transaction.

    Attributes:
        totals: what is kept and what became of the rest.
        elapsed_s: the moment of the transaction, in the database's own time.
        wall_s: the same moment on the wall clock.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        row = connection.execute(
            "SELECT sessions, size_bytes, created, expired, evicted, deleted, uses, elapsed_s, wall_s FROM store"
        ).fetchone()
        self.totals = SessionTotals(
            sessions=row[0], size_bytes=row[1], created=row[2], expired=row[3], evicted=row[4], deleted=row[5]
        )
        self._uses: int = row[6]
        self.elapsed_s: float = row[7]
        self.wall_s: float = row[8]

    def write(self) -> None:
        """Write totals and time."""
        totals = self.totals
        self._connection.execute(
            "UPDATE store SET sessions = ?, size_bytes = ?, created = ?, expired = ?, evicted = ?, deleted = ?,"
            " uses = ?, elapsed_s = ?, wall_s = ?",
            (
                totals.sessions,
                totals.size_bytes,
                totals.created,
                totals.expired,
                totals.evicted,
                totals.deleted,
                self._uses,
                self.elapsed_s,
                self.wall_s,
            ),
        )

    def create(self, session: Session, *, bounds: SessionBounds) -> tuple[RemovedSession, ...]:
        """Keep a new session, and return which others had to go."""
        head = session.head
        removed: list[RemovedSession] = []
        if (old := self._seek(head.tenant, head.session_id)) is not None:
            if not bounds.has_expired(old.idle_s):
                raise SessionConflictError(
                    session_id=head.session_id, expected_version=0, found_version=old.head.version
                )
            removed.append(self._remove(old, Removal.EXPIRED))
        number: int = self._connection.execute(
            "INSERT INTO session"
            " (tenant, id, incarnation, version, persona, fixed_bytes, size_bytes, last_use, used_at_s)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number",
            (
                head.tenant,
                head.session_id,
                head.incarnation,
                head.version,
                head.persona,
                head.fixed_bytes,
                session.size_bytes,
                self._next_use(),
                self.elapsed_s,
            ),
        ).fetchone()[0]
        if session.system is not None:
            self._connection.execute("INSERT INTO system_message VALUES (?, ?)", (number, session.system))
        for turn in session.turns:
            self._append(number, turn)
        self._count(sessions=1, created=1, size_bytes=session.size_bytes)
        return self._make_room(bounds, removed)

    def load(self, tenant: str, session_id: str, *, bounds: SessionBounds) -> LoadedSession:
        """Return the session as it is now."""
        kept = self._find(tenant, session_id, bounds)
        self._connection.execute(
            "UPDATE session SET last_use = ?, used_at_s = ? WHERE number = ?",
            (self._next_use(), self.elapsed_s, kept.number),
        )
        system = self._connection.execute(
            "SELECT content FROM system_message WHERE session = ?", (kept.number,)
        ).fetchone()
        session = Session(
            head=kept.head,
            system=None if system is None else system[0],
            turns=self._turns(kept.number),
            size_bytes=kept.size_bytes,
        )
        return LoadedSession(session=session, removed=self._make_room(bounds))

    def save(
        self, head: SessionHead, *, persona: str | None, turn: SessionTurn | None, bounds: SessionBounds
    ) -> SavedSession:
        """Change the session if it is still as `head` says."""
        kept = self._find(head.tenant, head.session_id, bounds)
        if kept.head.incarnation != head.incarnation:
            raise SessionNotFoundError(session_id=head.session_id)
        if kept.head.version != head.version:
            raise SessionConflictError(
                session_id=head.session_id, expected_version=head.version, found_version=kept.head.version
            )
        changed = replace(kept.head, version=kept.head.version + 1, persona=persona)
        added_bytes = 0 if turn is None else turn.size_bytes
        turns, messages, freed_bytes = self._trim(kept, kept.size_bytes + added_bytes - bounds.max_bytes)
        if turn is not None:
            self._append(kept.number, turn)
        self._connection.execute(
            "UPDATE session SET version = ?, persona = ?, size_bytes = ?, last_use = ?, used_at_s = ? WHERE number = ?",
            (
                changed.version,
                changed.persona,
                kept.size_bytes + added_bytes - freed_bytes,
                self._next_use(),
                self.elapsed_s,
                kept.number,
            ),
        )
        self._count(size_bytes=added_bytes - freed_bytes)
        return SavedSession(
            head=changed,
            trimmed_turns=turns,
            trimmed_messages=messages,
            trimmed_bytes=freed_bytes,
            removed=self._make_room(bounds),
        )

    def delete(self, tenant: str, session_id: str, *, bounds: SessionBounds) -> None:
        """Forget the session."""
        self._forget(self._find(tenant, session_id, bounds))
        self._count(deleted=1)

    def _next_use(self) -> int:
        self._uses += 1
        return self._uses

    def _seek(self, tenant: str, session_id: str) -> _Kept | None:
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM session WHERE tenant = ? AND id = ?",  # noqa: S608 - constant
            (tenant, session_id),
        ).fetchone()
        return None if row is None else self._kept(row)

    def _find(self, tenant: str, session_id: str, bounds: SessionBounds) -> _Kept:
        kept = self._seek(tenant, session_id)
        if kept is None or bounds.has_expired(kept.idle_s):
            raise SessionNotFoundError(session_id=session_id)
        return kept

    def _kept(self, row: tuple[Any, ...]) -> _Kept:
        number, tenant, session_id, incarnation, version, persona, fixed_bytes, size_bytes, used_at_s = row
        return _Kept(
            number=number,
            head=SessionHead(
                tenant=tenant,
                session_id=session_id,
                incarnation=incarnation,
                version=version,
                persona=persona,
                fixed_bytes=fixed_bytes,
            ),
            size_bytes=size_bytes,
            idle_s=self.elapsed_s - used_at_s,
        )

    def _turns(self, session: int) -> tuple[SessionTurn, ...]:
        rows = self._connection.execute(
            "SELECT turn.number, size_bytes, role, content FROM turn JOIN message ON message.turn = turn.number"
            " WHERE session = ? ORDER BY turn.number, message.number",
            (session,),
        )
        return tuple(
            SessionTurn(
                messages=tuple(SessionMessage(role=Role(role), content_utf8=content) for _, _, role, content in turn),
                size_bytes=size_bytes,
            )
            for (_, size_bytes), turn in groupby(rows, key=itemgetter(0, 1))
        )

    def _append(self, session: int, turn: SessionTurn) -> None:
        number = self._connection.execute(
            "INSERT INTO turn (session, size_bytes) VALUES (?, ?)", (session, turn.size_bytes)
        ).lastrowid
        self._connection.executemany(
            "INSERT INTO message (turn, role, content) VALUES (?, ?, ?)",
            [(number, message.role, message.content_utf8) for message in turn.messages],
        )

    def _trim(self, kept: _Kept, excess_bytes: int) -> tuple[int, int, int]:
        """Drop the oldest turns, as few as free that much, and return how many turns, messages and bytes they were."""
        turns = messages = freed_bytes = 0
        oldest = self._connection.execute(
            "SELECT number, size_bytes FROM turn WHERE session = ? ORDER BY number", (kept.number,)
        )
        last: int | None = None
        while freed_bytes < excess_bytes and (row := oldest.fetchone()) is not None:
            last, size_bytes = row
            turns += 1
            freed_bytes += size_bytes
        oldest.close()
        if last is not None:
            chosen = "session = ? AND number <= ?"
            messages = self._connection.execute(
                f"DELETE FROM message WHERE turn IN (SELECT number FROM turn WHERE {chosen})",  # noqa: S608 - constant
                (kept.number, last),
            ).rowcount
            self._connection.execute(f"DELETE FROM turn WHERE {chosen}", (kept.number, last))  # noqa: S608 - constant
        return turns, messages, freed_bytes

    def _make_room(self, bounds: SessionBounds, removed: Iterable[RemovedSession] = ()) -> tuple[RemovedSession, ...]:
        gone = list(removed)
        while True:  # the one in use is always there, and may stay
            row = self._connection.execute(
                f"SELECT {_COLUMNS} FROM session ORDER BY last_use LIMIT 1"  # noqa: S608 - constant
            ).fetchone()
            oldest = self._kept(row)
            reason = bounds.removal(
                idle_s=oldest.idle_s,
                sessions=self.totals.sessions,
                size_bytes=self.totals.size_bytes,
                removed=len(gone),
            )
            if reason is None:
                return tuple(gone)
            gone.append(self._remove(oldest, reason))

    def _remove(self, kept: _Kept, reason: Removal) -> RemovedSession:
        self._forget(kept)
        if reason is Removal.EXPIRED:
            self._count(expired=1)
        else:
            self._count(evicted=1)
        return RemovedSession(
            session_id=kept.head.session_id, reason=reason, idle_s=kept.idle_s, size_bytes=kept.size_bytes
        )

    def _forget(self, kept: _Kept) -> None:
        self._connection.execute("DELETE FROM session WHERE number = ?", (kept.number,))
        self._count(sessions=-1, size_bytes=-kept.size_bytes)

    def _count(
        self,
        *,
        sessions: int = 0,
        size_bytes: int = 0,
        created: int = 0,
        expired: int = 0,
        evicted: int = 0,
        deleted: int = 0,
    ) -> None:
        totals = self.totals
        self.totals = SessionTotals(
            sessions=totals.sessions + sessions,
            size_bytes=totals.size_bytes + size_bytes,
            created=totals.created + created,
            expired=totals.expired + expired,
            evicted=totals.evicted + evicted,
            deleted=totals.deleted + deleted,
        )
