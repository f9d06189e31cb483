"""Counting a batch while it runs.

Responsibility: the counts that progress and reports are made of.
Guarantees: while it is running, `items = pending + answered + failed + rejected`; a result is counted once it is saved.
Not responsible for: what the journal holds: the counts begin with its summary and follow this process only.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast.ports.batch import BatchPhase, BatchProgress, BatchReport, BatchStatus
from holdfast.ports.clock import Clock
from holdfast.ports.journal import BatchSummary
from holdfast.ports.service import Reply

__all__ = ["BatchTally"]


class BatchTally:
    """The counts of one `BatchRunner.run`.

    Args:
        clock: measures it.
        on_progress: told after every change.
    """

    def __init__(self, clock: Clock, on_progress: Callable[[BatchProgress], None] | None) -> None:
        self._clock = clock
        self._on_progress = on_progress
        self._started_s = clock.monotonic_s()
        self._phase = BatchPhase.SCANNING
        self._items = 0
        self._pending = 0
        self._answered = 0
        self._failed = 0
        self._rejected = 0
        self._duplicates_saved = 0
        self._settled = 0

    def count_lines(self, lines: int) -> None:
        """Count lines that were enrolled."""
        self._items += lines
        self._tell()

    def begin(self, summary: BatchSummary) -> None:
        """Take over the journal's counts when the run begins."""
        self._phase = BatchPhase.RUNNING
        self._items = summary.items
        self._pending = summary.pending
        self._answered = summary.answered
        self._failed = summary.failed
        self._rejected = summary.rejected
        self._duplicates_saved = summary.duplicates_saved
        self._tell()

    def count_answer(self, reply: Reply) -> None:
        """Count an answer that was saved."""
        self._answered += 1
        self._duplicates_saved += reply.disposition.is_shared
        self._count_result()

    def count_failure(self) -> None:
        """Count a failure that was saved."""
        self._failed += 1
        self._count_result()

    def _count_result(self) -> None:
        self._pending -= 1
        self._settled += 1
        self._tell()

    def begin_export(self) -> None:
        """Say that the files of results are being written."""
        self._phase = BatchPhase.EXPORTING
        self._tell()

    def _tell(self) -> None:
        if self._on_progress is not None:
            self._on_progress(
                BatchProgress(
                    phase=self._phase,
                    items=self._items,
                    pending=self._pending,
                    answered=self._answered,
                    failed=self._failed,
                    rejected=self._rejected,
                    duplicates_saved=self._duplicates_saved,
                    settled=self._settled,
                    elapsed_s=self._elapsed_s(),
                )
            )

    def _elapsed_s(self) -> float:
        return self._clock.monotonic_s() - self._started_s

    def report(self, status: BatchStatus, summary: BatchSummary) -> BatchReport:
        """Return how the batch was left."""
        return BatchReport(status=status, settled=self._settled, elapsed_s=self._elapsed_s(), summary=summary)
