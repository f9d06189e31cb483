"""The files that a batch leaves: ``results.jsonl`` and ``failures.jsonl``.

Responsibility: write what the journal holds, one JSON object a line, in order of the input's lines.
Guarantees: memory does not grow with the batch; each file is replaced as a whole; writing again gives the same bytes.
Not responsible for: what is recorded when: the files say what the journal says.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from holdfast.ports.batch import FAILURES_NAME, RESULTS_NAME
from holdfast.ports.errors import BatchInputError, HoldfastError, JournalWriteError
from holdfast.ports.files import FileWriter
from holdfast.ports.journal import AnsweredItem, BatchLedger, FailedItem

__all__ = ["check_output", "check_unclaimed", "export"]

_Row = dict[str, Any]
_RowsAfter = Callable[[int], Awaitable[list[_Row]]]

_PAGE_ITEMS: Final = 500


def check_output(input_path: Path, folder: Path) -> None:
    """Make the output folder and prove that it can take the results. Blocks.

    Raises:
        BatchInputError: if it cannot be written, or the input would be overwritten.
    """
    try:
        _check_targets(input_path, folder)
        folder.mkdir(parents=True, exist_ok=True)
        # Permission bits do not tell: the user may be root, and the file system read-only.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BatchInputError(
            f"the output cannot be written ({error.strerror}); choose another folder", path=str(folder)
        ) from error


def _check_targets(input_path: Path, folder: Path) -> None:
    for target in (folder, folder / RESULTS_NAME, folder / FAILURES_NAME):
        if target.exists() and target.samefile(input_path):
            raise BatchInputError("the output would overwrite the input; choose another folder", path=str(target))
    for target in (folder / RESULTS_NAME, folder / FAILURES_NAME):
        if target.is_dir():
            raise BatchInputError("is a folder, where the results go; choose another folder", path=str(target))


def check_unclaimed(folder: Path) -> None:
    """Prove that a new batch would overwrite nobody's files. Blocks.

    Raises:
        BatchInputError: if there is a file where the results go.
    """
    for target in (folder / RESULTS_NAME, folder / FAILURES_NAME):
        if target.exists():
            raise BatchInputError("exists and is of no batch; move it, or choose another folder", path=str(target))


async def export(ledger: BatchLedger, writer: FileWriter, folder: Path) -> None:
    """Write both files.

    Raises:
        JournalWriteError: if they cannot be written; every result is in the journal still.

    Cancellation: each file is the old one or the new one.
    """

    async def answers(after_line: int) -> list[_Row]:
        return [_answer(item) for item in await ledger.answers(after_line=after_line, limit=_PAGE_ITEMS)]

    async def failures(after_line: int) -> list[_Row]:
        return [_failure(item) for item in await ledger.failures(after_line=after_line, limit=_PAGE_ITEMS)]

    try:
        await writer.replace(folder / RESULTS_NAME, _Lines(answers))
        await writer.replace(folder / FAILURES_NAME, _Lines(failures))
    except OSError as error:
        if isinstance(error, HoldfastError):
            raise
        raise JournalWriteError(
            f"the results cannot be written ({error.strerror}) but are safe in the journal", path=str(folder)
        ) from error


def _answer(item: AnsweredItem) -> _Row:
    reply = item.reply
    return {
        "id": item.id,
        "line": item.line,
        "status": "answered",
        "text": reply.text,
        "citations": [{"source": citation.source, "heading": citation.heading} for citation in reply.citations],
        "backend": reply.backend,
        "model": reply.model,
        "disposition": reply.disposition,
        "persona": reply.persona,
        "marks": reply.marks,
        "finish_reason": reply.finish_reason,
        "attempts": reply.attempts,
        "queue_s": reply.queue_s,
        "backend_s": reply.backend_s,
        "elapsed_s": item.elapsed_s,
        "input_tokens": reply.usage.input_tokens,
        "output_tokens": reply.usage.output_tokens,
    }


def _failure(item: FailedItem) -> _Row:
    return {
        "id": item.id,
        "line": item.line,
        "status": "failed" if item.elapsed_s is not None else "rejected",
        "kind": item.failure.kind,
        "reason": item.failure.reason,
        "elapsed_s": item.elapsed_s,
    }


class _Lines:
    """The content of one file; iterating it again starts at its first line."""

    def __init__(self, rows_after: _RowsAfter) -> None:
        self._rows_after = rows_after

    async def __aiter__(self) -> AsyncIterator[bytes]:
        after_line = 0
        while rows := await self._rows_after(after_line):
            after_line = rows[-1]["line"]
            yield b"".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for row in rows)
