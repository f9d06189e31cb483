"""The durable journal against the one in memory, on random histories with deaths in between."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.adapters.memory.journal import MemoryJournal
from holdfast.adapters.sqlite.journal import SqliteJournal
from holdfast.ports.errors import BatchError
from holdfast.ports.inference import Usage
from holdfast.ports.journal import (
    AnsweredItem,
    BatchItem,
    BatchJournal,
    BatchLedger,
    BatchRun,
    BatchSummary,
    Claim,
    FailedItem,
    Failure,
    FailureKind,
    Fingerprints,
)
from holdfast.ports.service import Disposition, Reply

T = TypeVar("T")

FINGERPRINTS = Fingerprints(input_sha256="a", configuration_sha256="b")


def make_item(line: int, name: str, *, rejected: bool) -> BatchItem:
    rejection = Failure(kind=FailureKind.BLANK_LINE, reason="blank") if rejected else None
    return BatchItem(line=line, id=name, byte_offset=line, size_bytes=1, sha256=b"x" * 32, rejection=rejection)


def answer_of(item: BatchItem, disposition: Disposition, elapsed_s: float) -> AnsweredItem:
    reply = Reply(
        text="t",
        backend="b",
        model="m",
        disposition=disposition,
        attempts=2,
        queue_s=0.0,
        backend_s=0.0,
        usage=Usage(),
        citations=(),
        request_id=item.id,
    )
    return AnsweredItem(line=item.line, id=item.id, reply=reply, elapsed_s=elapsed_s)


class Journal:
    """One journal, its writer if it has one, and that writer's run."""

    def __init__(self, ledger: BatchLedger) -> None:
        self.ledger = ledger
        self.lease: AbstractContextManager[BatchJournal] | None = None
        self.writer: BatchJournal | None = None
        self.run: BatchRun | None = None


class JournalMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.lease = start_blocking_portal("asyncio")
        self.portal: BlockingPortal = self.lease.__enter__()
        self.memory = MemoryJournal()
        self.journals = [Journal(self.memory), Journal(SqliteJournal(Path(self.folder.name) / "j.sqlite3"))]
        self.in_hand: list[Claim] = []
        self.settled: list[Claim] = []
        self.is_running = False
        self.next_line = 1

    def teardown(self) -> None:
        self._leave()
        self.lease.__exit__(None, None, None)
        self.folder.cleanup()

    def _leave(self) -> None:
        for journal in self.journals:
            if journal.lease is not None:
                journal.lease.__exit__(None, None, None)
            journal.lease = journal.writer = journal.run = None
        self.in_hand.clear()
        self.settled.clear()
        self.is_running = False

    def _both(self, ask: Callable[[Journal], Awaitable[T]]) -> T | type[BatchError]:
        """Ask both journals the same, and return the one answer that they have to give."""
        answers: list[T | type[BatchError]] = []
        for journal in self.journals:
            try:
                answers.append(self.portal.call(ask, journal))
            except BatchError as error:
                answers.append(type(error))
        assert answers[0] == answers[1]
        return answers[0]

    def _write(self, change: Callable[[BatchJournal], Awaitable[T]]) -> T | type[BatchError]:
        async def ask(journal: Journal) -> T:
            assert journal.writer is not None
            return await change(journal.writer)

        return self._both(ask)

    def _run(self, change: Callable[[BatchRun], Awaitable[T]]) -> T | type[BatchError]:
        async def ask(journal: Journal) -> T:
            assert journal.run is not None
            return await change(journal.run)

        return self._both(ask)

    @initialize(names=st.lists(st.sampled_from("abcdefghij"), unique=True, max_size=6), sealed=st.booleans())
    def open(self, names: list[str], sealed: bool) -> None:
        self.die_and_open_again()
        self.enrol(names, rejected=False)
        if sealed:
            self.seal()
            self.begin(retry=False)

    @rule()
    def die_and_open_again(self) -> None:
        self._leave()
        for journal in self.journals:
            journal.lease = self.portal.wrap_async_context_manager(journal.ledger.writing())
            journal.writer = journal.lease.__enter__()

    @precondition(lambda self: not self.is_running)
    @rule(names=st.lists(st.sampled_from("abcdefghij"), max_size=4), rejected=st.booleans())
    def enrol(self, names: list[str], rejected: bool) -> None:
        items = [
            make_item(self.next_line + index, name, rejected=rejected and index == 0)
            for index, name in enumerate(names)
        ]
        self.next_line += len(items)
        self._write(lambda writer: writer.enrol(items))

    @precondition(lambda self: not self.is_running)
    @rule()
    def seal(self) -> None:
        self._write(lambda writer: writer.seal(FINGERPRINTS))

    @rule(retry=st.booleans())
    def begin(self, retry: bool) -> None:
        async def ask(journal: Journal) -> bool:
            assert journal.writer is not None
            journal.run = await (journal.writer.retry_failed() if retry else journal.writer.resume())
            return True

        if self._both(ask) is True:
            self.is_running = True

    @precondition(lambda self: self.is_running)
    @rule(suspects=st.booleans())
    def claim(self, suspects: bool) -> None:
        claim = self._run(lambda run: run.claim(suspects=suspects))
        if isinstance(claim, Claim):
            assert claim.item.line not in {held.item.line for held in self.in_hand}
            assert bool(claim.crashes) is suspects
            self.in_hand.append(claim)

    @precondition(lambda self: self.in_hand)
    @rule(
        data=st.data(),
        how=st.sampled_from(["answer", "fail", "release"]),
        disposition=st.sampled_from(Disposition),
        elapsed_s=st.floats(0, 100),
    )
    def settle(self, data: st.DataObject, how: str, disposition: Disposition, elapsed_s: float) -> None:
        claim = data.draw(st.sampled_from(self.in_hand))
        self.in_hand.remove(claim)
        self.settled.append(claim)
        assert self._settle(claim, how, disposition, elapsed_s) is None

    @precondition(lambda self: self.settled)
    @rule(data=st.data(), how=st.sampled_from(["answer", "fail", "release"]))
    def settle_again(self, data: st.DataObject, how: str) -> None:
        claim = data.draw(st.sampled_from(self.settled))
        if claim.item.line not in {held.item.line for held in self.in_hand}:
            assert self._settle(claim, how, Disposition.CALLED, 1.0) is BatchError

    def _settle(self, claim: Claim, how: str, disposition: Disposition, elapsed_s: float) -> type[BatchError] | None:
        failure = Failure(kind=FailureKind.TIMEOUT, reason="late")
        failed = FailedItem(line=claim.item.line, id=claim.item.id, failure=failure, elapsed_s=elapsed_s)
        if how == "answer":
            return self._run(lambda run: run.record_answer(answer_of(claim.item, disposition, elapsed_s)))
        if how == "fail":
            return self._run(lambda run: run.record_failure(failed))
        return self._run(lambda run: run.release(claim))

    @rule()
    def rollback(self) -> None:
        async def ask(journal: Journal) -> tuple[int, int, BatchSummary] | None:
            assert journal.writer is not None
            before = await journal.ledger.summary()
            undone = await journal.writer.rollback()
            if undone is None:
                return None
            backup = (
                self.memory.backup(undone.backup)
                if journal.ledger is self.memory
                else SqliteJournal(Path(undone.backup))
            )
            assert await backup.summary() == before
            return undone.run, undone.results, before

        if self._both(ask) is not None:
            self.in_hand.clear()
            self.settled.clear()

    @invariant()
    def both_say_the_same_and_it_adds_up(self) -> None:
        summary = self._both(lambda journal: journal.ledger.summary())
        answers = self._both(lambda journal: journal.ledger.answers(after_line=0, limit=100))
        failures = self._both(lambda journal: journal.ledger.failures(after_line=0, limit=100))

        assert isinstance(summary, BatchSummary)
        assert not isinstance(answers, type)
        assert not isinstance(failures, type)
        assert summary.items == summary.pending + summary.answered + summary.failed + summary.rejected
        assert len(self.in_hand) <= summary.pending
        if summary.fingerprints is not None:
            lines = [*(answer.line for answer in answers), *(failed.line for failed in failures)]
            assert len(set(lines)) == len(lines) == summary.items - summary.pending


TestJournal = pytest.mark.slow(JournalMachine.TestCase)
TestJournal.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)
