"""The words of a progress display.

Responsibility: one wording for the bar and for plain lines.
Guarantees: failures count rejected lines too, as the exit code does.
Not responsible for: where it is shown.
"""

from __future__ import annotations

from holdfast.adapters.cli.figures import UNKNOWN, clock_time, count, rate
from holdfast.adapters.cli.recent_rate import RecentRate
from holdfast.ports.batch import BatchPhase, BatchProgress

__all__ = ["figures_text", "items_text"]


def items_text(progress: BatchProgress) -> str:
    """Return how many items are done, as ``120/200``; while the input is read, how many lines there are so far."""
    if progress.phase is BatchPhase.SCANNING:
        return f"{count(progress.items)} lines"
    return f"{count(progress.items - progress.pending)}/{count(progress.items)}"


def figures_text(progress: BatchProgress, recent: RecentRate) -> str:
    """Return rate, time left, answers that duplicates shared, and failures; nothing while the input is read."""
    if progress.phase is BatchPhase.SCANNING:
        return ""
    left_s = recent.left_s(progress.pending)
    return "  ".join(
        (
            rate(recent.per_s),
            f"ETA {UNKNOWN if left_s is None else clock_time(left_s)}",
            f"{count(progress.duplicates_saved)} shared",
            f"{count(progress.failed + progress.rejected)} failed",
        )
    )
