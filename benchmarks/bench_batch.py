"""What it costs to keep a batch: a durable save next to its alternatives, an item through the runner, a line scanned.

``.venv/bin/python benchmarks/bench_batch.py 1000000`` scans a million lines instead of a hundred thousand.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

import anyio
from harness import Row, measure, report

from holdfast.adapters.files.atomic_writer import AtomicFileWriter
from holdfast.adapters.memory.journal import MemoryJournal
from holdfast.adapters.sqlite.journal import SqliteJournal
from holdfast.adapters.system.clock import SystemClock
from holdfast.application.batch import BatchRunner
from holdfast.application.batch_config import BatchConfig
from holdfast.application.batch_enrolment import enrol_input
from holdfast.application.batch_tally import BatchTally
from holdfast.ports.inference import Usage
from holdfast.ports.journal import BatchLedger
from holdfast.ports.service import Disposition, Reply, Request

# What a line may cost while it is scanned, and how far memory may rise: a million lines shall take less than a minute.
_BUDGET_LINE_US = 50.0
_BUDGET_GROWTH_MB = 32.0

_SAVES = 50
_ITEMS = 200
_RECORD = {"id": "q1", "line": 1, "text": "x" * 500, "backend": "main", "attempts": 1}


class _NoopService:
    async def submit(self, request: Request) -> Reply:
        return Reply(
            text="x" * 500,
            backend="main",
            model="m",
            disposition=Disposition.CALLED,
            attempts=1,
            queue_s=0.0,
            backend_s=0.0,
            usage=Usage(),
            citations=(),
            request_id=request.request_id,
        )


def _write_input(path: Path, lines: int) -> Path:
    with path.open("w") as file:
        for number in range(lines):
            file.write(json.dumps({"id": f"question-{number}", "question": f"What does decision {number} say?"}) + "\n")
    return path


def _saves(folder: Path) -> list[Row]:
    lines = itertools.count()
    with ExitStack() as opened:
        file = opened.enter_context((folder / "appended.jsonl").open("ab", buffering=0))
        normal, full = (opened.enter_context(closing(_database(folder, mode))) for mode in ("NORMAL", "FULL"))

        def append() -> None:
            file.write(json.dumps(_RECORD).encode() + b"\n")

        def append_and_sync() -> None:
            append()
            os.fsync(file.fileno())

        def commit(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO record VALUES (?, ?)", (next(lines), json.dumps(_RECORD)))
            connection.execute("COMMIT")

        return [
            measure("no save: only rendering the record", lambda: json.dumps(_RECORD).encode(), calls=_SAVES),
            measure("append to JSONL, not synced", append, calls=_SAVES),
            measure("append to JSONL, fsync", append_and_sync, calls=_SAVES),
            measure("SQLite transaction, WAL, synchronous=NORMAL", lambda: commit(normal), calls=_SAVES),
            measure("SQLite transaction, WAL, synchronous=FULL", lambda: commit(full), calls=_SAVES),
        ]


def _database(folder: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / f"{synchronous}.sqlite3", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("CREATE TABLE record (line INTEGER PRIMARY KEY, payload TEXT NOT NULL)")
    return connection


def _row(path: str, per_call_s: list[float], calls: int, budget_us: float | None = None) -> Row:
    return Row(
        path=path,
        p50_us=statistics.median(per_call_s) * 1e6,
        fastest_us=min(per_call_s) * 1e6,
        slowest_us=max(per_call_s) * 1e6,
        p99_us=max(per_call_s) * 1e6,
        rounds=len(per_call_s),
        calls=calls,
        budget_p50_us=budget_us,
    )


async def _items(folder: Path, name: str, ledgers: list[BatchLedger], *, concurrency: int) -> Row:
    per_item_s: list[float] = []
    path = _write_input(folder / "items.jsonl", _ITEMS)
    for ledger in ledgers:
        runner = BatchRunner(
            _NoopService().submit,
            ledger,
            AtomicFileWriter(clock=SystemClock(), notify=print),
            output_folder=Path(tempfile.mkdtemp(dir=folder)),
            configuration="{}",
            clock=SystemClock(),
            config=BatchConfig(concurrency=concurrency),
        )
        start_s = time.perf_counter()
        await runner.run(path)
        per_item_s.append((time.perf_counter() - start_s) / _ITEMS)
    return _row(name, per_item_s, _ITEMS)


async def _scan(folder: Path, lines: int) -> tuple[Row, float]:
    path = _write_input(folder / "scan.jsonl", lines)
    rounds = 3 if lines <= 100_000 else 1
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    per_line_s: list[float] = []
    for number in range(rounds):
        async with SqliteJournal(folder / f"scan-{number}.sqlite3").writing() as journal:
            start_s = time.perf_counter()
            tally = BatchTally(SystemClock(), None)
            await enrol_input(journal, path, "{}", BatchConfig(), stop=anyio.Event(), tally=tally)
            per_line_s.append((time.perf_counter() - start_s) / lines)
    growth_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
    return _row("scan and enrol one line", per_line_s, lines, _BUDGET_LINE_US), growth_mb


def main(lines: int = 100_000) -> bool:
    """Print the tables and return whether every row keeps to its budget."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scanned, growth_mb = anyio.run(_scan, folder, lines)
        is_scanned = report(f"Scanning {lines} lines, sealed and durable", [scanned], packages=("anyio", "pydantic"))
        is_flat = growth_mb <= _BUDGET_GROWTH_MB
        print(
            f"{1e6 / scanned.p50_us:,.0f} lines/s; peak memory rose by {growth_mb:.1f} MB"
            f"  budget ≤ {_BUDGET_GROWTH_MB:g} MB: {'kept' if is_flat else 'MISSED'}"
        )
        is_saved = report(f"Saving one record (SQLite {sqlite3.sqlite_version})", _saves(folder))

        async def items() -> list[Row]:
            journals: list[BatchLedger] = [SqliteJournal(folder / f"run-{number}.sqlite3") for number in range(6)]
            return [
                await _items(
                    folder, "kept in memory, concurrency 8", [MemoryJournal() for _ in range(3)], concurrency=8
                ),
                await _items(folder, "kept in SQLite, concurrency 1", journals[:3], concurrency=1),
                await _items(folder, "kept in SQLite, concurrency 8", journals[3:], concurrency=8),
            ]

        is_run = report("One item through the runner, service answers at once", anyio.run(items))
    return is_scanned and is_flat and is_saved and is_run


if __name__ == "__main__":
    sys.exit(0 if main(*(int(argument) for argument in sys.argv[1:])) else 1)
