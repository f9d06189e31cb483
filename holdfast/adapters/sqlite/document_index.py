"""A full-text index that follows a folder.

Responsibility: bring the index in step with the files, document by document, and keep serving when one of both fails.
Guarantees: what cannot be read keeps its last indexed version, and what was deleted goes; an index file that breaks or
    cannot be written is replaced by one in memory; interrupted, it goes on where it stopped.
Not responsible for: when to look, and threads (one at a time may call): see `fts_retriever`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from holdfast.adapters.sqlite.document_folder import DocumentFolder, Listing, UnusableDocumentError
from holdfast.adapters.sqlite.fts_index import ForeignFileError, FtsIndex, is_corrupt, set_aside
from holdfast.adapters.sqlite.markdown_passages import Piece, split_markdown, split_plain_text
from holdfast.ports.errors import RetrievalError
from holdfast.ports.retrieval import Passage

__all__ = ["DocumentIndex", "IndexReport"]

_MAX_PASSAGE_CHARS: Final = 1500
"""About 350 tokens of English: five passages leave most of a small context window free; unmeasured."""

_MARKDOWN: Final = frozenset({".md", ".markdown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReport:
    """What an index holds.

    Args:
        documents: files that can be found.
        passages: how many pieces they make.
        skipped: why other files, or subfolders, cannot be found, by path.
        path: the index file; None when it is kept in memory.
    """

    documents: int
    passages: int
    skipped: Mapping[str, str]
    path: Path | None


class DocumentIndex:
    """The documents of one folder, searchable.

    Args:
        folder: where they are.
        path: the index file; None keeps it in memory.

    Raises:
        RetrievalError: `path` exists and belongs to something else.
    """

    def __init__(self, folder: DocumentFolder, path: Path | None) -> None:
        self._folder = folder
        self._origin = f"{os.path.abspath(folder.root)} in {_MAX_PASSAGE_CHARS}"  # noqa: PTH100 - never touches the disk
        self._unreadable: dict[str, str] = {}
        self._index = self._open(path)

    def close(self) -> None:
        """Give the index file back."""
        self._index.close()

    def refresh(self, pause: Callable[[], None]) -> None:
        """Bring the index in step with the folder.

        Args:
            pause: called before each file is read; what it raises ends the refresh, which the next one takes up.

        Raises:
            RetrievalError: nothing can be read, and nothing was before.
        """
        listing = self._folder.scan()
        try:
            self._update(listing, pause)
        except sqlite3.DatabaseError as error:
            self._go_on_in_memory(error)
            self._update(listing, pause)
        if self._unreadable and not self._index.stamps():
            place, reason = next(iter(self._unreadable.items()))
            raise RetrievalError(reason, path=str(self._folder.root / place))

    def search(self, terms: Sequence[str], limit: int, pause: Callable[[], None]) -> tuple[Passage, ...]:
        """Return the passages that hold any of `terms`, best first.

        Raises:
            RetrievalError: the index broke, and nothing can be read to build another.
        """
        try:
            return self._index.search(terms, limit)
        except sqlite3.DatabaseError as error:
            self._go_on_in_memory(error)
            self.refresh(pause)
            return self._index.search(terms, limit)

    def report(self) -> IndexReport:
        """Return what the last refresh found."""
        documents, passages = self._index.counts()
        skipped = self._index.unusable() | self._unreadable
        return IndexReport(documents=documents, passages=passages, skipped=skipped, path=self._index.path)

    def _open(self, path: Path | None) -> FtsIndex:
        try:
            return FtsIndex(path, origin=self._origin)
        except ForeignFileError as error:
            raise RetrievalError(str(error), path=str(path)) from error
        except (sqlite3.DatabaseError, OSError):
            if path is None:
                raise
            return FtsIndex(None, origin=self._origin)

    def _go_on_in_memory(self, error: sqlite3.DatabaseError) -> None:
        path = self._index.path
        if path is None:
            raise error
        self._index.close()
        if is_corrupt(error):
            # The next process will meet the file again: to set it aside, or to refuse one that is no index any more.
            with contextlib.suppress(OSError, ForeignFileError):
                set_aside(path)
        self._index = FtsIndex(None, origin=self._origin)

    def _update(self, listing: Listing, pause: Callable[[], None]) -> None:
        known = self._index.stamps()
        self._unreadable = dict(listing.unreadable)
        for source in known:
            if not listing.may_hold(source):
                self._index.remove(source)
        for source, stamp in listing.documents.items():
            if known.get(source) == stamp:
                continue
            pause()
            try:
                read_stamp, text = self._folder.read(source)
            except FileNotFoundError:
                self._index.remove(source)
            except UnusableDocumentError as error:
                self._index.put(source, stamp, (), unusable=str(error))
            except OSError as error:
                self._unreadable[source] = error.strerror or str(error)
            else:
                self._index.put(source, read_stamp, _pieces(source, text))


def _pieces(source: str, text: str) -> Iterator[Piece]:
    path = PurePosixPath(source)
    split = split_markdown if path.suffix.lower() in _MARKDOWN else split_plain_text
    return split(text, name=path.stem, max_chars=_MAX_PASSAGE_CHARS)
