"""A full-text index of passages in one SQLite database.

Responsibility: keep the passages of each document, and find the best ones for a few words.
Guarantees: a document's passages are replaced in one transaction; a search goes by a query's rarest words when all of
    them are found too often, so what it ranks is bounded; an index of another folder or version is emptied, a broken
    one is set aside and built anew, and a file that belongs to something else is refused and left alone.
Not responsible for: threads (one at a time may call), and for what is in the documents.
Source: https://www.sqlite.org/fts5.html; ranking by its `bm25`.
"""

from __future__ import annotations

import itertools
import sqlite3
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from holdfast.adapters.sqlite.database_file import begin_wal, is_foreign
from holdfast.adapters.sqlite.document_folder import Stamp
from holdfast.adapters.sqlite.markdown_passages import Piece
from holdfast.adapters.sqlite.transaction import transaction
from holdfast.ports.retrieval import Passage

__all__ = ["ForeignFileError", "FtsIndex", "is_corrupt", "set_aside"]

_APPLICATION_ID: Final = 0x68666678
"""``hfix``: what tells an index from any other database; see ``PRAGMA application_id``."""

_HEADER: Final = b"SQLite format 3\x00"
"""How every SQLite file begins that is not empty; see https://www.sqlite.org/fileformat.html."""

_REMEDY: Final = "choose another file for retrieval.index"

_SCHEMA_VERSION: Final = 1
_LOCK_TIMEOUT_S: Final = 5.0

_MAX_HITS: Final = 3000
"""Occurrences that one query may rank, at about 1.3 µs each (`benchmarks/bench_retrieval.py`)."""

# Words are compared by their English stem and without accents. A word in a heading says more about a passage than one
# in its text; the weights (title, heading, text, source) are unmeasured.
_SCHEMA: Final = (
    "DROP TABLE IF EXISTS origin",
    "DROP TABLE IF EXISTS document",
    "DROP TABLE IF EXISTS passage",
    "CREATE TABLE origin (name TEXT NOT NULL)",
    """
    CREATE TABLE document (
        source TEXT PRIMARY KEY,
        mtime_ns INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        first_passage INTEGER NOT NULL,
        passages INTEGER NOT NULL,
        unusable TEXT
    ) WITHOUT ROWID
    """,
    """
    CREATE VIRTUAL TABLE passage USING fts5(
        title, heading, text, source UNINDEXED, tokenize = 'porter unicode61 remove_diacritics 2'
    )
    """,
    "INSERT INTO passage (passage, rank) VALUES ('rank', 'bm25(2.0, 4.0, 1.0, 0.0)')",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)

# The best are chosen before their texts are read: most passages hold some word of the query.
_SEARCH: Final = """
    SELECT passage.source, passage.heading, passage.text, -best.score
    FROM (SELECT rowid AS id, rank AS score FROM passage WHERE passage MATCH ? ORDER BY rank LIMIT ?) AS best
    JOIN passage ON passage.rowid = best.id
    ORDER BY best.score, passage.source, passage.heading, best.id
"""


class ForeignFileError(Exception):
    """The file belongs to something else; the message says what to do."""


