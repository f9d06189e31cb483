"""A batch journal in this process's memory.

Responsibility: `BatchLedger`, `BatchJournal` and `BatchRun` without a file: for tests, and as the model that the
    durable journal is compared with.
Guarantees: those of the ports, as long as the process lives.
Not responsible for: surviving the process.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from anyio.lowlevel import checkpoint

from holdfast.ports.errors import BatchError, JournalLockedError
from holdfast.ports.journal import (
    AnsweredItem,
    BatchItem,
    BatchJournal,
    BatchLedger,
    BatchRun,
    BatchSummary,
    Claim,
    DuplicateId,
    FailedItem,
    Fingerprints,
    RolledBack,
)
from holdfast.ports.service import Disposition

__all__ = ["MemoryJournal"]

T = TypeVar("T", AnsweredItem, FailedItem)


@dataclass(frozen=True, slots=True)
class _Entry:
    crashes: int = 0
    in_hand: bool = False


@dataclass(slots=True)
class _Run:
    results: dict[int, AnsweredItem | FailedItem] = field(default_factory=dict[int, AnsweredItem | FailedItem])
    superseded: dict[int, AnsweredItem | FailedItem] = field(default_factory=dict[int, AnsweredItem | FailedItem])


@dataclass(slots=True)
class _State:
    fingerprints: Fingerprints | None = None
    items: dict[int, BatchItem] = field(default_factory=dict[int, BatchItem])
    lines: dict[str, int] = field(default_factory=dict[str, int])
    queue: dict[int, _Entry] = field(default_factory=dict[int, _Entry])
    runs: list[_Run] = field(default_factory=list[_Run])
    current: dict[int, AnsweredItem | FailedItem] = field(default_factory=dict[int, AnsweredItem | FailedItem])
    """The result that counts, of each callable item that has one, by line."""


class MemoryJournal:
    """The journal of one batch; keep the object to reopen it."""

    def __init__(self) -> None:
        self._state = _State()
        self._is_written = False
        self._backups: list[_State] = []

    def crashed(self) -> MemoryJournal:
        """Return the journal as another process finds it if this one dies now."""
        return self._with(self._state)

    def backup(self, name: str) -> MemoryJournal:
        """Return the journal that `BatchJournal.rollback` kept by this name."""
        return self._with(self._backups[int(name) - 1])

    def _with(self, state: _State) -> MemoryJournal:
        journal = MemoryJournal()
        journal._state = copy.deepcopy(state)
        journal._backups = copy.deepcopy(self._backups)
        return journal

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[BatchJournal, None]:
        """Become the only writer; see `BatchLedger.writing`."""
        await checkpoint()
        if self._is_written:
            raise JournalLockedError(path="memory")
        self._is_written = True
        if self._state.fingerprints is None:
            self._state = _State()
        for line, entry in self._state.queue.items():
            self._state.queue[line] = _Entry(crashes=entry.crashes)
        try:
            yield _Writer(self._state, self._backups)
        finally:
            self._is_written = False

    async def summary(self) -> BatchSummary:
        """Return the batch in numbers."""
        await checkpoint()
        state = self._state
        if state.fingerprints is None:
            return BatchSummary()
        answers = _answers(state)
        failures = _failures(state)
        times_s = sorted(answer.elapsed_s for answer in answers)
        called = [answer.reply for answer in answers if answer.reply.disposition is Disposition.CALLED]
        rejected = sum(item.rejection is not None for item in state.items.values())
        kinds = Counter(failed.failure.kind for failed in failures)
        return BatchSummary(
            fingerprints=state.fingerprints,
            run=len(state.runs) or None,
            items=len(state.items),
            pending=len(state.items) - rejected - len(state.current),
            answered=len(answers),
            failed=len(failures) - rejected,
            rejected=rejected,
            duplicates_saved=sum(answer.reply.disposition.is_shared for answer in answers),
            backend_calls=sum(reply.attempts for reply in called),
            p50_s=_percentile(times_s, 0.50),
            p99_s=_percentile(times_s, 0.99),
            failures=tuple(sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))),
        )

    async def answers(self, *, after_line: int, limit: int) -> Sequence[AnsweredItem]:
        """Return the next answers."""
        await checkpoint()
        return _page(_answers(self._state), after_line, limit)

    async def failures(self, *, after_line: int, limit: int) -> Sequence[FailedItem]:
        """Return the next failures and rejections."""
        await checkpoint()
        return _page(_failures(self._state), after_line, limit)


def _answers(state: _State) -> list[AnsweredItem]:
    return [result for result in state.current.values() if isinstance(result, AnsweredItem)]


def _failures(state: _State) -> list[FailedItem]:
    rejections = [
        FailedItem(line=item.line, id=item.id, failure=item.rejection, elapsed_s=None)
        for item in state.items.values()
        if item.rejection is not None
    ]
    return rejections + [result for result in state.current.values() if isinstance(result, FailedItem)]


def _page(results: list[T], after_line: int, limit: int) -> list[T]:
    later = [result for result in results if result.line > after_line]
    return sorted(later, key=lambda result: result.line)[:limit]


def _percentile(ascending: list[float], ratio: float) -> float | None:
    return ascending[max(0, math.ceil(ratio * len(ascending)) - 1)] if ascending else None


class _Writer:
    def __init__(self, state: _State, backups: list[_State]) -> None:
        self._state = state
        self._backups = backups

    async def enrol(self, items: Sequence[BatchItem]) -> DuplicateId | None:
        await checkpoint()
        state = self._state
        if state.fingerprints is not None:
            raise BatchError("the batch is sealed; items are enrolled before that")
        lines = dict(state.lines)
        for item in items:
            first_line = lines.setdefault(item.id, item.line)
            if first_line != item.line:
                return DuplicateId(id=item.id, line=item.line, first_line=first_line)
        state.lines = lines
        state.items |= {item.line: item for item in items}
        return None

    async def seal(self, fingerprints: Fingerprints) -> None:
        await checkpoint()
        if self._state.fingerprints is not None:
            raise BatchError("the batch is sealed already; a changed input needs another journal")
        self._state.fingerprints = fingerprints

    async def resume(self) -> BatchRun:
        await checkpoint()
        state = self._state
        _require_sealed(state)
        if not state.runs:
            state.runs.append(_Run())
            state.queue = {line: _Entry() for line, item in sorted(state.items.items()) if item.rejection is None}
        return _Runner(state)

    async def retry_failed(self) -> BatchRun:
        await checkpoint()
        state = self._state
        _require_sealed(state)
        if not state.runs or state.queue:
            raise BatchError("items are still pending; finish their run before its failures are retried")
        failed = {line: result for line, result in sorted(state.current.items()) if isinstance(result, FailedItem)}
        state.runs.append(_Run(superseded={**failed}))
        state.queue = {line: _Entry() for line in failed}
        for line in failed:
            del state.current[line]
        return _Runner(state)

    async def rollback(self) -> RolledBack | None:
        await checkpoint()
        state = self._state
        if not state.runs:
            return None
        self._backups.append(copy.deepcopy(state))
        number = len(state.runs)
        undone = state.runs.pop()
        for line in undone.results:
            del state.current[line]
        state.current |= undone.superseded
        state.queue = {}
        return RolledBack(run=number, results=len(undone.results), backup=str(len(self._backups)))


def _require_sealed(state: _State) -> None:
    if state.fingerprints is None:
        raise BatchError("the batch is not sealed yet; enrol its items and seal it first")


class _Runner:
    def __init__(self, state: _State) -> None:
        self._state = state

    async def claim(self, *, suspects: bool) -> Claim | None:
        await checkpoint()
        free = [
            (entry.crashes, line)
            for line, entry in self._state.queue.items()
            if not entry.in_hand and bool(entry.crashes) is suspects
        ]
        if not free:
            return None
        crashes, line = min(free)
        self._state.queue[line] = _Entry(crashes=crashes + 1, in_hand=True)
        return Claim(item=self._state.items[line], crashes=crashes)

    async def record_answer(self, answer: AnsweredItem) -> None:
        await checkpoint()
        self._record(answer)

    async def record_failure(self, failed: FailedItem) -> None:
        await checkpoint()
        self._record(failed)

    def _record(self, result: AnsweredItem | FailedItem) -> None:
        self._require_in_hand(result.line)
        del self._state.queue[result.line]
        self._state.current[result.line] = result
        self._state.runs[-1].results[result.line] = result

    async def release(self, claim: Claim) -> None:
        await checkpoint()
        line = claim.item.line
        self._require_in_hand(line)
        self._state.queue[line] = _Entry(crashes=claim.crashes)

    def _require_in_hand(self, line: int) -> None:
        entry = self._state.queue.get(line)
        if entry is None or not entry.in_hand:
            raise BatchError(f"line {line} is not in hand; claim it first, and settle it once")


_: tuple[type[BatchLedger], type[BatchJournal], type[BatchRun]] = (MemoryJournal, _Writer, _Runner)
