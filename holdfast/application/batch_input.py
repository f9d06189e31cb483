"""The input file of a batch.

Responsibility: open it, find its lines, say which of them can be called, and read one of them again later.
Guarantees: memory does not grow with the file, nor with its longest line; a line is found again by its offset, and one
    that has changed since is noticed.
Not responsible for: what a line may say: see `holdfast.application.batch_line`.

Everything here blocks; the caller puts it into worker threads.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

from holdfast.application.batch_line import LineRejectedError, hostile_id_reason, parse_line
from holdfast.ports.errors import BatchChangedError, BatchInputError
from holdfast.ports.journal import BatchItem, Failure, FailureKind

__all__ = ["InputScan", "open_input", "read_line"]

_CHUNK_BYTES: Final = 1024 * 1024
# Lines in one transaction: a durable save for each line would take most of the time. See benchmarks/bench_batch.py.
_BATCH_LINES: Final = 1000


def open_input(path: Path) -> BinaryIO:
    """Return the input, open for reading.

    Raises:
        BatchInputError: if it is missing, unreadable, or anything but a regular file.
    """
    try:
        file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115 - the caller closes it
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BatchInputError(f"the input cannot be read ({reason})", path=str(path)) from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise BatchInputError("the input is not a regular file; give a file of JSON lines", path=str(path))
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    # Opening a FIFO waits for a writer otherwise.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class InputScan:
    """One pass over the input, batch by batch.

    Args:
        file: the input, at its start.
        path: its name, for errors.
        max_line_bytes: the longest line taken.
    """

    def __init__(self, file: BinaryIO, path: Path, max_line_bytes: int) -> None:
        self._file = file
        self._path = path
        self._max_line_bytes = max_line_bytes
        self._digest = hashlib.sha256()
        self._offset = 0
        self._line = 0

    def next_items(self) -> list[BatchItem]:
        """Return the next lines as items; none at the end.

        Raises:
            BatchInputError: if an id is hostile, or the file cannot be read on.
        """
        items: list[BatchItem] = []
        while len(items) < _BATCH_LINES and (item := self._next_item()) is not None:
            items.append(item)
        return items

    def skip_some(self) -> bool:
        """Read on without looking at lines; return whether there is more. For the fingerprint of a known input."""
        return bool(self._read(_CHUNK_BYTES))

    def input_sha256(self) -> str:
        """Return the fingerprint of what was read, in hexadecimal."""
        return self._digest.hexdigest()

    def _read(self, max_bytes: int, *, up_to_line_end: bool = False) -> bytes:
        try:
            chunk = self._file.readline(max_bytes) if up_to_line_end else self._file.read(max_bytes)
        except OSError as error:
            raise BatchInputError(f"the input cannot be read ({error.strerror})", path=str(self._path)) from error
        self._digest.update(chunk)
        self._offset += len(chunk)
        return chunk

    def _next_item(self) -> BatchItem | None:
        offset = self._offset
        chunk = self._read(self._max_line_bytes + 1, up_to_line_end=True)
        if not chunk:
            return None
        self._line += 1
        line = chunk.removesuffix(b"\n")
        if len(line) > self._max_line_bytes:
            return self._oversized(offset, line)
        rejection: Failure | None = None
        try:
            item_id = parse_line(line).id
        except LineRejectedError as error:
            rejection, item_id = error.failure, error.id
        return self._item(offset, len(line), hashlib.sha256(line).digest(), item_id=item_id, rejection=rejection)

    def _oversized(self, offset: int, start: bytes) -> BatchItem:
        digest = hashlib.sha256(start)
        size_bytes = len(start)
        while chunk := self._read(_CHUNK_BYTES, up_to_line_end=True):
            digest.update(chunk.removesuffix(b"\n"))
            size_bytes += len(chunk.removesuffix(b"\n"))
            if chunk.endswith(b"\n"):
                break
        reason = f"the line has {size_bytes} bytes, more than {self._max_line_bytes}; raise batch.max_line_bytes"
        rejection = Failure(kind=FailureKind.TOO_LARGE, reason=reason)
        return self._item(offset, size_bytes, digest.digest(), item_id=None, rejection=rejection)

    def _item(
        self, offset: int, size_bytes: int, sha256: bytes, *, item_id: str | None, rejection: Failure | None
    ) -> BatchItem:
        if item_id is not None and (reason := hostile_id_reason(item_id)):
            raise BatchInputError(reason, path=str(self._path), line=self._line)
        return BatchItem(
            line=self._line,
            id=f"line-{self._line}" if item_id is None else item_id,
            byte_offset=offset,
            size_bytes=size_bytes,
            sha256=sha256,
            rejection=rejection,
        )


def read_line(path: Path, item: BatchItem) -> bytes:
    """Return the bytes of an item's line.

    Raises:
        BatchInputError: if the input cannot be read any more.
        BatchChangedError: if the line is not the one that was enrolled.
    """
    with open_input(path) as file:
        try:
            file.seek(item.byte_offset)
            line = file.read(item.size_bytes)
        except OSError as error:
            raise BatchInputError(f"the input cannot be read ({error.strerror})", path=str(path)) from error
    found = hashlib.sha256(line).digest()
    if found != item.sha256:
        raise BatchChangedError(what=f"input (line {item.line})", recorded=item.sha256.hex(), found=found.hex())
    return line
