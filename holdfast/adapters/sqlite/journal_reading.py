"""What the reading side of a batch journal asks its tables.

Responsibility: the numbers of a batch, and its results page by page.
Guarantees: each function reads one snapshot; a page is bounded by count and by bytes.
Not responsible for: opening the journal, threads and errors: see `holdfast.adapters.sqlite.journal`.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator

from holdfast.ports.inference import Citation, FinishReason, Usage
from holdfast.ports.journal import (
    AnsweredItem,
    BatchSummary,
    FailedItem,
    Failure,
    FailureKind,
    Fingerprints,
)
from holdfast.ports.service import Disposition, Reply

__all__ = ["read_answers", "read_failures", "read_summary"]

# A page of the largest answers must not take more memory than one of them and this. Unmeasured.
_PAGE_BYTES = 1024 * 1024


def read_summary(connection: sqlite3.Connection) -> BatchSummary:
    """Return the batch in numbers; all 0 while it is not sealed."""
    fingerprints = connection.execute("SELECT input_sha256, configuration_sha256 FROM batch").fetchone()
    if fingerprints is None:
        return BatchSummary()
    items: int = connection.execute("SELECT count(*) FROM item").fetchone()[0]
    answered, rejected, recorded, saved, calls = connection.execute(
        """
        SELECT
            count(*) FILTER (WHERE kind IS NULL),
            count(*) FILTER (WHERE run IS NULL),
            count(*),
            count(*) FILTER (WHERE disposition IN (:joined, :cached)),
            coalesce(sum(attempts) FILTER (WHERE disposition = :called), 0)
        FROM record WHERE superseded_by IS NULL
        """,
        {"called": Disposition.CALLED, "joined": Disposition.JOINED, "cached": Disposition.CACHED},
    ).fetchone()
    failures = connection.execute(
        "SELECT kind, count(*) FROM record WHERE superseded_by IS NULL AND kind IS NOT NULL"
        " GROUP BY kind ORDER BY count(*) DESC, kind"
    )
    p50_s, p99_s = _percentiles(connection, answered, 0.50, 0.99)
    return BatchSummary(
        fingerprints=Fingerprints(input_sha256=fingerprints[0], configuration_sha256=fingerprints[1]),
        run=connection.execute("SELECT max(number) FROM run").fetchone()[0],
        items=items,
        pending=items - recorded,
        answered=answered,
        failed=recorded - answered - rejected,
        rejected=rejected,
        duplicates_saved=saved,
        backend_calls=calls,
        p50_s=p50_s,
        p99_s=p99_s,
        failures=tuple((FailureKind(kind), count) for kind, count in failures),
    )


def _percentiles(connection: sqlite3.Connection, answered: int, *ratios: float) -> list[float | None]:
    # One sort without a LIMIT, which SQLite spills to a file; with one, a million rows took several times as long.
    ascending = connection.execute(
        "SELECT elapsed_s FROM record WHERE superseded_by IS NULL AND kind IS NULL ORDER BY elapsed_s"
    )
    ranks = [max(0, math.ceil(ratio * answered) - 1) for ratio in ratios]
    found: dict[int, float] = {rank: row[0] for rank, row in enumerate(ascending) if rank in ranks}
    return [found.get(rank) for rank in ranks]


def read_answers(connection: sqlite3.Connection, after_line: int, limit: int) -> list[AnsweredItem]:
    """Return the next answers."""
    return list(_answers(connection, after_line, limit))


def _answers(connection: sqlite3.Connection, after_line: int, limit: int) -> Iterator[AnsweredItem]:
    rows = connection.execute(
        "SELECT line, id, elapsed_s, text, backend, model, disposition, attempts, queue_s, backend_s, input_tokens,"
        " output_tokens, citations, persona, marks, finish_reason FROM record JOIN item USING (line)"
        " WHERE superseded_by IS NULL AND kind IS NULL AND line > ? ORDER BY line LIMIT ?",
        (after_line, limit),
    )
    size_bytes = 0
    for row in rows:
        line, item_id, elapsed_s, text, backend, model, disposition, attempts, queue_s, backend_s, *tail = row
        input_tokens, output_tokens, citations, persona, marks, finish_reason = tail
        reply = Reply(
            text=text,
            backend=backend,
            model=model,
            disposition=Disposition(disposition),
            attempts=attempts,
            queue_s=queue_s,
            backend_s=backend_s,
            usage=Usage(input_tokens=input_tokens, output_tokens=output_tokens),
            citations=tuple(Citation(source=source, heading=heading) for source, heading in json.loads(citations)),
            request_id=item_id,
            persona=persona,
            marks=tuple(json.loads(marks)),
            finish_reason=None if finish_reason is None else FinishReason(finish_reason),
        )
        yield AnsweredItem(line=line, id=item_id, reply=reply, elapsed_s=elapsed_s)
        size_bytes += len(text) + len(citations)
        if size_bytes >= _PAGE_BYTES:
            return


def read_failures(connection: sqlite3.Connection, after_line: int, limit: int) -> list[FailedItem]:
    """Return the next failures and rejections."""
    rows = connection.execute(
        "SELECT line, id, kind, reason, elapsed_s FROM record JOIN item USING (line)"
        " WHERE superseded_by IS NULL AND kind IS NOT NULL AND line > ? ORDER BY line LIMIT ?",
        (after_line, limit),
    )
    return [
        FailedItem(
            line=line,
            id=item_id,
            failure=Failure(kind=FailureKind(kind), reason=reason),
            elapsed_s=elapsed_s,
        )
        for line, item_id, kind, reason, elapsed_s in rows
    ]
