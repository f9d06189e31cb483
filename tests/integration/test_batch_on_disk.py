"""The batch with the adapters it has in production; only the service is a fake."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from holdfast.adapters.files.atomic_writer import AtomicFileWriter
from holdfast.adapters.sqlite.journal import SqliteJournal
from holdfast.adapters.system.clock import SystemClock
from holdfast.application.batch import BatchRunner
from holdfast.application.batch_config import BatchConfig
from holdfast.ports.batch import BatchStatus
from holdfast.ports.errors import BatchChangedError, JournalWriteError
from holdfast.ports.inference import Usage
from holdfast.ports.journal import RolledBack
from holdfast.ports.service import Disposition, Reply, Request

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


class EchoService:
    def __init__(self) -> None:
        self.text = "short"
        self.asked: list[str | None] = []

    async def submit(self, request: Request) -> Reply:
        self.asked.append(request.request_id)
        await anyio.lowlevel.checkpoint()
        return Reply(
            text=self.text,
            backend="echo",
            model="m",
            disposition=Disposition.CALLED,
            attempts=1,
            queue_s=0.0,
            backend_s=0.0,
            usage=Usage(),
            citations=(),
            request_id=request.request_id,
        )


@pytest.fixture
def service() -> EchoService:
    return EchoService()


@pytest.fixture
def input_path(tmp_path: Path) -> Path:
    path = tmp_path / "input.jsonl"
    path.write_text("".join(json.dumps({"id": f"q{number}", "question": "Why?"}) + "\n" for number in range(60)))
    return path


def runner(service: EchoService, folder: Path, *, max_size_bytes: int = 1024**3) -> BatchRunner:
    return BatchRunner(
        service.submit,
        SqliteJournal(folder / "journal.sqlite3", max_size_bytes=max_size_bytes),
        AtomicFileWriter(clock=SystemClock(), notify=pytest.fail),
        output_folder=folder,
        configuration="{}",
        clock=SystemClock(),
        config=BatchConfig(concurrency=4),
    )


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


async def test_batch_on_disk_completes_rolls_back_and_completes_again(
    service: EchoService, input_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "out"
    batch = runner(service, folder)

    first = await batch.run(input_path)
    again = await batch.run(input_path)
    undone = await batch.rollback()
    emptied = ids(folder / "results.jsonl")
    last = await batch.run(input_path)

    assert (first.status, again.status, last.status) == (
        BatchStatus.COMPLETE,
        BatchStatus.ALREADY_COMPLETE,
        BatchStatus.COMPLETE,
    )
    assert undone == RolledBack(run=1, results=60, backup=str(folder / "journal.backup-1.sqlite3"))
    assert emptied == []
    assert ids(folder / "results.jsonl") == [f"q{number}" for number in range(60)]
    assert len(service.asked) == 120


async def test_disk_that_fills_up_stops_the_batch_and_a_larger_one_finishes_it(
    service: EchoService, input_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    service.text = "x" * 20_000

    with pytest.raises(JournalWriteError, match="run again"):
        await runner(service, folder, max_size_bytes=512 * 1024).run(input_path)

    saved = (await SqliteJournal(folder / "journal.sqlite3").summary()).answered
    assert 0 < saved < 60
    asked_before = len(service.asked)
    report = await runner(service, folder).run(input_path)
    assert (report.status, report.settled, report.summary.answered) == (BatchStatus.COMPLETE, 60 - saved, 60)
    assert len(service.asked) - asked_before == 60 - saved
    assert len(ids(folder / "results.jsonl")) == 60


async def test_input_that_grew_is_refused_on_disk(service: EchoService, input_path: Path, tmp_path: Path) -> None:
    batch = runner(service, tmp_path / "out")
    await batch.run(input_path)
    append(input_path, '{"question": "One more?"}\n')

    with pytest.raises(BatchChangedError):
        await batch.run(input_path)

    assert len(service.asked) == 60
