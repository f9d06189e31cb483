from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.adapters.sqlite.journal import SqliteJournal
from holdfast.adapters.sqlite.journal_schema import STEPS, schema_version, upgrade
from holdfast.ports.errors import (
    BatchError,
    ConfigurationError,
    JournalLockedError,
    JournalSchemaError,
    JournalWriteError,
)
from holdfast.ports.inference import Usage
from holdfast.ports.journal import AnsweredItem, BatchItem, BatchSummary, Fingerprints
from holdfast.ports.service import Disposition, Reply

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

NEXT_STEP = ("ALTER TABLE run ADD COLUMN note TEXT NOT NULL DEFAULT 'old'",)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


def items(count: int) -> list[BatchItem]:
    return [
        BatchItem(line=line, id=f"q{line}", byte_offset=line, size_bytes=1, sha256=b"x" * 32)
        for line in range(1, count + 1)
    ]


def answer(item: BatchItem, text: str = "text") -> AnsweredItem:
    reply = Reply(
        text=text,
        backend="main",
        model="m",
        disposition=Disposition.CALLED,
        attempts=1,
        queue_s=0.0,
        backend_s=0.0,
        usage=Usage(),
        citations=(),
        request_id=item.id,
    )
    return AnsweredItem(line=item.line, id=item.id, reply=reply, elapsed_s=1.0)


async def begin(journal: SqliteJournal, count: int) -> None:
    async with journal.writing() as writer:
        await writer.enrol(items(count))
        await writer.seal(Fingerprints(input_sha256="a", configuration_sha256="b"))
        await writer.resume()


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def content(path: Path) -> bytes:
    return path.read_bytes()


