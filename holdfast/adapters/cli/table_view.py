"""The view for people.

Responsibility: progress on stderr while the batch runs; a sentence and a table on stdout when it has ended.
Guarantees: escape sequences go to terminals only, and colours are left out where NO_COLOR is set (https://no-color.org).
Not responsible for: errors: see `holdfast.adapters.cli.error_exit`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import assert_never

from rich.console import Console

from holdfast.adapters.cli.batch_view import BatchView, Follower
from holdfast.adapters.cli.figures import count
from holdfast.adapters.cli.peak_memory import peak_memory_bytes
from holdfast.adapters.cli.progress_bar import LiveBar
from holdfast.adapters.cli.progress_lines import ProgressLines
from holdfast.adapters.cli.streams import one_line, write_out
from holdfast.adapters.cli.summary_table import render_table, report_rows
from holdfast.ports.batch import FAILURES_NAME, RESULTS_NAME, BatchReport, BatchStatus
from holdfast.ports.journal import BatchSummary, RolledBack

__all__ = ["TableView"]


class TableView:
    """Shows a bar, or lines where there is no terminal, and a table."""

    def follow(self) -> AbstractContextManager[Follower]:
        """Show progress on stderr."""
        console = Console(stderr=True)
        return (
            LiveBar(console) if console.is_terminal and not console.is_dumb_terminal else nullcontext(ProgressLines())
        )

    def show_report(self, report: BatchReport, folder: Path) -> None:
        """Write how the batch was left."""
        table = render_table(report_rows(report, peak_memory_bytes()), Console())
        write_out(f"{_sentence(report)}\n{table}{_places(report.summary, folder)}")

    def show_rollback(self, undone: RolledBack | None, folder: Path) -> None:
        """Write what was undone."""
        if undone is None:
            write_out(f"Nothing to undo: {one_line(str(folder))} holds no run.\n")
            return
        write_out(
            f"Run {undone.run} is undone: {count(undone.results)} results taken away. "
            f"The journal as it was: {one_line(undone.backup)}\n"
        )


def _sentence(report: BatchReport) -> str:
    summary = report.summary
    match report.status:
        case BatchStatus.COMPLETE:
            return f"Complete: every item has a result.{_advice(summary.failed)}"
        case BatchStatus.ALREADY_COMPLETE:
            return f"Already complete: nothing was called.{_advice(summary.failed)}"
        case BatchStatus.STOPPED if summary.fingerprints is None:
            return "Stopped while reading the input: nothing was called. Run it again to start."
        case BatchStatus.STOPPED:
            return f"Stopped: {count(summary.pending)} items are left. Run it again to go on."
        case _:
            assert_never(report.status)


def _places(summary: BatchSummary, folder: Path) -> str:
    # Below the table, so that a path stays whole and can be copied.
    if summary.pending or not summary.items:
        return ""
    names = [RESULTS_NAME, *([FAILURES_NAME] if summary.failures else [])]
    return "".join(f"{one_line(str(folder / name))}\n" for name in names)


def _advice(failed: int) -> str:
    return f" --retry-failed runs the {count(failed)} that failed." if failed else ""


_: type[BatchView] = TableView
