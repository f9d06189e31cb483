"""Progress where there is no terminal.

Responsibility: a line on stderr when the scan is over, and every ten seconds, for logs.
Guarantees: no escape sequences; a reader that has gone is no error.
Not responsible for: a bar: see `holdfast.adapters.cli.progress_bar`.
"""

from __future__ import annotations

from typing import Final

from holdfast.adapters.cli.batch_view import Follower
from holdfast.adapters.cli.progress_text import figures_text, items_text
from holdfast.adapters.cli.recent_rate import RecentRate
from holdfast.adapters.cli.streams import write_err
from holdfast.ports.batch import BatchPhase, BatchProgress

__all__ = ["ProgressLines"]

_PAUSE_S: Final = 10.0


class ProgressLines:
    """Writes a line now and then."""

    def __init__(self) -> None:
        # A short scan says nothing, so that input that is refused is one line.
        self._phase = BatchPhase.SCANNING
        self._next_s = _PAUSE_S
        self._recent = RecentRate()

    def show_progress(self, progress: BatchProgress) -> None:
        """Write a line, if one is due."""
        self._recent.observe(progress.elapsed_s, progress.settled)
        if progress.phase is self._phase and progress.elapsed_s < self._next_s:
            return
        self._phase = progress.phase
        self._next_s = progress.elapsed_s + _PAUSE_S
        words = (progress.phase, items_text(progress), figures_text(progress, self._recent))
        write_err(f"{'  '.join(filter(None, words))}\n")

    def show_stopping(self) -> None:
        """Write it."""
        write_err("stopping when calls in flight have ended; once more ends at once\n")


_: type[Follower] = ProgressLines
