from __future__ import annotations

import math
import sqlite3
from pathlib import Path

import anyio
import anyio.from_thread
import pytest

from holdfast.adapters.sqlite.document_folder import DocumentFolder, Stamp
from holdfast.adapters.sqlite.fts_retriever import FtsRetriever
from holdfast.ports.errors import ConfigurationError, RetrievalError
from holdfast.testing import ManualClock, sweep_cancellation

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "a.md").write_text("# A\n\nalpha\n", encoding="utf-8")
    return documents


async def found(retriever: FtsRetriever, query: str) -> list[str]:
    return [passage.source for passage in await retriever.retrieve(query)]


async def test_retrieve_changed_file_is_found_once_the_refresh_is_due(documents: Path, clock: ManualClock) -> None:
    async with FtsRetriever(documents, clock=clock, refresh_s=2.0) as retriever:
        (documents / "b.md").write_text("beta", encoding="utf-8")
        clock.advance(1.9)
        before = await found(retriever, "beta")
        clock.advance(0.1)

        assert before == []
        assert await found(retriever, "beta") == ["b.md"]


async def test_retrieve_deleted_file_vanishes(documents: Path, clock: ManualClock) -> None:
    async with FtsRetriever(documents, clock=clock, refresh_s=0.0) as retriever:
        (documents / "a.md").unlink()

        assert await found(retriever, "alpha") == []


async def test_refresh_before_it_is_due_looks_at_once_and_reports(documents: Path, clock: ManualClock) -> None:
    async with FtsRetriever(documents, clock=clock) as retriever:
        (documents / "b.txt").write_text("beta", encoding="utf-8")
        report = await retriever.refresh()

        assert (report.documents, report.passages) == (2, 2)
        assert await found(retriever, "beta") == ["b.txt"]


async def test_retrieve_by_default_takes_markdown_and_text_and_nothing_hidden(
    documents: Path, clock: ManualClock
) -> None:
    for source in ("x/b.md", "c.txt", "d.rst", ".hidden.md", ".git/e.md"):
        (documents / source).parent.mkdir(exist_ok=True)
        (documents / source).write_text("alpha", encoding="utf-8")

    async with FtsRetriever(documents, clock=clock) as retriever:
        assert sorted(await found(retriever, "alpha")) == ["a.md", "c.txt", "x/b.md"]


async def test_retrieve_with_patterns_takes_what_they_name(documents: Path, clock: ManualClock) -> None:
    (documents / "b.rst").write_text("alpha", encoding="utf-8")
    (documents / "c.rst").write_text("alpha", encoding="utf-8")

    async with FtsRetriever(documents, clock=clock, include=("*.rst",), exclude=("c.*",)) as retriever:
        assert await found(retriever, "alpha") == ["b.rst"]


async def test_retrieve_negative_limit_finds_nothing(documents: Path, clock: ManualClock) -> None:
    async with FtsRetriever(documents, clock=clock) as retriever:
        assert await retriever.retrieve("alpha", limit=-1) == ()


async def test_open_missing_folder_is_refused_with_its_path(tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(RetrievalError) as caught:
        async with FtsRetriever(tmp_path / "missing", clock=clock):
            pass

    assert caught.value.path == str(tmp_path / "missing")


async def test_open_index_file_of_something_else_is_refused(documents: Path, clock: ManualClock) -> None:
    path = documents / "other.sqlite"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE t (x)")
    other.close()

    with pytest.raises(RetrievalError, match="something else"):
        async with FtsRetriever(documents, clock=clock, index=path):
            pass


async def test_open_without_fts5_says_what_is_missing(
    documents: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithoutFts5(sqlite3.Connection):
        def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
            return super().execute(sql.replace("USING fts5", "USING fts_missing"), parameters)  # type: ignore[arg-type]

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=WithoutFts5, **kwargs))

    with pytest.raises(RetrievalError, match="no such module"):
        async with FtsRetriever(documents, clock=clock):
            pass


async def test_retrieve_outside_of_its_context_is_refused(documents: Path, clock: ManualClock) -> None:
    retriever = FtsRetriever(documents, clock=clock)
    with pytest.raises(RetrievalError, match="not open"):
        await retriever.retrieve("alpha")

    async with retriever:
        assert await found(retriever, "alpha") == ["a.md"]

    with pytest.raises(RetrievalError, match="not open"):
        await retriever.refresh()


@pytest.mark.parametrize("refresh_s", [-1.0, math.nan, math.inf])
def test_refresh_interval_that_is_no_time_is_refused(documents: Path, clock: ManualClock, refresh_s: float) -> None:
    with pytest.raises(ConfigurationError, match="refresh_s"):
        FtsRetriever(documents, clock=clock, refresh_s=refresh_s)


async def test_open_cancelled_at_any_checkpoint_leaves_an_index_that_the_next_can_use(
    documents: Path, clock: ManualClock, tmp_path: Path
) -> None:
    index = tmp_path / "index.sqlite"

    async def scenario() -> None:
        async with FtsRetriever(documents, clock=clock, index=index, refresh_s=0.0) as retriever:
            await retriever.retrieve("alpha")

    async def check() -> None:
        async with FtsRetriever(documents, clock=clock, index=index) as retriever:
            assert await found(retriever, "alpha") == ["a.md"]

    assert await sweep_cancellation(scenario, check) >= 4


async def test_open_cancelled_while_it_indexes_stops_after_the_file_at_hand(
    documents: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        (documents / f"{number}.md").write_text("beta", encoding="utf-8")
    read = DocumentFolder.read
    sources: list[str] = []

    with anyio.CancelScope() as scope:

        def cancelling_read(self: DocumentFolder, source: str) -> tuple[Stamp, str]:
            sources.append(source)
            anyio.from_thread.run_sync(scope.cancel)
            return read(self, source)

        monkeypatch.setattr(DocumentFolder, "read", cancelling_read)
        async with FtsRetriever(documents, clock=clock):
            pass

    assert scope.cancelled_caught
    assert len(sources) == 1


def test_open_again_in_another_event_loop_serves(documents: Path, clock: ManualClock) -> None:
    retriever = FtsRetriever(documents, clock=clock)

    async def ask() -> list[str]:
        async with retriever:
            return await found(retriever, "alpha")

    assert [anyio.run(ask, backend=backend) for backend in ("asyncio", "trio", "asyncio")] == [["a.md"]] * 3
