"""Run a batch in one process after the other, kill each at a random moment, and let the last one finish.

Started by test_batch_kill.py. Forking from here costs a millisecond; starting an interpreter would cost three hundred.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import anyio
import trio  # noqa: F401 - imported once, before the processes are forked

from holdfast.adapters.files.atomic_writer import AtomicFileWriter
from holdfast.adapters.sqlite.journal import SqliteJournal
from holdfast.adapters.sqlite.journal_reading import read_answers, read_summary
from holdfast.adapters.sqlite.journal_schema import STEPS
from holdfast.adapters.sqlite.journal_session import read_journal
from holdfast.adapters.system.clock import SystemClock
from holdfast.application.batch import BatchRunner
from holdfast.application.batch_config import BatchConfig
from holdfast.ports.batch import BatchStatus
from holdfast.ports.inference import Usage
from holdfast.ports.journal import BatchSummary
from holdfast.ports.service import Disposition, Reply, Request

QUESTIONS = 600
BLANK_LINES = 2400
LOG_LINE_BYTES = 80
LIVES_AT_THE_SCAN = 10


class LoggingService:
    """Answers after a moment; whoever was asked is in the log, whatever happens to the process then."""

    def __init__(self, log: Path, life: int) -> None:
        self._descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._life = life

    async def submit(self, request: Request) -> Reply:
        line = f"{self._life} {request.request_id} {request.idempotency_key}"
        os.write(self._descriptor, f"{line:<{LOG_LINE_BYTES - 1}}\n".encode())
        await anyio.sleep(random.uniform(0.0, 0.004))
        return Reply(
            text=f"answer to {request.request_id}",
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


class Range:
    """The folder that the batches run in."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.input = folder / "input.jsonl"
        self.output = folder / "out"
        self.journal = self.output / "journal.sqlite3"
        self.log = folder / "calls.log"
        self.backend = backend

    def write_input(self) -> None:
        lines = [json.dumps({"id": f"q{number}", "question": "Why?"}) for number in range(QUESTIONS)]
        lines += [""] * BLANK_LINES
        random.shuffle(lines)
        self.input.write_text("".join(f"{line}\n" for line in lines))

    def start(self, life: int) -> int:
        """Fork a process that runs the batch to its end, and return its id."""
        process_id = os.fork()
        if process_id:
            return process_id
        code = 1
        try:
            code = anyio.run(self._live, life, backend=self.backend)
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            sys.stderr.flush()
            os._exit(code)

    async def _live(self, life: int) -> int:
        runner = BatchRunner(
            LoggingService(self.log, life).submit,
            SqliteJournal(self.journal),
            AtomicFileWriter(clock=SystemClock(), notify=print),
            output_folder=self.output,
            configuration="{}",
            clock=SystemClock(),
            # Every item is killed here sooner or later, through no fault of its own.
            config=BatchConfig(concurrency=4, max_crashes=1_000_000),
        )
        report = await runner.run(self.input)
        return 0 if report.status is BatchStatus.COMPLETE else 1

    def wait_for_calls(self, calls: int) -> None:
        """Wait until so many more calls were logged than now, 5 s at most."""
        started_s = time.monotonic()
        logged_bytes = self._logged_bytes()
        while self._logged_bytes() < logged_bytes + calls * LOG_LINE_BYTES and time.monotonic() < started_s + 5.0:
            time.sleep(0.0005)

    def _logged_bytes(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def summary(self) -> BatchSummary:
        return read_journal(self.journal, STEPS, read_summary, absent=BatchSummary)

    def recorded(self) -> set[str]:
        def read(connection: sqlite3.Connection) -> set[str]:
            return {answer.id for answer in read_answers(connection, 0, QUESTIONS)}

        return read_journal(self.journal, STEPS, read, absent=set[str])


def main(folder: Path, backend: str, kills: int, seed: int) -> dict[str, Any]:
    random.seed(seed)
    firing = Range(folder, backend)
    firing.write_input()
    recorded: list[list[str]] = [[]]
    killed_while_scanning = 0
    for life in range(kills):
        process_id = firing.start(life)
        if life < LIVES_AT_THE_SCAN:
            time.sleep(random.uniform(0.0, 0.06))
        else:
            # By count, not by time: a slow machine shall get somewhere, and a fast one not to the end.
            firing.wait_for_calls(random.randrange(12))
            time.sleep(random.uniform(0.0, 0.01))
        os.kill(process_id, signal.SIGKILL)
        _, status = os.waitpid(process_id, 0)
        assert os.WIFSIGNALED(status), f"life {life} ended by itself with {status}; seed {seed}"
        killed_while_scanning += firing.summary().fingerprints is None
        recorded.append(sorted(firing.recorded()))
    _, status = os.waitpid(firing.start(kills), 0)
    assert status == 0, f"the last life ended with {status}; seed {seed}"
    return {"killed_while_scanning": killed_while_scanning, "recorded": recorded}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
