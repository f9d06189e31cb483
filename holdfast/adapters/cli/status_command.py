"""``holdfast status``.

Responsibility: how far the batch in a folder has come, also while another process runs it.
Guarantees: changes nothing there.
Not responsible for: whether a process is running it at this moment: the journal does not tell.
"""

from __future__ import annotations

from pathlib import Path

import anyio

from holdfast.adapters.cli.documents import summary_document
from holdfast.adapters.cli.figures import count
from holdfast.adapters.cli.streams import write_json, write_out
from holdfast.ports.application import Application
from holdfast.ports.errors import BatchError

__all__ = ["show_status"]


def show_status(application: Application, folder: Path, *, as_json: bool) -> None:
    """Write the batch kept in `folder` in numbers.

    Raises:
        BatchError: if it holds none, or it cannot be read.
    """
    summary = anyio.run(application.batch_summary, folder)
    if summary.fingerprints is None:
        raise BatchError(f"{folder}: holds no run whose input has been read; give the --out folder of one")
    if as_json:
        write_json(summary_document(summary, folder))
        return
    from rich.console import Console  # noqa: PLC0415 - takes as long as everything else together

    from holdfast.adapters.cli.summary_table import render_table, summary_rows  # noqa: PLC0415 - likewise

    sentence = f"Unfinished: {count(summary.pending)} items are left." if summary.pending else "Complete."
    write_out(f"{sentence}\n{render_table(summary_rows(summary), Console())}")
