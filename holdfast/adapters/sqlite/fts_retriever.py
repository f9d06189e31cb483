"""Passages from a folder of Markdown and text files.

Responsibility: `Retriever` over a full-text index that is kept in step with a folder.
Guarantees: any text is a valid query; a changed file is found within `refresh_s` of the next query, a deleted one is
    found no more; the index file is only a cache, and losing it costs time alone. SQLite and the file system are used
    in a worker thread, one call at a time, so any number of tasks may retrieve at once.
Not responsible for: languages that put no space between words, different words of one meaning, and changes that keep
    both a file's size and its modification time. An index file serves one folder.
Source: https://www.sqlite.org/fts5.html.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import anyio
from anyio import from_thread

from holdfast.adapters.sqlite.document_folder import DocumentFolder
from holdfast.adapters.sqlite.document_index import DocumentIndex, IndexReport
from holdfast.adapters.sqlite.single_thread import SingleThread
from holdfast.ports.clock import Clock
from holdfast.ports.errors import ConfigurationError, RetrievalError
from holdfast.ports.retrieval import Passage, Retriever
from holdfast.ports.search_terms import search_terms

__all__ = ["FtsRetriever"]

T = TypeVar("T")

_MAX_FILE_BYTES: Final = 10 * 1024 * 1024
"""Larger files are data rather than documents; unmeasured."""


class FtsRetriever:
    """Finds passages in a folder's Markdown and text files; use it as an async context manager.

    Args:
        folder: the documents.
        clock: tells when the folder is due to be looked at again.
        include: patterns of the files to index, matched against the whole path below the folder; ``**/`` stands for
            any number of subfolders.
        exclude: patterns of what to leave out; a subfolder that matches is not entered. By default what is hidden.
        index: the index file, made when missing; None keeps the index in memory and builds it at each start.
        refresh_s: seconds between two looks at the folder; default 2, unmeasured; 0 looks before each query.

    Raises:
        ConfigurationError: `refresh_s` is not a finite number from 0.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock,
        include: Sequence[str] = ("**/*.md", "**/*.txt"),
        exclude: Sequence[str] = ("**/.*",),
        index: Path | None = None,
        refresh_s: float = 2.0,
    ) -> None:
        if not 0 <= refresh_s < math.inf:
            raise ConfigurationError(f"must be a finite number from 0, not {refresh_s!r}", path="retrieval.refresh_s")
        self._folder = DocumentFolder(folder, include=include, exclude=exclude, max_file_bytes=_MAX_FILE_BYTES)
        self._clock = clock
        self._index = index
        self._refresh_s = refresh_s
        self._refreshed_at_s = -math.inf
        self._documents: DocumentIndex | None = None
        self._thread = SingleThread()

    async def __aenter__(self) -> Self:
        """Build the index, or bring it up to date.

        Raises:
            RetrievalError: nothing can be read, or the index file exists and belongs to something else.

        Cancellation: takes effect after the file at hand; what is indexed by then stays in the index file.
        """
        self._thread = SingleThread()  # one of this event loop
        try:
            await self._in_thread(self._open)
            await self.refresh()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    async def retrieve(self, query: str, *, limit: int = 5) -> tuple[Passage, ...]:
        """Return at most `limit` passages that hold a word of `query`, best first.

        Words that carry no meaning are not searched for, nor more than the first `MAX_SEARCH_TERMS` others.

        Raises:
            RetrievalError: nothing can be read, or the retriever is not open.

        Cancellation: takes effect after the SQLite call, or the file, at hand.
        """
        now_s = self._clock.monotonic_s()
        return await self._in_turn(lambda documents: self._find(documents, query, limit, now_s))

    async def refresh(self) -> IndexReport:
        """Look at the folder now, and return what the index holds.

        Raises:
            RetrievalError: nothing can be read, or the retriever is not open.
        """
        now_s = self._clock.monotonic_s()

        def look(documents: DocumentIndex) -> IndexReport:
            self._refresh(documents, now_s)
            return documents.report()

        return await self._in_turn(look)

    def _find(self, documents: DocumentIndex, query: str, limit: int, now_s: float) -> tuple[Passage, ...]:
        if now_s - self._refreshed_at_s >= self._refresh_s:
            self._refresh(documents, now_s)
        return documents.search(search_terms(query), limit, from_thread.check_cancelled)

    def _refresh(self, documents: DocumentIndex, now_s: float) -> None:
        documents.refresh(from_thread.check_cancelled)
        self._refreshed_at_s = now_s

    async def _in_turn(self, work: Callable[[DocumentIndex], T]) -> T:
        def run() -> T:
            if self._documents is None:
                raise RetrievalError("the retriever is not open; use `async with`", path=str(self._folder.root))
            return work(self._documents)

        return await self._in_thread(run)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await self._thread.run(work)
        except sqlite3.Error as error:
            raise RetrievalError(f"cannot be indexed: {error}", path=str(self._folder.root)) from error

    def _open(self) -> None:
        self._documents = DocumentIndex(self._folder, self._index)

    async def _close(self) -> None:
        documents, self._documents = self._documents, None
        if documents is not None:
            with anyio.CancelScope(shield=True):  # ends with the calls that wait before it
                await self._in_thread(documents.close)


_: type[Retriever] = FtsRetriever
