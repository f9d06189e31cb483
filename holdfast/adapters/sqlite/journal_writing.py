"""What the writing side of a batch journal does to its tables.

Responsibility: one function for each change; each runs inside one transaction.
Guarantees: none of them commits, so that a caller's transaction is whole.
Not responsible for: threads, locks and errors: see `holdfast.adapters.sqlite.journal_session`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from holdfast.ports.errors import BatchError
from holdfast.ports.journal import (
    AnsweredItem,
    BatchItem,
    Claim,
    DuplicateId,
    FailedItem,
    Fingerprints,
)

__all__ = [
    "begin_retry",
    "claim",
    "continue_run",
    "enrol",
    "newest_run",
    "record_answer",
    "record_failure",
    "recover",
    "release",
    "seal",
    "undo_run",
]


def recover(connection: sqlite3.Connection) -> None:
    """Clean up after a process that died: no item is in hand, and an unsealed enrolment never was."""
    connection.execute("UPDATE queue SET in_hand = 0 WHERE in_hand = 1")
    if not _is_sealed(connection):
        connection.execute("DELETE FROM record")
        connection.execute("DELETE FROM item")


def enrol(connection: sqlite3.Connection, items: Sequence[BatchItem]) -> DuplicateId | None:
    """Add items, up to the first one whose id is taken."""
    if _is_sealed(connection):
        raise BatchError("the batch is sealed; items are enrolled before that")
    for item in items:
        added = connection.execute(
            "INSERT INTO item (line, id, byte_offset, size_bytes, sha256) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO NOTHING",
            (item.line, item.id, item.byte_offset, item.size_bytes, item.sha256),
        )
        if not added.rowcount:
            first_line: int = connection.execute("SELECT line FROM item WHERE id = ?", (item.id,)).fetchone()[0]
            return DuplicateId(id=item.id, line=item.line, first_line=first_line)
    connection.executemany(
        "INSERT INTO record (line, kind, reason) VALUES (?, ?, ?)",
        [(item.line, item.rejection.kind, item.rejection.reason) for item in items if item.rejection],
    )
    return None


def _is_sealed(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM batch").fetchone() is not None


def seal(connection: sqlite3.Connection, fingerprints: Fingerprints) -> None:
    """Say that every line is enrolled."""
    if _is_sealed(connection):
        raise BatchError("the batch is sealed already; a changed input needs another journal")
    connection.execute(
        "INSERT INTO batch (only_row, input_sha256, configuration_sha256) VALUES (1, ?, ?)",
        (fingerprints.input_sha256, fingerprints.configuration_sha256),
    )


def _require_sealed(connection: sqlite3.Connection) -> None:
    if not _is_sealed(connection):
        raise BatchError("the batch is not sealed yet; enrol its items and seal it first")


def newest_run(connection: sqlite3.Connection) -> int | None:
    """Return its number, or None before the first run."""
    number: int | None = connection.execute("SELECT max(number) FROM run").fetchone()[0]
    return number


def continue_run(connection: sqlite3.Connection) -> int:
    """Return the newest run's number, beginning the first run if there is none."""
    _require_sealed(connection)
    number = newest_run(connection)
    if number is not None:
        return number
    connection.execute("INSERT INTO queue (line) SELECT line FROM item WHERE line NOT IN (SELECT line FROM record)")
    connection.execute("INSERT INTO run (number) VALUES (1)")
    return 1


def begin_retry(connection: sqlite3.Connection) -> int:
    """Set the failures aside, queue their items for a new run, and return its number."""
    _require_sealed(connection)
    last = newest_run(connection)
    if last is None or connection.execute("SELECT 1 FROM queue").fetchone():
        raise BatchError("items are still pending; finish their run before its failures are retried")
    failed = "superseded_by IS NULL AND kind IS NOT NULL AND run IS NOT NULL"
    connection.execute(f"INSERT INTO queue (line) SELECT line FROM record WHERE {failed}")  # noqa: S608 - constant
    connection.execute(f"UPDATE record SET superseded_by = ? WHERE {failed}", (last + 1,))  # noqa: S608 - constant
    connection.execute("INSERT INTO run (number) VALUES (?)", (last + 1,))
    return last + 1


