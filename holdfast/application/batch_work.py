"""Calling the items of one run.

Responsibility: take items in hand, call the service, record what came of it; stop, and put back what was not finished.
Guarantees: at most `BatchConfig.concurrency` items in flight. A result is saved even when a cancellation arrives before
    it could be. An item that was in hand when the process died is called after all others, and alone. An item that
    Holdfast itself refuses is submitted again when it has a chance, for `BatchConfig.max_refused_wait_s` in all.
Not responsible for: which run it is, and what comes before and after it: see `holdfast.application.batch`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
from anyio.to_thread import run_sync

from holdfast.application.batch_config import BatchConfig
from holdfast.application.batch_input import read_line
from holdfast.application.batch_line import LineRejectedError, parse_line
from holdfast.application.batch_outcome import failure_of, well_formed
from holdfast.application.batch_tally import BatchTally
from holdfast.ports.batch import StopSignal
from holdfast.ports.clock import Clock
from holdfast.ports.errors import BreakerOpenError, ClosedError, JournalWriteError, RefusedError
from holdfast.ports.journal import AnsweredItem, BatchItem, BatchRun, Claim, FailedItem, Failure, FailureKind
from holdfast.ports.service import Reply, Request

__all__ = ["BatchWork", "Submit"]

Submit = Callable[[Request], Awaitable[Reply]]
"""Answers a request, as `Service.submit` does: all of a service that a batch needs."""

# Both unmeasured: long beside what a refusal costs, short beside a call.
_SHORTEST_WAIT_S: Final = 0.1
_PROBE_WAIT_S: Final = 1.0


class BatchWork:
    """The calls of one run, from the first claim to the last result.

    Args:
        submit: answers the items.
        run: hands them out and keeps their results.
        input_path: where their lines stand.
        input_sha256: the fingerprint of that file.
        clock: measures and waits.
        config: how the batch is run.
    """

    def __init__(
        self,
        submit: Submit,
        run: BatchRun,
        *,
        input_path: Path,
        input_sha256: str,
        clock: Clock,
        config: BatchConfig,
    ) -> None:
        self._submit = submit
        self._run = run
        self._input_path = input_path
        self._input_sha256 = input_sha256
        self._clock = clock
        self._config = config
        self._error: Exception | None = None

    async def finish(self, stop: StopSignal, tally: BatchTally) -> None:
        """Work until nothing is left, or until it is stopped.

        Raises:
            BatchError: if the journal or the input fails, as documented on `BatchRunner.run`.
            ClosedError: if the service was closed.

        Cancellation: items in flight are put back.
        """
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as working:
                tasks.start_soon(self._cut_off, stop, working)
                await self._work_side_by_side(self._config.concurrency, stop, tally, suspects=False)
                await self._work_side_by_side(1, stop, tally, suspects=True)
            tasks.cancel_scope.cancel()
        if self._error is not None:
            raise self._error

    async def _cut_off(self, stop: StopSignal, working: anyio.CancelScope) -> None:
        await stop.wait()
        await self._clock.sleep(self._config.stop_grace_s)
        working.cancel()

    async def _work_side_by_side(self, workers: int, stop: StopSignal, tally: BatchTally, *, suspects: bool) -> None:
        async def worker() -> None:
            try:
                while self._error is None and not stop.is_set():
                    claim = await self._run.claim(suspects=suspects)
                    if claim is None:
                        return
                    await self._settle(claim, tally)
            except Exception as error:  # noqa: BLE001 - raised by `finish` when all have ended: alone, not in a group
                self._error = self._error or error
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for _ in range(workers):
                tasks.start_soon(worker)

    async def _settle(self, claim: Claim, tally: BatchTally) -> None:
        try:
            result = await self._result(claim)
            # The call was made and paid for: a cancellation must not cost its result. One save, so it is bounded.
            with anyio.CancelScope(shield=True):
                if isinstance(result, AnsweredItem):
                    await self._run.record_answer(result)
                else:
                    await self._run.record_failure(result)
        except BaseException:
            # If that fails too, the item only looks as if it had crashed once; the first error says more.
            with anyio.CancelScope(shield=True), suppress(JournalWriteError):
                await self._run.release(claim)
            raise
        if isinstance(result, AnsweredItem):
            tally.count_answer(result.reply)
        else:
            tally.count_failure()

    async def _result(self, claim: Claim) -> AnsweredItem | FailedItem:
        item = claim.item
        if claim.crashes >= self._config.max_crashes:
            reason = f"the process died {claim.crashes} times while this item was in hand; mend it and retry it"
            crashed = Failure(kind=FailureKind.CRASHED, reason=reason)
            return FailedItem(line=item.line, id=item.id, failure=crashed, elapsed_s=0.0)
        try:
            request = await self._request(item)
        except LineRejectedError as error:  # it was enrolled by a version that took less offence
            return FailedItem(line=item.line, id=item.id, failure=error.failure, elapsed_s=0.0)
        started_s = self._clock.monotonic_s()
        try:
            reply = await self._reply(request)
        except ClosedError:
            raise
        except Exception as error:  # noqa: BLE001 - recorded as this item's failure, whatever it is; the others run on
            elapsed_s = self._clock.monotonic_s() - started_s
            return FailedItem(line=item.line, id=item.id, failure=failure_of(error), elapsed_s=elapsed_s)
        elapsed_s = self._clock.monotonic_s() - started_s
        return AnsweredItem(line=item.line, id=item.id, reply=well_formed(reply), elapsed_s=elapsed_s)

    async def _reply(self, request: Request) -> Reply:
        waited_s = 0.0
        while True:
            try:
                return await self._submit(request)
            except RefusedError as refused:
                delay_s = _delay_s(refused)
                if delay_s is None or waited_s + delay_s > self._config.max_refused_wait_s:
                    raise
            await self._clock.sleep(delay_s)
            waited_s += delay_s

    async def _request(self, item: BatchItem) -> Request:
        line = parse_line(await run_sync(read_line, self._input_path, item))
        # The same in every process and every run of this input.
        key = hashlib.sha256(f"{self._input_sha256}:{item.id}".encode()).hexdigest()
        return line.request(request_id=item.id, idempotency_key=key)


def _delay_s(refused: RefusedError) -> float | None:
    """Return the seconds after which to submit a refused item again, or None if that would not help."""
    if refused.retry_after_s is not None:
        return max(_SHORTEST_WAIT_S, refused.retry_after_s)
    # While a probe is under way a breaker cannot tell when it will take calls, and would refuse the rest of the batch.
    return _PROBE_WAIT_S if isinstance(refused, BreakerOpenError) else None
