"""Any batch, interrupted in any way any number of times, ends with one record for each line."""

from __future__ import annotations

import enum
import json
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.adapters.memory.files import MemoryFiles
from holdfast.adapters.memory.journal import MemoryJournal
from holdfast.application.batch import BatchRunner
from holdfast.application.batch_config import BatchConfig
from holdfast.ports.batch import BatchReport, BatchStatus
from holdfast.ports.errors import BackendUnavailableError, ClosedError
from holdfast.ports.inference import Usage
from holdfast.ports.service import Disposition, Reply, Request
from holdfast.testing import VirtualClock, virtual_backend

MAX_CRASHES = 1


class Line(enum.Enum):
    ANSWERED = "answered"
    FAILING = "failing"
    BLANK = "blank"


STATUS = {Line.ANSWERED: "answered", Line.FAILING: "failed", Line.BLANK: "rejected"}


class Interruption(enum.Enum):
    CANCEL = "cancel"
    CLOSE = "close"
    DIE = "die"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Break:
    """An interruption, at the `call`-th call of its process, if it makes so many."""

    kind: Interruption
    call: int


class BreakingService:
    """Answers as each line says, and breaks the process at one call."""

    def __init__(self, lines: list[Line], journal: MemoryJournal, breaks_at: Break | None) -> None:
        self.lines = lines
        self.journal = journal
        self.breaks_at = breaks_at
        self.calls: list[str] = []
        self.scope = anyio.CancelScope()
        self.stop = anyio.Event()
        self.left: MemoryJournal | None = None

    async def submit(self, request: Request) -> Reply:
        name = str(request.request_id)
        self.calls.append(name)
        if self.breaks_at is not None and len(self.calls) == self.breaks_at.call:
            self._break(self.breaks_at.kind)
        await anyio.sleep(1.0)
        if self.lines[int(name)] is Line.FAILING:
            raise BackendUnavailableError("down", backend="main")
        return Reply(
            text=name,
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

    def _break(self, kind: Interruption) -> None:
        match kind:
            case Interruption.CANCEL:
                self.scope.cancel()
            case Interruption.CLOSE:
                raise ClosedError("service")
            case Interruption.DIE:
                self.left = self.journal.crashed()
                self.scope.cancel()
            case Interruption.STOP:
                self.stop.set()


class Histories:
    """One batch through all of its processes."""

    def __init__(self, folder: Path, lines: list[Line], concurrency: int) -> None:
        self.input = folder / "input.jsonl"
        self.output = folder / "out"
        self.files = MemoryFiles()
        self.journal = MemoryJournal()
        self.lines = lines
        self.config = BatchConfig(concurrency=concurrency, max_crashes=MAX_CRASHES, stop_grace_s=0.5)
        self.input.write_text(
            "".join(
                "\n" if line is Line.BLANK else json.dumps({"id": str(number), "question": "Why?"}) + "\n"
                for number, line in enumerate(lines)
            )
        )

    async def live(self, breaks_at: Break | None) -> BatchReport | None:
        """Run one process until it ends or breaks; None when it broke."""
        recorded = await self._recorded()
        service = BreakingService(self.lines, self.journal, breaks_at)
        runner = BatchRunner(
            service.submit,
            self.journal,
            self.files,
            output_folder=self.output,
            configuration="{}",
            clock=VirtualClock(),
            config=self.config,
        )
        report: BatchReport | None = None
        with service.scope, suppress(ClosedError):
            report = await runner.run(self.input, stop=service.stop)
        assert max(Counter(service.calls).values(), default=1) == 1
        assert recorded.isdisjoint(service.calls)
        if service.left is not None:
            self.journal = service.left
        return report

    async def _recorded(self) -> set[str]:
        answers = await self.journal.answers(after_line=0, limit=1000)
        failures = await self.journal.failures(after_line=0, limit=1000)
        return {answer.id for answer in answers} | {failed.id for failed in failures}

    def rows(self) -> list[dict[str, Any]]:
        contents = b"".join(self.files.contents[self.output / f"{name}.jsonl"] for name in ("results", "failures"))
        return sorted((json.loads(row) for row in contents.splitlines()), key=lambda row: int(row["line"]))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(
    lines=st.lists(st.sampled_from(Line), max_size=8),
    breaks=st.lists(st.builds(Break, st.sampled_from(Interruption), st.integers(1, 5)), max_size=8),
    concurrency=st.integers(1, 3),
)
@settings(max_examples=60)
def test_batch_after_any_interruptions_has_one_record_for_each_line(
    backend: str, lines: list[Line], breaks: list[Break], concurrency: int
) -> None:
    async def history() -> Histories:
        batch = Histories(Path(folder), lines, concurrency)
        for breaks_at in breaks:
            await batch.live(breaks_at)
        report = await batch.live(None)
        assert report is not None
        assert report.status in {BatchStatus.COMPLETE, BatchStatus.ALREADY_COMPLETE}
        return batch

    name, options = virtual_backend(backend)
    with tempfile.TemporaryDirectory() as folder:
        batch = anyio.run(history, backend=name, backend_options=options)

    rows = batch.rows()
    assert [row["line"] for row in rows] == list(range(1, len(lines) + 1))
    for row, line in zip(rows, lines, strict=True):
        if row.get("kind") == "crashed":
            assert sum(each.kind is Interruption.DIE for each in breaks) >= MAX_CRASHES
        else:
            assert row["status"] == STATUS[line]