class FtsIndex:
    """An index that is open.

    Args:
        path: its file, made when missing; None keeps it in memory.
        origin: names what it is made from; an index that was made from something else is emptied.

    Raises:
        ForeignFileError: `path` is a folder, a file of another kind, or a database that something else keeps.
        sqlite3.DatabaseError: it cannot be opened, or not even be built anew.
        OSError: it cannot be looked at, or its folder not be made.
    """

    def __init__(self, path: Path | None, *, origin: str) -> None:
        self.path = path
        if path is not None:
            _refuse_at_sight(path)
            path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = _connect(path, origin)

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    def stamps(self) -> dict[str, Stamp]:
        """Return every document that it knows, by source."""
        rows = self._connection.execute("SELECT source, mtime_ns, size_bytes FROM document")
        return {source: Stamp(mtime_ns, size_bytes) for source, mtime_ns, size_bytes in rows}

    def unusable(self) -> dict[str, str]:
        """Return why a document holds no passages, by source."""
        return dict(self._connection.execute("SELECT source, unusable FROM document WHERE unusable IS NOT NULL"))

    def counts(self) -> tuple[int, int]:
        """Return the number of usable documents and of passages."""
        documents, passages = self._connection.execute(
            "SELECT count(*), total(passages) FROM document WHERE unusable IS NULL"
        ).fetchone()
        return documents, int(passages)

    def put(self, source: str, stamp: Stamp, pieces: Iterable[Piece], *, unusable: str | None = None) -> None:
        """Replace what is known of one document."""
        with transaction(self._connection):
            _delete(self._connection, source)
            (first,) = self._connection.execute(
                "SELECT coalesce(max(first_passage + passages), 1) FROM document"
            ).fetchone()
            rows = [
                (first + offset, piece.title, piece.heading, piece.text, source) for offset, piece in enumerate(pieces)
            ]
            self._connection.executemany(
                "INSERT INTO passage (rowid, title, heading, text, source) VALUES (?, ?, ?, ?, ?)", rows
            )
            self._connection.execute(
                "INSERT INTO document VALUES (?, ?, ?, ?, ?, ?)",
                (source, stamp.mtime_ns, stamp.size_bytes, first, len(rows), unusable),
            )

    def remove(self, source: str) -> None:
        """Forget one document."""
        with transaction(self._connection):
            _delete(self._connection, source)

    def search(self, terms: Sequence[str], limit: int) -> tuple[Passage, ...]:
        """Return the passages that hold any of `terms`, best first. A term is letters and digits only."""
        affordable = self._affordable(terms)
        if not affordable or limit < 1:
            return ()
        return tuple(
            Passage(source=source, heading=heading, text=text, score=score)
            for source, heading, text, score in self._connection.execute(_SEARCH, (" OR ".join(affordable), limit))
        )

    def _affordable(self, terms: Iterable[str]) -> list[str]:
        """Return the rarest terms, quoted, that are not found too often together; always one, if any is found."""
        quoted = [f'"{term}"' for term in terms]
        counted = sorted((count, term) for term in quoted if (count := self._count(term)))
        hits = itertools.accumulate(count for count, _ in counted)
        return [term for (_, term), total in zip(counted, hits, strict=True) if total <= max(_MAX_HITS, counted[0][0])]

    def _count(self, matching: str) -> int:
        (count,) = self._connection.execute(
            "SELECT count(*) FROM passage WHERE passage MATCH ?", (matching,)
        ).fetchone()
        return int(count)


def is_corrupt(error: sqlite3.DatabaseError) -> bool:
    """Return whether the file itself is broken, and not only busy, full or out of reach."""
    # Errors that Python's module raises by itself, such as for text that is not UTF-8, carry no code.
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def set_aside(path: Path) -> None:
    """Rename a broken index to ``….broken``, so that a new one can take its place and nothing is deleted by mistake.

    Raises:
        ForeignFileError: it is neither empty nor a SQLite file; it stays where it is.
        OSError: it cannot be read or renamed.
    """
    # Not done before SQLite finds the file broken: to close it drops every lock that this process has on it, see
    # section 2.2 of https://www.sqlite.org/howtocorrupt.html.
    with path.open("rb") as file:
        start = file.read(len(_HEADER))
    if start not in {b"", _HEADER}:
        raise ForeignFileError(f"is not an index; {_REMEDY}")
    path.replace(f"{path}.broken")
    for suffix in ("-wal", "-shm"):  # they would be replayed into the new file
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _refuse_at_sight(path: Path) -> None:
    """Refuse what SQLite does not: to it, a file of one byte is empty, and a folder only cannot be opened."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode) or 0 < status.st_size < len(_HEADER):
        raise ForeignFileError(f"is not an index; {_REMEDY}")


def _connect(path: Path | None, origin: str) -> sqlite3.Connection:
    try:
        return _open(path, origin)
    except sqlite3.DatabaseError as error:
        if path is None or not is_corrupt(error):
            raise
        set_aside(path)
        return _open(path, origin)


def _open(path: Path | None, origin: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        ":memory:" if path is None else path, timeout=_LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        _prepare(connection, origin)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, origin: str) -> None:
    if is_foreign(connection, _APPLICATION_ID):
        raise ForeignFileError(f"is a database of something else; {_REMEDY}")
    begin_wal(connection, patience_s=_LOCK_TIMEOUT_S)
    connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the newest documents; they are read again
    with transaction(connection):
        if not _is_current(connection, origin):
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT INTO origin VALUES (?)", (origin,))


def _is_current(connection: sqlite3.Connection, origin: str) -> bool:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != _SCHEMA_VERSION:
        return False
    (recorded,) = connection.execute("SELECT name FROM origin").fetchone()
    return bool(recorded == origin)


def _delete(connection: sqlite3.Connection, source: str) -> None:
    known = connection.execute("SELECT first_passage, passages FROM document WHERE source = ?", (source,)).fetchone()
    if known is not None:
        first, passages = known
        connection.execute("DELETE FROM passage WHERE rowid BETWEEN ? AND ?", (first, first + passages - 1))
        connection.execute("DELETE FROM document WHERE source = ?", (source,))
