from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from holdfast.adapters.sqlite.document_folder import DocumentFolder, Stamp
from holdfast.adapters.sqlite.document_index import DocumentIndex
from holdfast.adapters.sqlite.fts_index import FtsIndex
from holdfast.adapters.sqlite.markdown_passages import Piece
from holdfast.ports.search_terms import search_terms

SOURCES = ("a.md", "b.txt", "sub/c.md")
WORDS = ("alpha", "beta", "gamma", "delta")

operators = st.sampled_from(['"', "'", "*", "^", "(", ")", "{", "}", ":", "-", "+", "AND", "OR", "NOT", "NEAR(", "/2"])
queries = st.text() | st.lists(operators | st.text(max_size=3)).map(" ".join)


@given(query=queries)
def test_any_query_becomes_one_that_sqlite_understands(query: str) -> None:
    index = FtsIndex(None, origin="here")
    try:
        index.put("a.md", Stamp(1, 1), [Piece(title="T", heading="H", text=query.encode("utf-8", "replace").decode())])

        assert len(index.search(search_terms(query), 5)) <= 1
    finally:
        index.close()


@given(query=st.text(st.characters(codec="ascii"), min_size=1))
def test_any_query_finds_the_passage_that_holds_its_words(query: str) -> None:
    index = FtsIndex(None, origin="here")
    try:
        index.put("a.md", Stamp(1, 1), [Piece(title="T", heading="H", text=query)])

        assert len(index.search(search_terms(query), 5)) == bool(search_terms(query))
    finally:
        index.close()


class FolderAndIndex(RuleBasedStateMachine):
    """Whatever happens to the files and to the index's process, a refreshed index finds exactly what is there."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.model: dict[str, tuple[str, ...]] = {}
        self.changes = 0
        self.refreshed = True
        self.index = self.open_index()

    def open_index(self) -> DocumentIndex:
        folder = DocumentFolder(
            self.root / "documents", include=("**/*.md", "**/*.txt"), exclude=(), max_file_bytes=1000
        )
        return DocumentIndex(folder, self.root / "index.sqlite")

    @initialize()
    def begin(self) -> None:
        (self.root / "documents" / "sub").mkdir(parents=True)

    @rule(source=st.sampled_from(SOURCES), words=st.lists(st.sampled_from(WORDS), max_size=4))
    def write(self, source: str, words: list[str]) -> None:
        path = self.root / "documents" / source
        path.write_text("\n\n".join(f"# Heading\n\n{word}" for word in words), encoding="utf-8")
        self.changes += 1  # writes may follow each other faster than the file system's clock ticks
        os.utime(path, ns=(self.changes, self.changes))
        self.model[source] = tuple(words)
        self.refreshed = False

    @rule(source=st.sampled_from(SOURCES))
    def delete(self, source: str) -> None:
        (self.root / "documents" / source).unlink(missing_ok=True)
        self.model.pop(source, None)
        self.refreshed = False

    @rule()
    def refresh(self) -> None:
        self.index.refresh(lambda: None)
        self.refreshed = True

    @rule(broken=st.booleans())
    def restart(self, *, broken: bool) -> None:
        self.index.close()
        if broken:
            (self.root / "index.sqlite").write_bytes(b"SQLite format 3\x00junk")
        self.index = self.open_index()
        self.refresh()

    @invariant()
    def finds_exactly_what_is_there(self) -> None:
        if not self.refreshed:
            return
        for word in WORDS:
            found = {passage.source for passage in self.index.search((word,), 100, lambda: None)}
            assert found == {source for source, words in self.model.items() if word in words}

    @invariant()
    def counts_add_up(self) -> None:
        report = self.index.report()
        every = self.index.search((*WORDS, "heading"), 10_000, lambda: None)
        assert len(every) == report.passages
        assert {passage.source for passage in every} <= set(SOURCES)
        if self.refreshed:
            assert report.documents == len(self.model)

    def teardown(self) -> None:
        self.index.close()
        shutil.rmtree(self.root)


TestFolderAndIndex = FolderAndIndex.TestCase
TestFolderAndIndex.settings = settings(max_examples=15, stateful_step_count=15)
