from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.adapters.sqlite import fts_index
from holdfast.adapters.sqlite.document_folder import DocumentFolder
from holdfast.adapters.sqlite.document_index import DocumentIndex
from holdfast.ports.errors import RetrievalError


class Library:
    """A folder on disk with the index over it, as one process after the other opens it."""

    def __init__(self, root: Path) -> None:
        self.documents = root / "documents"
        self.documents.mkdir()
        self.path = root / "cache" / "index.sqlite"
        self.read = 0
        self._opened: list[DocumentIndex] = []

    def write(self, source: str, text: str) -> None:
        path = self.documents / source
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def open(self, path: Path | None = None, *, refreshed: bool = True) -> DocumentIndex:
        folder = DocumentFolder(self.documents, include=("**/*",), exclude=(), max_file_bytes=10_000)
        index = DocumentIndex(folder, path)
        self._opened.append(index)
        if refreshed:
            index.refresh(self.count_read)
        return index

    def count_read(self) -> None:
        self.read += 1

    def close(self) -> None:
        for index in self._opened:
            index.close()


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    library = Library(tmp_path)
    yield library
    library.close()


def no_pause() -> None:
    pass


def sources(index: DocumentIndex, *terms: str) -> list[str]:
    return [passage.source for passage in index.search(terms, 10, no_pause)]


def test_refresh_new_changed_and_deleted_files_are_followed(library: Library) -> None:
    library.write("a.md", "alpha")
    library.write("b.md", "beta")
    index = library.open()

    library.write("a.md", "gamma!")
    (library.documents / "b.md").unlink()
    library.write("c.md", "delta")
    index.refresh(no_pause)

    assert [sources(index, word) for word in ("alpha", "beta", "gamma", "delta")] == [[], [], ["a.md"], ["c.md"]]


def test_refresh_reads_only_what_has_changed(library: Library) -> None:
    library.write("a.md", "alpha")
    library.write("b.md", "beta")
    index = library.open()

    library.write("b.md", "gamma!")
    index.refresh(library.count_read)

    assert library.read == 2 + 1


def test_refresh_shorter_document_leaves_no_old_passages(library: Library) -> None:
    library.write("a.md", "# A\nalpha\n## B\nbeta\n## C\ngamma")
    library.write("b.md", "# D\ndelta")
    index = library.open()

    library.write("a.md", "# A\nalpha")
    index.refresh(no_pause)

    assert index.report().passages == 2
    assert sources(index, "beta", "gamma") == []
    assert sources(index, "delta") == ["b.md"]


def test_refresh_markdown_is_split_by_headings_and_text_is_not(library: Library) -> None:
    library.write("a.md", "# Title\n\n## Part\nalpha")
    library.write("b.MARKDOWN", "# Title\nalpha")
    library.write("notes.txt", "# alpha")
    index = library.open()

    found = {passage.source: (passage.heading, passage.text) for passage in index.search(("alpha",), 10, no_pause)}

    assert found == {"a.md": ("Part", "alpha"), "b.MARKDOWN": ("Title", "alpha"), "notes.txt": ("notes", "# alpha")}


def test_search_word_in_a_heading_weighs_more_than_in_the_text(library: Library) -> None:
    library.write("a.md", "# X\n## Other\nThe breaker is mentioned here.")
    library.write("b.md", "# X\n## Breaker\nThe subject is described here.")

    assert sources(library.open(), "breaker") == ["b.md", "a.md"]


def test_search_word_in_the_title_finds_every_part(library: Library) -> None:
    library.write("a.md", "# Breaker\n## Drivers\nCost.\n## Outcome\nOne.")

    assert sources(library.open(), "breaker") == ["a.md", "a.md"]


@pytest.mark.parametrize("term", ["breakers", "BREAKER", "café", "cafe"])
def test_search_other_form_of_a_word_finds_it(library: Library, term: str) -> None:
    library.write("a.md", "The Breaker in the Café")

    assert sources(library.open(), term) == ["a.md"]


def test_open_again_reads_nothing_that_is_unchanged(library: Library) -> None:
    library.write("a.md", "alpha")
    library.open(library.path).close()

    again = library.open(library.path)

    assert library.read == 1
    assert sources(again, "alpha") == ["a.md"]
    assert again.report().path == library.path


def test_open_for_another_folder_forgets_the_first(library: Library, tmp_path: Path) -> None:
    library.write("a.md", "alpha")
    library.open(library.path).close()
    library.documents = tmp_path / "others"
    library.write("b.md", "beta")

    assert sources(library.open(library.path), "alpha", "beta") == ["b.md"]


