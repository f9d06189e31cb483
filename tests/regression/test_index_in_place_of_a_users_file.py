"""`retrieval.index` set to a file that is no index used to move that file aside and to build an index in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.adapters.sqlite.fts_retriever import FtsRetriever
from holdfast.ports.errors import RetrievalError
from holdfast.testing import ManualClock

pytestmark = pytest.mark.anyio

REMEDY = "is not an index; choose another file for retrieval.index"


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "a.md").write_text("alpha", encoding="utf-8")
    return folder


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    "content",
    [
        b"\n",
        b"# Notes\n\nMine.\n",
        b"# Notes\n" * 10_000,
        b"\x00" * 8192,
        b"SQLite format 3",
        b"SQLite format 3\n" * 500,
    ],
)
async def test_index_that_is_a_users_file_is_refused_and_left_alone(
    documents: Path, tmp_path: Path, content: bytes
) -> None:
    notes = tmp_path / "README.md"
    notes.write_bytes(content)
    before = notes.stat()

    with pytest.raises(RetrievalError) as caught:
        async with FtsRetriever(documents, clock=ManualClock(), index=notes):
            pass

    after = notes.stat()
    assert str(caught.value) == f"{notes}: {REMEDY}"
    assert caught.value.path == str(notes)
    assert notes.read_bytes() == content
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert names_in(tmp_path) == {notes.name, documents.name}


async def test_index_that_is_a_folder_is_refused(documents: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()

    with pytest.raises(RetrievalError) as caught:
        async with FtsRetriever(documents, clock=ManualClock(), index=folder):
            pass

    assert str(caught.value) == f"{folder}: {REMEDY}"
    assert names_in(tmp_path) == {folder.name, documents.name}
    assert names_in(folder) == set()


async def test_index_that_a_users_file_replaces_while_open_leaves_that_file_alone(
    documents: Path, tmp_path: Path
) -> None:
    path = tmp_path / "index.sqlite"
    async with FtsRetriever(documents, clock=ManualClock(), index=path):
        pass  # on closing, the log goes into the file: the next has nothing left to write there
    retriever = FtsRetriever(documents, clock=ManualClock(), index=path, refresh_s=0.0)
    content = b"# Notes\n" * 10_000

    async with retriever:
        path.write_bytes(content)
        (documents / "b.md").write_text("beta", encoding="utf-8")
        found = await retriever.retrieve("beta")

    assert [passage.source for passage in found] == ["b.md"]
    assert path.read_bytes() == content
    assert not path.with_name("index.sqlite.broken").exists()
