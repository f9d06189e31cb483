"""What every file writer must hold.

Responsibility: the contract of `holdfast.ports.files.FileWriter`, as a pytest class to derive from.
Guarantees: with a writer that passes, nobody finds half a file, whatever fails or is cancelled.
Not responsible for: power cuts and disks that fail: they need the real thing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from holdfast.ports.files import FileWriter
from holdfast.testing.cancellation import sweep_cancellation

__all__ = ["FileWriterContract"]


class _Chunks:
    """A content that may fail after its last piece."""

    def __init__(self, *chunks: bytes, error: Exception | None = None) -> None:
        self._chunks = chunks
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            await anyio.lowlevel.checkpoint()
            yield chunk
        if self._error is not None:
            raise self._error


class FileWriterContract(ABC):
    """Derive from it, name the class ``Test…`` and make your writer; pytest does the rest."""

    pytestmark = pytest.mark.anyio

    @abstractmethod
    def make_writer(self) -> FileWriter:
        """Return the writer under test."""

    @abstractmethod
    def files(self) -> dict[Path, bytes]:
        """Return everything that is in this test's folder, temporary files and subfolders included."""

    @abstractmethod
    def folder(self) -> Path:
        """Return this test's folder; empty at first."""

    async def test_replace_of_a_missing_file_makes_it_and_its_folders(self) -> None:
        """The pieces are put together."""
        path = self.folder() / "a" / "b" / "new.jsonl"

        await self.make_writer().replace(path, _Chunks(b"one\n", b"", b"two\n"))

        assert self.files() == {path: b"one\ntwo\n"}

    async def test_replace_of_an_old_file_leaves_nothing_of_it(self) -> None:
        """Also when the new content is shorter, or empty."""
        path = self.folder() / "results.jsonl"
        writer = self.make_writer()
        for content in (b"a long content", b"short", b""):
            await writer.replace(path, _Chunks(content))

            assert self.files() == {path: content}

    async def test_content_that_fails_leaves_the_old_file(self) -> None:
        """Its error passes through."""
        path = self.folder() / "results.jsonl"
        writer = self.make_writer()
        await writer.replace(path, _Chunks(b"old"))

        with pytest.raises(ZeroDivisionError):
            await writer.replace(path, _Chunks(b"half", error=ZeroDivisionError()))

        assert self.files() == {path: b"old"}

    async def test_two_writers_of_one_file_leave_one_whole_content(self) -> None:
        """Either may come last."""
        path = self.folder() / "results.jsonl"
        writer = self.make_writer()

        async with anyio.create_task_group() as tasks:
            for content in (b"1", b"2"):
                tasks.start_soon(writer.replace, path, _Chunks(*[content * 1000] * 3))

        assert self.files() in ({path: b"1" * 3000}, {path: b"2" * 3000})

    async def test_cancellation_at_any_moment_leaves_the_old_file_or_the_new(self) -> None:
        """And nothing else."""
        path = self.folder() / "results.jsonl"
        writer = self.make_writer()
        old, new = b"old", b"new, in two pieces"
        await writer.replace(path, _Chunks(old))
        seen: list[bytes] = []

        async def check() -> None:
            assert self.files() in ({path: old}, {path: new})
            seen.append(self.files()[path])
            await writer.replace(path, _Chunks(old))

        await sweep_cancellation(lambda: writer.replace(path, _Chunks(new[:5], new[5:])), check)

        assert seen[0] == old
        assert seen[-1] == new