def pragma(path: Path, name: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_journal_that_may_hold_nothing_is_refused(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"journal\.max_size_bytes"):
        SqliteJournal(path, max_size_bytes=0)


async def test_journal_is_durable_and_readable_while_it_is_written(path: Path) -> None:
    await begin(SqliteJournal(path), 1)

    assert pragma(path, "journal_mode") == "wal"
    assert pragma(path, "user_version") == len(STEPS)


async def test_older_journal_is_upgraded_by_a_writer_and_keeps_what_it_holds(path: Path) -> None:
    await begin(SqliteJournal(path), 3)

    async with SqliteJournal(path, steps=[*STEPS, NEXT_STEP]).writing() as writer:
        run = await writer.resume()
        claim = await run.claim(suspects=False)

    assert claim is not None
    assert claim.item == items(1)[0]
    assert pragma(path, "user_version") == len(STEPS) + 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT number, note FROM run").fetchall() == [(1, "old")]


async def test_older_journal_is_upgraded_by_a_reader_too(path: Path) -> None:
    await begin(SqliteJournal(path), 3)

    summary = await SqliteJournal(path, steps=[*STEPS, NEXT_STEP]).summary()

    assert summary.items == 3
    assert pragma(path, "user_version") == len(STEPS) + 1


async def test_answer_of_a_journal_older_than_personas_has_none_no_mark_and_no_reason_to_end(path: Path) -> None:
    await begin(SqliteJournal(path, steps=STEPS[:1]), 1)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO record (line, run, elapsed_s, text, backend, model, disposition, attempts, queue_s, backend_s,"
            " input_tokens, output_tokens, citations) VALUES (1, 1, 1.0, 't', 'b', 'm', 'called', 1, 0, 0, 0, 0, '[]')"
        )

    [kept] = await SqliteJournal(path).answers(after_line=0, limit=1)

    reply = kept.reply
    assert (reply.text, reply.persona, reply.marks, reply.finish_reason) == ("t", None, (), None)


async def test_older_journal_is_not_upgraded_under_its_writer(path: Path) -> None:
    await begin(SqliteJournal(path), 3)

    async with SqliteJournal(path).writing():
        with pytest.raises(JournalLockedError):
            await SqliteJournal(path, steps=[*STEPS, NEXT_STEP]).summary()

    assert pragma(path, "user_version") == len(STEPS)


async def test_upgrade_that_fails_half_way_leaves_the_journal_as_it_was(path: Path) -> None:
    await begin(SqliteJournal(path), 3)
    broken = [*STEPS, NEXT_STEP, ("ALTER TABLE run ADD COLUMN more TEXT", "ALTER TABLE nowhere ADD COLUMN x TEXT")]

    with pytest.raises(JournalWriteError):
        async with SqliteJournal(path, steps=broken).writing():
            pytest.fail("opened")

    assert pragma(path, "user_version") == len(STEPS)
    assert (await SqliteJournal(path).summary()).items == 3


async def test_newer_journal_is_refused_and_left_as_it_is(path: Path) -> None:
    await begin(SqliteJournal(path, steps=[*STEPS, NEXT_STEP]), 3)
    before = content(path)

    with pytest.raises(JournalSchemaError) as reading:
        await SqliteJournal(path).summary()
    with pytest.raises(JournalSchemaError) as writing:
        async with SqliteJournal(path).writing():
            pytest.fail("opened")

    for error in (reading.value, writing.value):
        assert (error.found, error.supported, error.path) == (len(STEPS) + 1, len(STEPS), str(path))
    assert content(path) == before


def test_upgrade_of_a_new_journal_takes_every_step(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert schema_version(connection, path) == 0

        upgrade(connection, path)

        assert schema_version(connection, path) == len(STEPS)


def make_foreign_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")


def make_foreign_owner(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 7")


@pytest.mark.parametrize(
    "make", [make_foreign_database, make_foreign_owner, lambda path: path.write_bytes(b"not a database" * 100)]
)
async def test_file_of_another_program_is_refused_and_left_as_it_is(path: Path, make: Callable[[Path], object]) -> None:
    make(path)
    before = content(path)

    with pytest.raises(BatchError, match="another output folder"):
        await SqliteJournal(path).summary()
    with pytest.raises(BatchError, match="another output folder"):
        async with SqliteJournal(path).writing():
            pytest.fail("opened")

    assert content(path) == before


async def test_journal_that_its_first_writer_is_just_making_reads_as_nothing(path: Path) -> None:
    write(path, b"")

    assert await SqliteJournal(path).summary() == BatchSummary()


async def test_folder_that_cannot_be_made_is_a_write_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(JournalWriteError, match="cannot be written"):
        async with SqliteJournal(tmp_path / "file" / "journal.sqlite3").writing():
            pytest.fail("opened")


async def test_folder_in_place_of_a_journal_is_refused_and_nobody_told_to_run_it_again(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(BatchError, match="choose another output folder"):
        async with SqliteJournal(tmp_path / "folder").writing():
            pytest.fail("opened")


async def test_lock_that_cannot_be_opened_is_a_write_error(path: Path) -> None:
    path.with_name(f"{path.name}.lock").mkdir()

    with pytest.raises(JournalWriteError, match="unable to open"):
        async with SqliteJournal(path).writing():
            pytest.fail("opened")


async def test_lock_file_that_is_damaged_is_reported(path: Path) -> None:
    path.with_name(f"{path.name}.lock").write_bytes(b"not a database" * 100)

    with pytest.raises(BatchError):
        async with SqliteJournal(path).writing():
            pytest.fail("opened")


async def test_journal_that_cannot_be_opened_gives_the_lock_back(path: Path) -> None:
    write(path, b"not a database" * 100)
    with pytest.raises(BatchError):
        async with SqliteJournal(path).writing():
            pytest.fail("opened")
    write(path, b"")

    async with SqliteJournal(path).writing() as writer:
        assert await writer.rollback() is None


async def answer_everything(journal: SqliteJournal, saved: list[int], *, text: str) -> None:
    async with journal.writing() as writer:
        run = await writer.resume()
        for suspects in (False, True):
            while (claim := await run.claim(suspects=suspects)) is not None:
                await run.record_answer(answer(claim.item, text=text))
                saved.append(claim.item.line)


async def test_full_disk_stops_with_earlier_results_intact_and_can_be_resumed(path: Path) -> None:
    small = SqliteJournal(path, max_size_bytes=256 * 1024)
    await begin(small, 100)
    saved: list[int] = []

    with pytest.raises(JournalWriteError, match="full") as caught:
        await answer_everything(small, saved, text="x" * 10_000)

    assert caught.value.path == str(path)
    assert 0 < len(saved) < 100
    assert [found.line for found in await small.answers(after_line=0, limit=100)] == saved
    await answer_everything(SqliteJournal(path), saved, text="short")
    assert sorted(saved) == list(range(1, 101))
    assert (await small.summary()).answered == 100


async def test_full_disk_leaves_the_item_in_hand_and_it_can_be_released(path: Path) -> None:
    small = SqliteJournal(path, max_size_bytes=128 * 1024)
    await begin(small, 1)

    async with small.writing() as writer:
        run = await writer.resume()
        claim = await run.claim(suspects=False)
        assert claim is not None
        with pytest.raises(JournalWriteError):
            await run.record_answer(answer(claim.item, text="x" * 1_000_000))
        await run.release(claim)

        assert await run.claim(suspects=False) == claim


async def test_long_answers_come_on_pages_of_bounded_size(path: Path) -> None:
    journal = SqliteJournal(path)
    await begin(journal, 5)
    async with journal.writing() as writer:
        run = await writer.resume()
        while (claim := await run.claim(suspects=False)) is not None:
            await run.record_answer(answer(claim.item, text="x" * 600_000))

    pages: list[list[int]] = []
    while page := await journal.answers(after_line=pages[-1][-1] if pages else 0, limit=100):
        pages.append([item.line for item in page])

    assert pages == [[1, 2], [3, 4], [5]]


async def test_backup_that_was_cut_off_is_not_taken_for_one(path: Path) -> None:
    journal = SqliteJournal(path)
    await begin(journal, 1)
    unfinished = path.with_name("journal.backup-1.sqlite3.tmp")
    unfinished.write_bytes(b"half")

    async with journal.writing() as writer:
        undone = await writer.rollback()

    assert undone is not None
    assert undone.backup == str(path.with_name("journal.backup-1.sqlite3"))
    assert not unfinished.exists()
    assert (await SqliteJournal(Path(undone.backup)).summary()).run == 1


HOLD_THE_LOCK = """
import sys
from pathlib import Path
import anyio
from holdfast.adapters.sqlite.journal import SqliteJournal

async def main() -> None:
    async with SqliteJournal(Path(sys.argv[1])).writing():
        print("locked", flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


@pytest.mark.slow
async def test_second_process_is_refused_until_the_first_one_dies(path: Path) -> None:
    await begin(SqliteJournal(path), 2)
    with subprocess.Popen([sys.executable, "-c", HOLD_THE_LOCK, path], stdout=subprocess.PIPE) as first:  # noqa: ASYNC220
        assert first.stdout is not None
        assert first.stdout.readline() == b"locked\n"

        with pytest.raises(JournalLockedError) as caught:
            async with SqliteJournal(path).writing():
                pytest.fail("two writers")

        assert caught.value.path == str(path.parent)
        assert (await SqliteJournal(path).summary()).items == 2
        first.kill()
    async with SqliteJournal(path).writing() as writer:
        assert await writer.resume() is not None
