"""What every batch journal must hold.

Responsibility: the contract of `holdfast.ports.journal`, as a pytest class to derive from.
Guarantees: a journal that passes loses nothing, records nothing twice, and survives a process that dies at any moment
    between two calls, or a cancellation during one.
Not responsible for: a process that dies during a call, a full disk and other processes: they need the real thing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from holdfast.ports.errors import BatchError, JournalLockedError
from holdfast.ports.inference import Citation, FinishReason, Usage
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
    Failure,
    FailureKind,
    Fingerprints,
)
from holdfast.ports.service import Disposition, Reply
from holdfast.testing.cancellation import sweep_cancellation

__all__ = ["JournalContract"]

_FINGERPRINTS = Fingerprints(input_sha256="aa" * 32, configuration_sha256="bb" * 32)
_BLANK = Failure(kind=FailureKind.BLANK_LINE, reason="the line is blank")
_DOWN = Failure(kind=FailureKind.UNAVAILABLE, reason="connection refused")


def _item(line: int, *, name: str | None = None, rejection: Failure | None = None) -> BatchItem:
    return BatchItem(
        line=line,
        id=name or f"q{line}",
        byte_offset=line * 100,
        size_bytes=99,
        sha256=bytes([line % 256]) * 32,
        rejection=rejection,
    )


def _answer(
    item: BatchItem, *, disposition: Disposition = Disposition.CALLED, attempts: int = 1, elapsed_s: float = 0.5
) -> AnsweredItem:
    reply = Reply(
        text="Grüße\0\N{GRINNING FACE}\n“quoted”",
        backend="main",
        model="m-1",
        disposition=disposition,
        attempts=attempts,
        queue_s=0.125,
        backend_s=0.1,
        usage=Usage(input_tokens=7, output_tokens=11),
        citations=(Citation(source="adr/0001.md", heading='Why "one" name?'), Citation(source="b.md", heading="ß")),
        request_id=item.id,
        persona="memory",
        marks=("cited", "short"),
        finish_reason=FinishReason.LENGTH,
    )
    return AnsweredItem(line=item.line, id=item.id, reply=reply, elapsed_s=elapsed_s)


def _failed(item: BatchItem, failure: Failure = _DOWN) -> FailedItem:
    return FailedItem(line=item.line, id=item.id, failure=failure, elapsed_s=0.25)


async def _claimed(run: BatchRun, *, suspects: bool = False) -> Claim:
    claim = await run.claim(suspects=suspects)
    assert claim is not None
    return claim


class JournalContract(ABC):
    """Derive from it, name the class ``Test…`` and open your journal; pytest does the rest."""

    pytestmark = pytest.mark.anyio

    @abstractmethod
    def open_ledger(self) -> BatchLedger:
        """Return this test's journal as a new process would find it; empty at first."""

    @abstractmethod
    def open_backup(self, backup: str) -> BatchLedger:
        """Return the journal that a rollback of this test's journal kept."""

    @asynccontextmanager
    async def _sealed(self, *items: BatchItem) -> AsyncGenerator[BatchJournal, None]:
        async with self.open_ledger().writing() as journal:
            assert await journal.enrol(items) is None
            await journal.seal(_FINGERPRINTS)
            yield journal

    async def _summary(self) -> BatchSummary:
        return await self.open_ledger().summary()

    async def _run_to_the_end(self, run: BatchRun, *, failing: frozenset[int] = frozenset()) -> list[int]:
        lines: list[int] = []
        for suspects in (False, True):
            while (claim := await run.claim(suspects=suspects)) is not None:
                lines.append(claim.item.line)
                if claim.item.line in failing:
                    await run.record_failure(_failed(claim.item))
                else:
                    await run.record_answer(_answer(claim.item))
        return lines

    async def test_summary_of_nothing_is_all_zero(self) -> None:
        """Reading makes no batch."""
        assert await self._summary() == BatchSummary()
        assert await self.open_ledger().answers(after_line=0, limit=10) == []
        assert await self.open_ledger().failures(after_line=0, limit=10) == []

    async def test_enrol_without_seal_is_forgotten(self) -> None:
        """A process that dies while it enrols leaves nothing, and the next one may begin anew."""
        async with self.open_ledger().writing() as journal:
            await journal.enrol([_item(1), _item(2, rejection=_BLANK)])

            assert await self._summary() == BatchSummary()
        async with self._sealed(_item(1), _item(3)):
            summary = await self._summary()

        assert (summary.items, summary.pending, summary.rejected) == (2, 2, 0)

    async def test_seal_makes_callable_items_pending_and_rejected_ones_failures(self) -> None:
        """From the seal on, the batch exists for every reader."""
        async with self._sealed(_item(1), _item(2, rejection=_BLANK), _item(3)):
            pass

        assert await self._summary() == BatchSummary(
            fingerprints=_FINGERPRINTS,
            items=3,
            pending=2,
            rejected=1,
            failures=((FailureKind.BLANK_LINE, 1),),
        )
        assert await self.open_ledger().failures(after_line=0, limit=10) == [
            FailedItem(line=2, id="q2", failure=_BLANK, elapsed_s=None)
        ]

    @pytest.mark.parametrize("together", [True, False])
    async def test_enrol_of_an_id_that_is_taken_names_both_lines_and_adds_nothing(self, together: bool) -> None:  # noqa: FBT001
        """Two results could not be told apart."""
        async with self.open_ledger().writing() as journal:
            items = [_item(1, name="same"), _item(2), _item(3, name="same")]
            if not together:
                assert await journal.enrol(items[:2]) is None

            found = await journal.enrol(items if together else items[2:])

            assert found == DuplicateId(id="same", line=3, first_line=1)
            assert await journal.enrol([_item(4), *([] if not together else items[:2])]) is None
            await journal.seal(_FINGERPRINTS)
        assert (await self._summary()).items == 3

    async def test_calls_out_of_order_are_refused_and_change_nothing(self) -> None:
        """Enrol, seal, run: in this order only."""
        async with self.open_ledger().writing() as journal:
            for early in (journal.resume, journal.retry_failed):
                with pytest.raises(BatchError, match="seal"):
                    await early()
        async with self._sealed(_item(1)) as journal:
            with pytest.raises(BatchError, match="sealed"):
                await journal.enrol([_item(2)])
            with pytest.raises(BatchError, match="sealed"):
                await journal.seal(_FINGERPRINTS)
            with pytest.raises(BatchError, match="pending"):
                await journal.retry_failed()
            await journal.resume()
            with pytest.raises(BatchError, match="pending"):
                await journal.retry_failed()

        summary = await self._summary()

        assert (summary.items, summary.pending, summary.run) == (1, 1, 1)

    async def test_claim_hands_each_callable_item_out_once_in_order_of_lines(self) -> None:
        """Rejected lines are never handed out."""
        async with self._sealed(_item(3), _item(1), _item(2, rejection=_BLANK), _item(4)) as journal:
            run = await journal.resume()

            claims = [await run.claim(suspects=False) for _ in range(4)]

            assert claims == [Claim(item=_item(line), crashes=0) for line in (1, 3, 4)] + [None]
            assert await run.claim(suspects=True) is None

    async def test_answer_is_read_as_it_was_recorded(self) -> None:
        """Texts, numbers and citations survive unchanged."""
        async with self._sealed(_item(1), _item(2)) as journal:
            run = await journal.resume()
            claim = await _claimed(run)
            await run.record_answer(_answer(claim.item))

        assert await self.open_ledger().answers(after_line=0, limit=10) == [_answer(_item(1))]
        assert await self.open_ledger().failures(after_line=0, limit=10) == []

    async def test_failure_is_read_as_it_was_recorded(self) -> None:
        """Kind and reason are kept."""
        async with self._sealed(_item(1)) as journal:
            run = await journal.resume()
            claim = await _claimed(run)
            await run.record_failure(_failed(claim.item))

        assert await self.open_ledger().failures(after_line=0, limit=10) == [_failed(_item(1))]
        assert (await self._summary()).failures == ((FailureKind.UNAVAILABLE, 1),)

    async def test_second_result_of_an_item_is_refused_and_the_first_stays(self) -> None:
        """At most one recorded result per item."""
        async with self._sealed(_item(1)) as journal:
            run = await journal.resume()
            claim = await _claimed(run)
            await run.record_answer(_answer(claim.item))

            with pytest.raises(BatchError, match="not in hand"):
                await run.record_answer(_answer(claim.item, attempts=9))
            with pytest.raises(BatchError, match="not in hand"):
                await run.record_failure(_failed(claim.item))
            with pytest.raises(BatchError, match="not in hand"):
                await run.release(claim)

        assert await self.open_ledger().answers(after_line=0, limit=10) == [_answer(_item(1))]

    async def test_result_of_an_item_that_is_not_in_hand_is_refused(self) -> None:
        """Nothing is recorded that was not claimed."""
        async with self._sealed(_item(1)) as journal:
            run = await journal.resume()

            with pytest.raises(BatchError, match="not in hand"):
                await run.record_answer(_answer(_item(1)))

        assert (await self._summary()).pending == 1

    async def test_released_item_is_fresh_again(self) -> None:
        """The crash that was counted in advance is given back."""
        async with self._sealed(_item(1), _item(2)) as journal:
            run = await journal.resume()
            await run.release(await _claimed(run))

            assert await run.claim(suspects=False) == Claim(item=_item(1), crashes=0)

    async def test_item_in_hand_at_a_death_is_suspect_and_its_crashes_add_up(self) -> None:
        """Whoever opens the journal next is told how often."""
        async with self._sealed(_item(1), _item(2), _item(3)) as journal:
            run = await journal.resume()
            await run.record_answer(_answer((await _claimed(run)).item))
            await _claimed(run)
        for crashes in (1, 2):
            async with self.open_ledger().writing() as journal:
                run = await journal.resume()

                assert await run.claim(suspects=True) == Claim(item=_item(2), crashes=crashes)
                assert await run.claim(suspects=True) is None
        async with self.open_ledger().writing() as journal:
            run = await journal.resume()
            suspect = await _claimed(run, suspects=True)
            await run.release(suspect)

            assert await run.claim(suspects=False) == Claim(item=_item(3), crashes=0)
            assert await run.claim(suspects=True) == suspect
            assert suspect.crashes == 3

    async def test_suspects_are_handed_out_with_the_fewest_crashes_first(self) -> None:
        """So an item that was only beside a crash is through before the one that caused it strikes again."""
        async with self._sealed(_item(1), _item(2), _item(3)) as journal:
            run = await journal.resume()
            for _ in range(3):
                await run.claim(suspects=False)
        async with self.open_ledger().writing() as journal:
            await _claimed(await journal.resume(), suspects=True)
        async with self.open_ledger().writing() as journal:
            run = await journal.resume()

            claims = [await _claimed(run, suspects=True) for _ in range(3)]

        assert [(claim.item.line, claim.crashes) for claim in claims] == [(2, 1), (3, 1), (1, 2)]

    async def test_resume_goes_on_with_the_same_run_and_keeps_its_results(self) -> None:
        """Only what has no result is handed out again."""
        async with self._sealed(_item(1), _item(2), _item(3)) as journal:
            run = await journal.resume()
            await run.record_failure(_failed((await _claimed(run)).item))
        async with self.open_ledger().writing() as journal:
            lines = await self._run_to_the_end(await journal.resume())

        summary = await self._summary()

        assert lines == [2, 3]
        assert (summary.run, summary.answered, summary.failed, summary.pending) == (1, 2, 1, 0)

    async def test_retry_runs_failed_items_only_and_sets_their_failures_aside(self) -> None:
        """Answers stay, rejected lines are not tried, and crashes are counted anew."""
        async with self._sealed(_item(1), _item(2), _item(3, rejection=_BLANK), _item(4)) as journal:
            await self._run_to_the_end(await journal.resume(), failing=frozenset({2, 4}))

            run = await journal.retry_failed()

            assert (await self._summary()).pending == 2
            assert [failed.line for failed in await self.open_ledger().failures(after_line=0, limit=10)] == [3]
            assert await run.claim(suspects=False) == Claim(item=_item(2), crashes=0)
            await run.record_answer(_answer(_item(2)))
            assert await self._run_to_the_end(run, failing=frozenset({4})) == [4]
        summary = await self._summary()

        assert (summary.run, summary.answered, summary.failed, summary.rejected) == (2, 2, 1, 1)
        assert [failed.line for failed in await self.open_ledger().failures(after_line=0, limit=10)] == [3, 4]

    async def test_rollback_of_the_first_run_leaves_everything_pending_and_a_backup(self) -> None:
        """The batch stays enrolled, and the backup is a journal that can be read."""
        async with self._sealed(_item(1), _item(2), _item(3, rejection=_BLANK)) as journal:
            await self._run_to_the_end(await journal.resume(), failing=frozenset({2}))
            before = await self._summary()

            undone = await journal.rollback()

            assert undone is not None
            assert (undone.run, undone.results) == (1, 2)
            assert await self._summary() == BatchSummary(
                fingerprints=_FINGERPRINTS, items=3, pending=2, rejected=1, failures=((FailureKind.BLANK_LINE, 1),)
            )
            assert await self._run_to_the_end(await journal.resume()) == [1, 2]
            assert (await self._summary()).run == 1
        backup = self.open_backup(undone.backup)
        assert await backup.summary() == before
        assert await backup.answers(after_line=0, limit=10) == [_answer(_item(1))]

    @pytest.mark.parametrize("finished", [True, False])
    async def test_rollback_of_a_retry_brings_the_earlier_failures_back(self, finished: bool) -> None:  # noqa: FBT001
        """Also while the retry is under way."""
        async with self._sealed(_item(1), _item(2), _item(3)) as journal:
            await self._run_to_the_end(await journal.resume(), failing=frozenset({2, 3}))
            before = await self._summary()
            run = await journal.retry_failed()
            if finished:
                await self._run_to_the_end(run)
            else:
                await run.record_answer(_answer((await _claimed(run)).item))
                await _claimed(run)

            undone = await journal.rollback()

            assert undone is not None
            assert (undone.run, undone.results) == (2, 2 if finished else 1)
            assert await self._summary() == before
            assert await self.open_ledger().failures(after_line=0, limit=10) == [_failed(_item(2)), _failed(_item(3))]
            assert await self._run_to_the_end(await journal.resume()) == []

    async def test_rollbacks_one_after_the_other_undo_run_by_run_and_keep_a_backup_each(self) -> None:
        """Down to the first, and then there is nothing to undo."""
        async with self._sealed(_item(1)) as journal:
            await self._run_to_the_end(await journal.resume(), failing=frozenset({1}))
            await self._run_to_the_end(await journal.retry_failed(), failing=frozenset({1}))
            await self._run_to_the_end(await journal.retry_failed())

            undone = [await journal.rollback() for _ in range(4)]

        assert [done.run if done else None for done in undone] == [3, 2, 1, None]
        backups = [self.open_backup(done.backup) for done in undone if done]
        assert [(await backup.summary()).run for backup in backups] == [3, 2, 1]

    async def test_second_writer_is_refused_until_the_first_has_left(self) -> None:
        """One writer per run; readers are welcome at any time."""
        async with self._sealed(_item(1)):
            with pytest.raises(JournalLockedError):
                async with self.open_ledger().writing():
                    pytest.fail("two writers")

            assert (await self._summary()).items == 1
        async with self.open_ledger().writing() as journal:
            assert await self._run_to_the_end(await journal.resume()) == [1]

    async def test_writer_that_fails_gives_the_journal_back(self) -> None:
        """An error in the block passes through."""
        with pytest.raises(ZeroDivisionError):
            async with self.open_ledger().writing():
                raise ZeroDivisionError

        async with self.open_ledger().writing() as journal:
            assert await journal.rollback() is None

    async def test_pages_follow_each_other_without_gap_or_overlap(self) -> None:
        """Every result is on one page, in order of lines; an empty page is the end."""
        async with self._sealed(*(_item(line) for line in range(1, 12))) as journal:
            await self._run_to_the_end(await journal.resume(), failing=frozenset(range(2, 12, 2)))
        ledger = self.open_ledger()
        answered: list[int] = []
        failed: list[int] = []

        while page := await ledger.answers(after_line=answered[-1] if answered else 0, limit=2):
            assert len(page) <= 2
            answered += [item.line for item in page]
        while rows := await ledger.failures(after_line=failed[-1] if failed else 0, limit=2):
            assert len(rows) <= 2
            failed += [item.line for item in rows]

        assert answered == [1, 3, 5, 7, 9, 11]
        assert failed == [2, 4, 6, 8, 10]

    async def test_summary_counts_calls_duplicates_times_and_kinds(self) -> None:
        """A shared answer has called nothing, however many attempts its flight took; a command's saved no call."""
        items = [_item(line) for line in range(1, 9)]
        timeout = Failure(kind=FailureKind.TIMEOUT, reason="too slow")
        async with self._sealed(*items, _item(9, rejection=_BLANK)) as journal:
            run = await journal.resume()
            for _ in items:
                await run.claim(suspects=False)
            await run.record_answer(_answer(items[0], attempts=3, elapsed_s=4.0))
            await run.record_answer(_answer(items[1], disposition=Disposition.JOINED, attempts=3, elapsed_s=2.0))
            await run.record_answer(_answer(items[2], disposition=Disposition.CACHED, attempts=1, elapsed_s=1.0))
            await run.record_answer(_answer(items[3], attempts=1, elapsed_s=3.0))
            await run.record_failure(_failed(items[4], timeout))
            await run.record_failure(_failed(items[5], timeout))
            await run.record_answer(_answer(items[6], disposition=Disposition.COMMANDED, attempts=0, elapsed_s=1.0))

        assert await self._summary() == BatchSummary(
            fingerprints=_FINGERPRINTS,
            run=1,
            items=9,
            pending=1,
            answered=5,
            failed=2,
            rejected=1,
            duplicates_saved=2,
            backend_calls=4,
            p50_s=2.0,
            p99_s=4.0,
            failures=((FailureKind.TIMEOUT, 2), (FailureKind.BLANK_LINE, 1)),
        )

    async def test_cancellation_at_any_moment_leaves_whole_changes_only(self) -> None:
        """Whatever was cut off, the next process finds every item pending or recorded, and can go on."""

        async def scenario() -> None:
            async with self.open_ledger().writing() as journal:
                if (await self._summary()).fingerprints is None:
                    await journal.enrol([_item(1), _item(2), _item(3)])
                    await journal.seal(_FINGERPRINTS)
                run = await journal.resume()
                first, second = await _claimed(run), await _claimed(run)
                await run.record_answer(_answer(first.item))
                await run.release(second)
                await journal.rollback()

        async def check() -> None:
            summary = await self._summary()
            assert summary.pending + summary.answered == summary.items
            assert summary.answered in {0, 1}
            async with self.open_ledger().writing() as journal:
                if summary.fingerprints is None:
                    return
                run = await journal.resume()
                lines = await self._run_to_the_end(run)
                assert len(lines) == summary.pending
                await journal.rollback()

        assert await sweep_cancellation(scenario, check) > 5
