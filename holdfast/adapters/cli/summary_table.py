"""The table that a run ends with.

Responsibility: the rows of a batch, and of how it was left.
Guarantees: readable from 40 columns on; nothing from outside is taken for markup.
Not responsible for: writing it.
"""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from holdfast.adapters.cli.figures import count, duration, rate, share, size
from holdfast.adapters.cli.streams import printable
from holdfast.ports.batch import BatchReport
from holdfast.ports.journal import BatchSummary

__all__ = ["Row", "render_table", "report_rows", "summary_rows"]

Row = tuple[str, str]


def summary_rows(summary: BatchSummary) -> list[Row]:
    """Return the numbers of a batch; what is left to do only if there is something."""
    kinds = "\n".join(f"{kind}: {count(number)}" for kind, number in summary.failures)
    return [
        ("items", count(summary.items)),
        *([("left to do", count(summary.pending))] if summary.pending else []),
        ("answered", count(summary.answered)),
        ("failed", count(summary.failed)),
        ("rejected lines", count(summary.rejected)),
        *([("reasons", kinds)] if kinds else []),
        ("duplicates saved", share(summary.duplicates_saved, summary.answered)),
        ("backend calls", count(summary.backend_calls)),
        ("P50", duration(summary.p50_s)),
        ("P99", duration(summary.p99_s)),
    ]


def report_rows(report: BatchReport, peak_memory_bytes: int | None) -> list[Row]:
    """Return the numbers of the batch and of this process."""
    return [
        *summary_rows(report.summary),
        ("peak memory", size(peak_memory_bytes)),
        ("elapsed", duration(report.elapsed_s)),
        ("rate", rate(report.settled / report.elapsed_s if report.settled and report.elapsed_s else None)),
    ]


def render_table(rows: list[Row], console: Console) -> str:
    """Return the table as text for `console`'s width and colours."""
    table = Table(box=box.HORIZONTALS, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(Text(label), Text(printable(value)))
    with console.capture() as capture:
        console.print(table)
    return capture.get()
