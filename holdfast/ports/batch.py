"""How a batch is driven.

Responsibility: what the command line asks of a batch, and what it hears while and after it runs.
Guarantees: every value is frozen; the counts of each add up as its docstring says.
Not responsible for: how a batch is kept: see `holdfast.ports.journal`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from holdfast.ports.journal import BatchSummary, RolledBack

__all__ = [
    "FAILURES_NAME",
    "RESULTS_NAME",
    "Batch",
    "BatchPhase",
    "BatchProgress",
    "BatchReport",
    "BatchStatus",
    "StopSignal",
]

RESULTS_NAME: Final = "results.jsonl"
"""The file of answers in the output folder."""

FAILURES_NAME: Final = "failures.jsonl"
"""The file of failures and rejected lines beside it."""


class BatchPhase(enum.StrEnum):
    """What a batch is doing."""

    SCANNING = "scanning"
    """Reading the whole input, before the first call."""
    RUNNING = "running"
    EXPORTING = "exporting"
    """Writing the files of results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress:
    """A batch at one moment; `items = pending + answered + failed + rejected`, except while it is scanning.

    Args:
        phase: what it is doing.
        items: lines read so far, then all lines.
        pending: items without a result, those in flight included.
        answered: items with an answer.
        failed: items whose newest call failed.
        rejected: lines that cannot be called.
        duplicates_saved: answers that were shared, so that no backend was called for them.
        settled: results recorded since this process took the batch up.
        elapsed_s: seconds since then.
    """

    phase: BatchPhase
    items: int
    pending: int
    answered: int
    failed: int
    rejected: int
    duplicates_saved: int
    settled: int
    elapsed_s: float


class BatchStatus(enum.StrEnum):
    """How a batch was left."""

    COMPLETE = "complete"
    """Every item has a result."""
    ALREADY_COMPLETE = "already_complete"
    """Every item had one before, so nothing was called."""
    STOPPED = "stopped"
    """It was asked to stop; running it again goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """How a batch was left.

    Args:
        status: in one word.
        settled: results recorded by this process.
        elapsed_s: seconds it took.
        summary: the whole batch in numbers, earlier processes included.
    """

    status: BatchStatus
    settled: int
    elapsed_s: float
    summary: BatchSummary


class StopSignal(Protocol):
    """Asks for a graceful stop; an `anyio.Event` is one."""

    def is_set(self) -> bool:
        """Return whether the stop was asked for."""
        ...

    async def wait(self) -> None:
        """Wait until it is."""
        ...


class Batch(Protocol):
    """Runs one file of requests, one result each.

    Duplication: at most one recorded result per item; the backend may be called again only if the process died between
    the call and the save; a stable idempotency key is sent. Idempotency: running again goes on, and calls nothing when
    complete. Cancellation: items in flight are put back and what was saved stays. Errors: `BatchError` and its
    subclasses, and `ClosedError` when the service was closed under it.
    """

    async def run(
        self,
        input_path: Path,
        *,
        retry_failed: bool = False,
        stop: StopSignal | None = None,
        on_progress: Callable[[BatchProgress], None] | None = None,
    ) -> BatchReport:
        """Begin, resume or retry the batch, and write its files of results when every item has one.

        Args:
            input_path: the requests, one JSON object a line.
            retry_failed: run the failed items again; one whose run was interrupted is only resumed.
            stop: once set, takes no more items, and cancels those in flight after a grace period.
            on_progress: called after every recorded result; shall return at once.
        """
        ...

    async def rollback(self) -> RolledBack | None:
        """Undo the newest run and write the files of results again; None when there is nothing to undo."""
        ...
