"""Running a file of requests, so that nothing is lost and nothing is recorded twice.

Responsibility: the life of a batch: scan, run, resume, retry, stop, export, roll back.
Guarantees: at most one recorded result per item; the backend may be called again only if the process died between the
    call and the save; a stable idempotency key is sent. A result is saved before it is counted. An item that was in
    hand when the process died is called last and alone, so that one that keeps killing the process takes no other with
    it, and is given up after `BatchConfig.max_crashes` deaths. A save that fails ends the batch as a death would.
Not responsible for: retries, fallback and deduplication: the service does that. How results are kept: the journal.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from holdfast.application.batch_config import BatchConfig
from holdfast.application.batch_enrolment import compare_fingerprints, enrol_input
from holdfast.application.batch_export import check_output, check_unclaimed, export
from holdfast.application.batch_input import open_input
from holdfast.application.batch_tally import BatchTally
from holdfast.application.batch_work import BatchWork, Submit
from holdfast.ports.batch import Batch, BatchProgress, BatchReport, BatchStatus, StopSignal
from holdfast.ports.clock import Clock
from holdfast.ports.files import FileWriter
from holdfast.ports.journal import BatchJournal, BatchLedger, BatchRun, RolledBack

__all__ = ["BatchRunner"]


class BatchRunner:
    """Runs one file of requests into one output folder.

    Args:
        submit: answers a request; a service that closes ends the batch, which can then be resumed.
        ledger: the journal of this batch.
        writer: writes the files of results.
        output_folder: where they go; made if missing.
        configuration: what else decides the answers, in a canonical text; a changed one is refused.
        clock: measures and waits.
        config: how the batch is run.
    """

    def __init__(  # noqa: PLR0913 - one for each port, and what differs between batches
        self,
        submit: Submit,
        ledger: BatchLedger,
        writer: FileWriter,
        *,
        output_folder: Path,
        configuration: str,
        clock: Clock,
        config: BatchConfig = BatchConfig(),  # noqa: B008 - frozen
    ) -> None:
        self._submit = submit
        self._ledger = ledger
        self._writer = writer
        self._output_folder = output_folder
        self._configuration = configuration
        self._clock = clock
        self._config = config

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
            retry_failed: run the failed items again; a run that was interrupted is only resumed.
            stop: once set, takes no more items, and cancels those in flight after `BatchConfig.stop_grace_s`.
            on_progress: called after every recorded result; shall return at once. What it raises ends the batch.

        Raises:
            BatchInputError: if the input or an id in it, or the output folder, is not usable; nothing was called.
            BatchChangedError: if the input or the configuration is not the one that the batch was begun with.
            JournalLockedError: if another process runs this batch.
            JournalSchemaError: if a newer version began it.
            JournalWriteError: if a result could not be saved; earlier ones are intact.
            BatchError: if the journal or the files of results cannot be read or written.
            ClosedError: if the service was closed.

        Cancellation: items in flight are put back, as if they had never been called.
        """
        stop = stop or anyio.Event()
        tally = BatchTally(self._clock, on_progress)
        await run_sync(_check_paths, input_path, self._output_folder)
        async with self._ledger.writing() as journal:
            recorded = (await self._ledger.summary()).fingerprints
            if recorded is None:
                await run_sync(check_unclaimed, self._output_folder)
                found = await enrol_input(
                    journal, input_path, self._configuration, self._config, stop=stop, tally=tally
                )
            else:
                found = await compare_fingerprints(recorded, input_path, self._configuration, self._config, stop=stop)
            if found is None:
                return tally.report(BatchStatus.STOPPED, await self._ledger.summary())
            run = await self._next_run(journal, retry_failed=retry_failed)
            if run is not None:
                tally.begin(await self._ledger.summary())
                work = BatchWork(
                    self._submit,
                    run,
                    input_path=input_path,
                    input_sha256=found.input_sha256,
                    clock=self._clock,
                    config=self._config,
                )
                await work.finish(stop, tally)
            summary = await self._ledger.summary()
            if summary.pending:
                return tally.report(BatchStatus.STOPPED, summary)
            tally.begin_export()
            await export(self._ledger, self._writer, self._output_folder)
            was_complete = run is None and recorded is not None
            return tally.report(BatchStatus.ALREADY_COMPLETE if was_complete else BatchStatus.COMPLETE, summary)

    async def _next_run(self, journal: BatchJournal, *, retry_failed: bool) -> BatchRun | None:
        summary = await self._ledger.summary()
        if summary.pending:
            return await journal.resume()
        if retry_failed and summary.failed:
            return await journal.retry_failed()
        return None

    async def rollback(self) -> RolledBack | None:
        """Undo the newest run and write the files of results again; None when there is nothing to undo.

        Raises:
            JournalLockedError: if a process runs this batch.
            JournalSchemaError: if a newer version began it.
            JournalWriteError: if the journal cannot be written; nothing was undone.
            BatchError: if the journal cannot be read, or the files of results cannot be written; run again then.
        """
        if (await self._ledger.summary()).run is None:
            return None  # without making a journal where there is none
        async with self._ledger.writing() as journal:
            undone = await journal.rollback()
            await export(self._ledger, self._writer, self._output_folder)
            return undone


def _check_paths(input_path: Path, output_folder: Path) -> None:
    open_input(input_path).close()
    check_output(input_path, output_folder)


_: type[Batch] = BatchRunner
