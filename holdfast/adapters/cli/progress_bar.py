"""Progress on a terminal.

Responsibility: a bar with the figures below it, drawn again eight times a second, and gone when the batch ends.
Guarantees: the batch only leaves a value behind; drawing happens in a thread of its own, so that a terminal that stands
    still (Ctrl-S) holds up nothing. Readable from 40 columns on.
Not responsible for: output that is no terminal: see `holdfast.adapters.cli.progress_lines`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from holdfast.adapters.cli.batch_view import Follower
from holdfast.adapters.cli.progress_text import figures_text, items_text
from holdfast.adapters.cli.recent_rate import RecentRate
from holdfast.ports.batch import BatchPhase, BatchProgress

__all__ = ["LiveBar"]


class LiveBar:
    """Draws the newest progress, for the length of a ``with`` block.

    Args:
        console: the terminal.
        now_s: monotonic time, for the rate.
    """

    def __init__(self, console: Console, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._progress: BatchProgress | None = None
        self._recent = RecentRate()
        self._is_stopping = False
        self._live = Live(get_renderable=self.render, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def show_progress(self, progress: BatchProgress) -> None:
        """Keep `progress` for the next drawing."""
        self._progress = progress

    def show_stopping(self) -> None:
        """Say so from the next drawing on."""
        self._is_stopping = True

    def render(self) -> RenderableType:
        """Return what is drawn now."""
        progress = self._progress
        if progress is None:
            return Text("opening")
        self._recent.observe(self._now_s(), progress.settled)
        line = Table.grid(Column(no_wrap=True), Column(ratio=1), Column(no_wrap=True), padding=(0, 1), expand=True)
        bar = ProgressBar(
            total=progress.items,
            completed=progress.items - progress.pending,
            pulse=progress.phase is BatchPhase.SCANNING,
        )
        line.add_row(Text(progress.phase), bar, Text(items_text(progress)))
        shown: list[RenderableType] = [line, Text(figures_text(progress, self._recent))]
        if self._is_stopping:
            shown.append(Text("stopping when calls in flight have ended; once more ends at once"))
        return Group(*shown)


_: type[Follower] = LiveBar
