"""What a batch remembers, so that it survives its process.

Responsibility: the items of one batch, what is left to do, what came out, and undoing the newest run.
Guarantees: at most one recorded result per item; every change is atomic and durable when its call returns.
Not responsible for: calling the service or reading the input file: see `holdfast.application.batch`.

A batch is one input file. Its lines are enrolled once, then sealed. A *run* works on them: the first one on every item
that can be called, each later one on those that had failed. A run that was interrupted is resumed, by the same number.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from holdfast.ports.service import Reply

__all__ = [
    "AnsweredItem",
    "BatchItem",
    "BatchJournal",
    "BatchLedger",
    "BatchRun",
    "BatchSummary",
    "Claim",
    "DuplicateId",
    "FailedItem",
    "Failure",
    "FailureKind",
    "Fingerprints",
    "RolledBack",
]


class FailureKind(enum.StrEnum):
    """Why an item has no answer."""

    BLANK_LINE = "blank_line"
    TOO_LARGE = "too_large"
    NUL = "nul"
    BYTE_ORDER_MARK = "byte_order_mark"
    CARRIAGE_RETURN = "carriage_return"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    INVALID = "invalid"
    """The line is JSON, but not a request: a key is unknown, missing, or of the wrong type."""

    REQUEST = "request"
    """The service, or a backend, refused this very request."""
    REFUSED = "refused"
    """Holdfast itself said no before a backend was called."""
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    THROTTLED = "throttled"
    PROTOCOL = "protocol"
    AUTHENTICATION = "authentication"
    BACKEND = "backend"
    """A backend failed in a way that has no kind of its own."""
    OUTPUT = "output"
    """An answer came that did not pass a validator, or at which one failed."""
    RETRIEVAL = "retrieval"
    CRASHED = "crashed"
    """The process died again and again while this item was in hand."""
    UNEXPECTED = "unexpected"
    """An error that the service does not promise: a bug."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an item has no answer, for a program and for a reader."""

    kind: FailureKind
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprints:
    """What a batch was begun with; another input or configuration is another batch.

    Args:
        input_sha256: of the input file's bytes, in hexadecimal.
        configuration_sha256: of what else decides the answers, in hexadecimal.
    """

    input_sha256: str
    configuration_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """One line of the input, and where to find it again.

    Args:
        line: its number, from 1.
        id: the name its result is found by, unique in the batch.
        byte_offset: where the line begins in the file.
        size_bytes: its length, without the line end.
        sha256: digest of those bytes, which shows a file that was changed under a running batch.
        rejection: why the line cannot be called, or None. Only another input could help, so no run ever includes it.
    """

    line: int
    id: str
    byte_offset: int
    size_bytes: int
    sha256: bytes
    rejection: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateId:
    """An id that an earlier line has already taken."""

    id: str
    line: int
    first_line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An item in hand.

    Args:
        item: what to call.
        crashes: how often, in this run, it was in hand when the process died.
    """

    item: BatchItem
    crashes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredItem:
    """A recorded answer.

    Args:
        line: number of the item's line, from 1.
        id: name of the item.
        reply: the answer; its `request_id` is the item's id, and it calls no tools, as an item cannot offer any.
        elapsed_s: seconds between the call and its reply.
    """

    line: int
    id: str
    reply: Reply
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedItem:
    """A recorded failure.

    Args:
        line: number of the item's line, from 1.
        id: name of the item.
        failure: why there is no answer.
        elapsed_s: seconds between the call and its failure, 0.0 without a call; None for a rejected line.
    """

    line: int
    id: str
    failure: Failure
    elapsed_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSummary:
    """A batch in numbers; `items = pending + answered + failed + rejected`.

    Args:
        fingerprints: what it was begun with; None until it is sealed, and then every number is 0.
        run: number of the newest run, from 1; None before the first one.
        items: lines of the input.
        pending: items without a result.
        answered: items with an answer.
        failed: items whose newest call failed.
        rejected: lines that cannot be called.
        duplicates_saved: answers that were shared, so that no backend was called for them.
        backend_calls: calls that the other answers took.
        p50_s: median of the answers' `elapsed_s`; None without answers.
        p99_s: their 99th percentile, nearest rank; None without answers.
        failures: how many items failed or were rejected, by kind; most frequent first, then by name.
    """

    fingerprints: Fingerprints | None = None
    run: int | None = None
    items: int = 0
    pending: int = 0
    answered: int = 0
    failed: int = 0
    rejected: int = 0
    duplicates_saved: int = 0
    backend_calls: int = 0
    p50_s: float | None = None
    p99_s: float | None = None
    failures: tuple[tuple[FailureKind, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """What an undone run leaves.

    Args:
        run: number of the run that was undone.
        results: how many of its results were taken away.
        backup: where the journal as it was before is kept; a ledger can be opened there.
    """

    run: int
    results: int
    backup: str


class BatchRun(Protocol):
    """The running side: takes items in hand and records what came of them.

    Ordering: fresh items come in order of lines, suspects with the fewest crashes first. Duplication: an item is in one
    hand at a time, and settled once, by `record_answer`, `record_failure` or `release`. Loss: an item in hand when the
    process dies is pending again, its crash counted. Atomicity: an item leaves the hand and gains its result in one
    step. Texts are valid Unicode: no lone surrogates. Cancellation: a call either did nothing yet or completes and
    returns. Errors: `JournalWriteError`; `BatchError` for an item that is not in hand.
    """

    async def claim(self, *, suspects: bool) -> Claim | None:
        """Take the next item in hand, its crash counted in advance, or return None when there is none left.

        Args:
            suspects: whether to take an item that was in hand when the process died, or a fresh one.
        """
        ...

    async def record_answer(self, answer: AnsweredItem) -> None:
        """Record the answer of an item in hand."""
        ...

    async def record_failure(self, failed: FailedItem) -> None:
        """Record the failure of an item in hand."""
        ...

    async def release(self, claim: Claim) -> None:
        """Put an item back as if it had never been in hand."""
        ...


class BatchJournal(Protocol):
    """The writing side of one batch; whoever has it is the only writer.

    Ordering: `enrol` any number of times, `seal` once, then runs. Idempotency: an enrolment that was not sealed is
    forgotten, so enrolling begins anew. Atomicity: each call, also `rollback`. Cancellation: a call either did nothing
    yet or completes and returns. Errors: `JournalWriteError`; `BatchError` when called out of order.
    """

    async def enrol(self, items: Sequence[BatchItem]) -> DuplicateId | None:
        """Add items, or none of them when one has an id that is taken, which is returned."""
        ...

    async def seal(self, fingerprints: Fingerprints) -> None:
        """Say that every line is enrolled; from now on the batch exists."""
        ...

    async def resume(self) -> BatchRun:
        """Go on with the newest run, or begin the first one."""
        ...

    async def retry_failed(self) -> BatchRun:
        """Begin a new run of the items whose newest call failed; only when nothing is pending.

        Their failures are set aside, for `rollback` to bring back.
        """
        ...

    async def rollback(self) -> RolledBack | None:
        """Undo the newest run and keep a backup; None when there is no run.

        Undoing the first run leaves every item pending, undoing a later one brings the earlier failures back.
        """
        ...


class BatchLedger(Protocol):
    """The reading side of one batch, and the door to its writing side.

    Ordering: by line. Reading never waits for the writer and sees whole changes only. Cancellation: may be cancelled at
    any moment. Errors: `BatchError` when it cannot be read, `JournalSchemaError` when it is of a newer version,
    `JournalLockedError` when it is of an older one and somebody writes it.
    """

    def writing(self) -> AbstractAsyncContextManager[BatchJournal]:
        """Become the only writer for the length of an ``async with`` block, or until the process dies.

        Raises:
            JournalLockedError: if somebody else is.
            JournalWriteError: if the journal cannot be written.
        """
        ...

    async def summary(self) -> BatchSummary:
        """Return the batch in numbers; all 0 when there is none."""
        ...

    async def answers(self, *, after_line: int, limit: int) -> Sequence[AnsweredItem]:
        """Return the next answers beyond `after_line`: at most `limit`, fewer if they are long, none at the end."""
        ...

    async def failures(self, *, after_line: int, limit: int) -> Sequence[FailedItem]:
        """Return the next failures and rejections beyond `after_line`, in the same way."""
        ...
