"""How a batch is shown.

Responsibility: the protocol of a view, and the two views that say little: none at all, and one JSON object.
Guarantees: a view never fails a batch; with JSON, stdout holds one object and nothing else.
Not responsible for: the table: see `holdfast.adapters.cli.table_view`. Errors: see `holdfast.adapters.cli.error_exit`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from holdfast.adapters.cli.documents import report_document, rollback_document
from holdfast.adapters.cli.peak_memory import peak_memory_bytes
from holdfast.adapters.cli.streams import write_json
from holdfast.ports.batch import BatchProgress, BatchReport
from holdfast.ports.journal import RolledBack

__all__ = ["BatchView", "Follower", "JsonView", "QuietView"]


class Follower(Protocol):
    """Shows a batch while it runs. Both are called on the event loop, so they do next to nothing."""

    def show_progress(self, progress: BatchProgress) -> None:
        """Show how far it has come."""
        ...

    def show_stopping(self) -> None:
        """Say that it was asked to stop."""
        ...


class BatchView(Protocol):
    """Shows one command's batch."""

    def follow(self) -> AbstractContextManager[Follower]:
        """Show progress for the length of a ``with`` block."""
        ...

    def show_report(self, report: BatchReport, folder: Path) -> None:
        """Show how the batch kept in `folder` was left."""
        ...

    def show_rollback(self, undone: RolledBack | None, folder: Path) -> None:
        """Show what was undone in `folder`."""
        ...


class _Silent:
    def show_progress(self, progress: BatchProgress) -> None:
        pass

    def show_stopping(self) -> None:
        pass


class QuietView:
    """Says nothing: the exit code tells."""

    def follow(self) -> AbstractContextManager[Follower]:
        """Show nothing."""
        return nullcontext(_Silent())

    def show_report(self, report: BatchReport, folder: Path) -> None:
        """Show nothing."""

    def show_rollback(self, undone: RolledBack | None, folder: Path) -> None:
        """Show nothing."""


class JsonView:
    """Writes one JSON object when all is done."""

    def follow(self) -> AbstractContextManager[Follower]:
        """Show nothing."""
        return nullcontext(_Silent())

    def show_report(self, report: BatchReport, folder: Path) -> None:
        """Write the report."""
        write_json(report_document(report, folder, peak_memory_bytes()))

    def show_rollback(self, undone: RolledBack | None, folder: Path) -> None:
        """Write what was undone."""
        write_json(rollback_document(undone, folder))


_: tuple[type[Follower], type[BatchView], type[BatchView]] = (_Silent, QuietView, JsonView)