def test_open_index_of_another_version_is_emptied(library: Library) -> None:
    library.write("a.md", "alpha")
    library.open(library.path).close()
    other = sqlite3.connect(library.path)
    other.execute("PRAGMA user_version = 99")
    other.close()

    assert sources(library.open(library.path), "alpha") == ["a.md"]
    assert library.read == 2


@pytest.mark.parametrize("tail", [b"\x00", b"\x01" * 5000, b"\xff" * 100_000])
def test_open_broken_index_is_set_aside_and_built_anew(library: Library, tail: bytes) -> None:
    content = b"SQLite format 3\x00" + tail
    library.write("a.md", "alpha")
    library.path.parent.mkdir()
    library.path.write_bytes(content)

    index = library.open(library.path)

    assert sources(index, "alpha") == ["a.md"]
    assert index.report().path == library.path
    assert library.path.with_name("index.sqlite.broken").read_bytes() == content


def test_open_index_overwritten_after_its_header_is_set_aside_and_built_anew(library: Library) -> None:
    library.write("a.md", "alpha")
    library.open(library.path).close()
    content = library.path.read_bytes()
    broken = content[:16] + b"\xa5" * (len(content) - 16)
    library.path.write_bytes(broken)

    index = library.open(library.path)

    assert sources(index, "alpha") == ["a.md"]
    assert index.report().path == library.path
    assert library.path.with_name("index.sqlite.broken").read_bytes() == broken


def test_open_empty_file_becomes_the_index(library: Library) -> None:
    library.write("a.md", "alpha")
    library.path.parent.mkdir()
    library.path.touch()

    index = library.open(library.path)

    assert sources(index, "alpha") == ["a.md"]
    assert index.report().path == library.path
    assert not library.path.with_name("index.sqlite.broken").exists()


def test_open_file_that_is_no_database_is_refused_and_left_alone(library: Library) -> None:
    library.path.parent.mkdir()
    library.path.write_bytes(b"junk")

    with pytest.raises(RetrievalError, match=r"is not an index; choose another file for retrieval\.index") as caught:
        library.open(library.path)

    assert caught.value.path == str(library.path)
    assert library.path.read_bytes() == b"junk"
    assert list(library.path.parent.iterdir()) == [library.path]


def test_open_folder_is_refused(library: Library, tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match=r"is not an index; choose another file for retrieval\.index") as caught:
        library.open(tmp_path)

    assert caught.value.path == str(tmp_path)


def test_open_truncated_index_serves_all_the_same(library: Library) -> None:
    for number in range(50):
        library.write(f"{number}.md", "alpha " * 200)
    library.open(library.path).close()
    os.truncate(library.path, 5000)

    assert len(sources(library.open(library.path), "alpha")) == 10