def undo_run(connection: sqlite3.Connection, number: int) -> int:
    """Take the newest run's results away, bring back what it had superseded, and return how many were taken."""
    taken = connection.execute("DELETE FROM record WHERE run = ?", (number,)).rowcount
    connection.execute("UPDATE record SET superseded_by = NULL WHERE superseded_by = ?", (number,))
    connection.execute("DELETE FROM queue")
    connection.execute("DELETE FROM run WHERE number = ?", (number,))
    return taken


# A fresh item was never in hand, so no claimed one is fresh. Settled items leave the queue, so the search by line
# passes over the few that are in hand or suspect and ends at the first match.
_FRESH = "crashes = 0 ORDER BY line"
_SUSPECT = "crashes > 0 AND in_hand = 0 ORDER BY crashes, line"


def claim(connection: sqlite3.Connection, *, suspects: bool) -> Claim | None:
    """Take the next item in hand and count its crash in advance."""
    row = connection.execute(
        "SELECT line, id, byte_offset, size_bytes, sha256, crashes FROM queue JOIN item USING (line)"  # noqa: S608 - constant
        f" WHERE {_SUSPECT if suspects else _FRESH} LIMIT 1"
    ).fetchone()
    if row is None:
        return None
    line, item_id, byte_offset, size_bytes, sha256, crashes = row
    connection.execute("UPDATE queue SET crashes = crashes + 1, in_hand = 1 WHERE line = ?", (line,))
    item = BatchItem(line=line, id=item_id, byte_offset=byte_offset, size_bytes=size_bytes, sha256=sha256)
    return Claim(item=item, crashes=crashes)


def record_answer(connection: sqlite3.Connection, run: int, answer: AnsweredItem) -> None:
    """Record an answer in place of the item's entry in the queue."""
    _leave_hand(connection, answer.line)
    reply = answer.reply
    connection.execute(
        "INSERT INTO record (line, run, elapsed_s, text, backend, model, disposition, attempts, queue_s, backend_s,"
        " input_tokens, output_tokens, citations, persona, marks, finish_reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            answer.line,
            run,
            answer.elapsed_s,
            reply.text,
            reply.backend,
            reply.model,
            reply.disposition,
            reply.attempts,
            reply.queue_s,
            reply.backend_s,
            reply.usage.input_tokens,
            reply.usage.output_tokens,
            json.dumps([[citation.source, citation.heading] for citation in reply.citations]),
            reply.persona,
            json.dumps(reply.marks),
            reply.finish_reason,
        ),
    )


def record_failure(connection: sqlite3.Connection, run: int, failed: FailedItem) -> None:
    """Record a failure in place of the item's entry in the queue."""
    _leave_hand(connection, failed.line)
    connection.execute(
        "INSERT INTO record (line, run, elapsed_s, kind, reason) VALUES (?, ?, ?, ?, ?)",
        (failed.line, run, failed.elapsed_s, failed.failure.kind, failed.failure.reason),
    )


def _leave_hand(connection: sqlite3.Connection, line: int) -> None:
    if not connection.execute("DELETE FROM queue WHERE line = ? AND in_hand = 1", (line,)).rowcount:
        raise _not_in_hand(line)


def _not_in_hand(line: int) -> BatchError:
    return BatchError(f"line {line} is not in hand; claim it first, and settle it once")


def release(connection: sqlite3.Connection, released: Claim) -> None:
    """Put an item back, its crash not counted."""
    line = released.item.line
    if not connection.execute(
        "UPDATE queue SET crashes = crashes - 1, in_hand = 0 WHERE line = ? AND in_hand = 1", (line,)
    ).rowcount:
        raise _not_in_hand(line)