def test_search_in_an_index_that_breaks_later_goes_on_in_memory(library: Library) -> None:
    for number in range(50):
        library.write(f"{number}.md", f"alpha word{number} " * 100)
    library.open(library.path).close()
    index = library.open(library.path, refreshed=False)
    content = bytearray(library.path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    library.path.write_bytes(content)

    found = sources(index, "alpha")

    assert len(found) == 10
    assert index.report().path is None
    assert library.path.with_name("index.sqlite.broken").exists()


def test_search_in_an_index_that_holds_no_text_any_more_goes_on_in_memory(library: Library) -> None:
    library.write("a.md", "alpha")
    index = library.open(library.path)
    other = sqlite3.connect(library.path)
    other.execute("UPDATE passage_content SET c2 = CAST(X'ff' AS TEXT)")
    other.commit()
    other.close()

    assert [passage.text for passage in index.search(("alpha",), 5, no_pause)] == ["alpha"]
    assert index.report().path is None
    assert library.path.with_name("index.sqlite.broken").exists()


def test_open_database_of_something_else_is_refused_and_left_alone(library: Library) -> None:
    library.path.parent.mkdir()
    other = sqlite3.connect(library.path)
    other.execute("CREATE TABLE passage (precious TEXT)")
    other.close()
    before = library.path.read_bytes()

    with pytest.raises(RetrievalError, match="database of something else") as caught:
        library.open(library.path)

    assert caught.value.path == str(library.path)
    assert library.path.read_bytes() == before


def test_open_where_nothing_can_be_written_keeps_the_index_in_memory(library: Library, tmp_path: Path) -> None:
    library.write("a.md", "alpha")
    (tmp_path / "file").touch()

    index = library.open(tmp_path / "file" / "index.sqlite")

    assert sources(index, "alpha") == ["a.md"]
    assert index.report().path is None


def test_refresh_while_another_process_holds_the_index_goes_on_in_memory(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fts_index, "_LOCK_TIMEOUT_S", 0.0)  # not to wait five real seconds
    library.write("a.md", "alpha")
    index = library.open(library.path)
    other = sqlite3.connect(library.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    library.write("b.md", "beta")
    index.refresh(no_pause)
    other.close()

    assert sources(index, "alpha", "beta") == ["a.md", "b.md"]
    assert not library.path.with_name("index.sqlite.broken").exists()


def test_two_processes_on_one_index_both_see_every_change(library: Library) -> None:
    library.write("a.md", "alpha")
    first, second = library.open(library.path), library.open(library.path)

    library.write("b.md", "beta")
    first.refresh(no_pause)
    second.refresh(no_pause)

    assert sources(first, "alpha", "beta") == sources(second, "alpha", "beta") == ["a.md", "b.md"]
    assert second.report().passages == 2


def test_refresh_interrupted_goes_on_where_it_stopped(library: Library) -> None:
    for name in ("a.md", "b.md", "c.md"):
        library.write(name, "alpha")
    index = library.open(library.path, refreshed=False)

    def stop_at_second() -> None:
        library.count_read()
        if library.read == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.refresh(stop_at_second)
    assert sources(index, "alpha") == ["a.md"]
    index.refresh(library.count_read)

    assert sources(index, "alpha") == ["a.md", "b.md", "c.md"]
    assert library.read == 2 + 2


def test_refresh_file_deleted_before_it_is_read_is_not_found(library: Library) -> None:
    library.write("a.md", "alpha")
    library.write("b.md", "beta")
    index = library.open()
    library.write("a.md", "alpha, changed")

    index.refresh((library.documents / "a.md").unlink)

    assert sources(index, "alpha", "beta") == ["b.md"]
    assert index.report().skipped == {}


def test_refresh_folder_that_went_away_keeps_serving(library: Library) -> None:
    library.write("a.md", "alpha")
    index = library.open()

    library.documents.rename(library.documents.with_name("elsewhere"))
    index.refresh(no_pause)

    assert sources(index, "alpha") == ["a.md"]
    assert index.report().skipped == {"": "No such file or directory"}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/mem is a file that can be opened and not read")
def test_refresh_file_that_can_no_longer_be_read_keeps_its_last_version(library: Library) -> None:
    library.write("a.md", "alpha")
    index = library.open()

    (library.documents / "a.md").unlink()
    (library.documents / "a.md").symlink_to("/proc/self/mem")
    index.refresh(no_pause)

    assert sources(index, "alpha") == ["a.md"]
    assert index.report().skipped == {"a.md": "Input/output error"}


def test_refresh_nothing_readable_says_which_path(library: Library) -> None:
    (library.documents / "loop.md").symlink_to("loop.md")

    with pytest.raises(RetrievalError) as caught:
        library.open()

    assert caught.value.path == str(library.documents / "loop.md")


def test_refresh_missing_folder_says_its_path(library: Library) -> None:
    library.documents.rmdir()

    with pytest.raises(RetrievalError, match="No such file") as caught:
        library.open()

    assert caught.value.path == str(library.documents)


def test_refresh_empty_folder_is_served_as_it_is(library: Library) -> None:
    index = library.open()

    assert sources(index, "alpha") == []
    assert index.report().documents == 0


def test_report_counts_documents_passages_and_what_was_skipped(library: Library) -> None:
    library.write("a.md", "# A\nalpha\n## B\nbeta")
    library.write("huge.md", "x" * 20_000)
    (library.documents / "junk.md").write_bytes(b"\x00\x01")
    (library.documents / "loop.md").symlink_to("loop.md")
    index = library.open()

    report = index.report()
    index.refresh(library.count_read)

    assert (report.documents, report.passages, report.path) == (1, 2, None)
    assert report.skipped["huge.md"] == "larger than 10000 bytes"
    assert report.skipped["junk.md"] == "not a text file"
    assert "loop.md" in report.skipped
    assert library.read == 3  # what is no document is not read again until it changes


def test_refresh_junk_that_becomes_text_is_found(library: Library) -> None:
    (library.documents / "a.md").write_bytes(b"\x00")
    index = library.open()

    library.write("a.md", "alpha")
    index.refresh(no_pause)

    assert sources(index, "alpha") == ["a.md"]
    assert index.report().skipped == {}


def test_search_in_a_closed_index_raises_as_sqlite_does(library: Library) -> None:
    index = library.open()
    index.close()

    with pytest.raises(sqlite3.ProgrammingError):
        index.search(("alpha",), 5, no_pause)
