"""Sharing one call among processes.

Responsibility: of all processes that are asked the same, let one call, and tell the others what came of it.
Guarantees: while the store is there, a key is called for by one process at a time, and those who wait get its answer or
    its failure; a failure is told to those who wait and to nobody else; when the one who calls has ended or given up,
    one other takes over, and what the former still writes changes nothing, though its own callers get their answer;
    what the store does never fails a call: whoever cannot ask it, cannot read what it says, or is not to be told, calls
    for himself; after any cancellation every count is back, and the key is given up.
Not responsible for: callers of one process: see `holdfast.domain.deduplicator`, whose flights these calls are; how the
    store is followed: see `holdfast.domain.store_link`; whether it may be believed: see `holdfast.domain.answer_codec`.

Those who wait ask again and again, at growing pauses, because each answer tells them one of four things that are to be
known at the same moment: the outcome, that somebody is still at it, that it is their turn, or that the store is away.
Why not be called: adr/0034.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Final, Self, assert_never

import anyio
from anyio.abc import TaskGroup

from holdfast.domain.answer_codec import (
    LEAST_MAX_BYTES,
    Unshared,
    read_outcome,
    write_answer,
    write_failed,
    write_unshared,
)
from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.held_claim import EXTENSIONS_PER_LEASE, HeldClaim
from holdfast.domain.shared_answer_tally import SharedAnswerTally, Source
from holdfast.domain.store_link import AWAY, Away, StoreLink
from holdfast.domain.validation import require_at_least, require_not_below, require_positive
from holdfast.ports.answer_store import AnswerClaim, AnswerStore, Busy, Told, Won
from holdfast.ports.clock import Clock
from holdfast.ports.errors import HoldfastError
from holdfast.ports.events import ClaimTakenOver, EventSink, SharedAnswerTaken, SharedAnswerUnreadable
from holdfast.ports.service import Disposition, Reply
from holdfast.ports.statistics import SharedAnswerStatistics

__all__ = ["SharedAnswers", "SharedAnswersConfig"]

_GROWTH: Final = 1.5
_LEAST_PAUSE_S: Final = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedAnswersConfig:
    """How answers are shared among processes.

    Args:
        claim_timeout_s: seconds that one question to the store may take before the process calls for itself; at most
            ``lease_s / 3``. Default 0.25; unmeasured.
        lease_s: seconds after which a process that has died, or hangs, is taken over from. It extends its lease three
            times in that time. Default 5, which is longer than a process on a busy machine is stopped for; unmeasured.
        poll_s: seconds after which those who wait ask for the first time whether it is over, half of that more or less;
            each pause is half as long again as the last one. Default 0.05, which no caller of a model notices.
        max_poll_s: the longest pause; from ``poll_s`` to ``lease_s``. Default 0.25, at which a hundred processes that
            wait for one answer ask Redis some 450 times a second (adr/0034).
        max_answer_bytes: the largest answer that is shared, as it is written; for a larger one each process calls for
            itself. From 16 KiB, which every failure fits into; default 1 MiB, unmeasured.

    Raises:
        ConfigurationError: if a value is out of its range, or two contradict each other.
    """

    claim_timeout_s: float = 0.25
    lease_s: float = 5.0
    poll_s: float = 0.05
    max_poll_s: float = 0.25
    max_answer_bytes: int = 1024 * 1024

    def __post_init__(self) -> None:
        require_positive("shared.answers.claim_timeout_s", self.claim_timeout_s)
        require_positive("shared.answers.poll_s", self.poll_s)
        require_not_below("shared.answers.max_poll_s", self.max_poll_s, "shared.answers.poll_s", self.poll_s)
        require_not_below("shared.answers.lease_s", self.lease_s, "shared.answers.max_poll_s", self.max_poll_s)
        require_not_below(
            "shared.answers.lease_s",
            self.lease_s,
            f"{EXTENSIONS_PER_LEASE} times shared.answers.claim_timeout_s",
            EXTENSIONS_PER_LEASE * self.claim_timeout_s,
        )
        require_at_least("shared.answers.max_answer_bytes", self.max_answer_bytes, LEAST_MAX_BYTES)


class SharedAnswers:
    """Makes calls that no other process makes at the same time. Open it with ``async with``, outside of what calls.

    Leaving the ``async with`` gives up what is still claimed, for which the store has ``claim_timeout_s``.

    Args:
        store: where the processes meet.
        link: whether it can be asked.
        config: how often it is asked, and how long one waits for it.
        window_s: seconds for which an answer is told to those who ask later.
        instance: begins the name of every claimant; no two processes have the same one.
        clock: monotonic time.
        random: returns a number in [0, 1).
        events: told of what came from others, and of claims that changed hands.
    """

    _tasks: TaskGroup

    def __init__(  # noqa: PLR0913 - one for each part
        self,
        store: AnswerStore,
        link: StoreLink,
        config: SharedAnswersConfig = SharedAnswersConfig(),
        *,
        window_s: float,
        instance: str,
        clock: Clock,
        random: Callable[[], float],
        events: EventSink | None = None,
    ) -> None:
        self._store = store
        self._link = link
        self._config = config
        self._window_s = window_s
        self._instance = instance
        self._clock = clock
        self._random = random
        self._events = events
        self._numbers = itertools.count(1)
        self._tally = SharedAnswerTally()
        self._held: dict[bytes, HeldClaim] = {}

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel()
        # Without the error of the body, which a task group would wrap in an ExceptionGroup; it goes on by itself.
        await self._tasks.__aexit__(None, None, None)

    async def run(self, key: DeduplicationKey, work: Callable[[], Awaitable[Reply]]) -> Reply:
        """Return the answer for `key`: what another process got, or what `work` gets.

        Where it came from is its disposition: JOINED if it was waited for, CACHED if it was there; as `work` says if
        that was called. Whoever calls has his answer at once; the others are told meanwhile.

        Args:
            key: what the answer answers.
            work: makes the call.

        Raises:
            Exception: whatever `work` raises, or what another process's call failed with.

        Cancellation: cancels the call, and gives the key up for the next one who waits.
        """
        claim = AnswerClaim(
            key=key.digest, claimant=f"{self._instance}-{next(self._numbers)}", lease_s=self._config.lease_s
        )
        self._tally.asked += 1
        try:
            if (former := self._held.get(key.digest)) is not None:
                await former.wait_told()  # or this process would wait for itself, and hear of a failure again
            heard = await self._seek(key, claim)
        except BaseException:
            self._tally.answer(Source.LEFT)
            # The store may have heard the claim, and nobody the answer.
            self._tasks.start_soon(self._give_up, claim)
            raise
        match heard:
            case Reply():
                self._take(key, heard)
                return heard
            case HoldfastError():
                self._tally.answer(Source.FAILED)
                try:
                    raise heard
                finally:
                    del heard  # or this frame and its traceback would keep each other alive
            case Won():
                self._tally.answer(Source.LED)
                return await self._lead(key, claim, heard.token, work)
            case Away() | Unshared():
                self._tally.answer(Source.ALONE)
                return await work()
            case _:
                assert_never(heard)

    def statistics(self) -> SharedAnswerStatistics:
        """Return how calls were answered, and what became of the claims."""
        return self._tally.statistics()

    async def _seek(self, key: DeduplicationKey, claim: AnswerClaim) -> Reply | HoldfastError | Unshared | Won | Away:
        """Return what came of the key, the claim of it, or `AWAY` if neither can be known."""
        began_s, pause_s = self._clock.monotonic_s(), self._config.poll_s
        while True:
            heard = await self._link.ask(partial(self._store.claim, claim), timeout_s=self._config.claim_timeout_s)
            match heard:
                case Away():
                    return heard
                case Won():
                    if claim.awaited is not None:
                        self._take_over(key, waited_s=self._clock.monotonic_s() - began_s)
                    return heard
                case Busy():
                    if claim.awaited is None:
                        claim = replace(claim, awaited=heard.token)
                    spread_s = pause_s * (0.5 + self._random())
                    await self._clock.sleep(max(_LEAST_PAUSE_S, min(spread_s, heard.left_s)))
                    pause_s = min(pause_s * _GROWTH, self._config.max_poll_s)
                case Told():
                    read = self._read(key, heard, claim)
                    if read is not None:
                        return read
                    if claim.unusable is not None:  # what stands in its place cannot be read either
                        return AWAY
                    claim = replace(claim, unusable=heard.token)
                case _:
                    assert_never(heard)

    def _read(self, key: DeduplicationKey, told: Told, claim: AnswerClaim) -> Reply | HoldfastError | Unshared | None:
        """Return what was told; None if that cannot be read."""
        has_waited = claim.awaited is not None and told.token >= claim.awaited
        disposition = Disposition.JOINED if has_waited else Disposition.CACHED
        try:
            return read_outcome(key, told.outcome, max_bytes=self._config.max_answer_bytes, disposition=disposition)
        except ValueError:
            self._tally.unreadable += 1
            if self._events is not None:
                self._events.emit(SharedAnswerUnreadable(key=key.digest.hex()))
            return None

    def _take(self, key: DeduplicationKey, reply: Reply) -> None:
        self._tally.answer(Source.JOINED if reply.disposition is Disposition.JOINED else Source.FOUND)
        if self._events is not None:
            self._events.emit(SharedAnswerTaken(key=key.digest.hex(), disposition=reply.disposition))

    def _take_over(self, key: DeduplicationKey, *, waited_s: float) -> None:
        self._tally.taken_over += 1
        if self._events is not None:
            self._events.emit(ClaimTakenOver(key=key.digest.hex(), waited_s=waited_s))

    async def _lead(
        self, key: DeduplicationKey, claim: AnswerClaim, token: int, work: Callable[[], Awaitable[Reply]]
    ) -> Reply:
        held = HeldClaim(
            claim,
            token,
            store=self._store,
            link=self._link,
            timeout_s=self._config.claim_timeout_s,
            tally=self._tally,
            events=self._events,
        )
        outcome, keep_s = None, 0.0
        self._held[key.digest] = held
        self._tasks.start_soon(self._hold, key, held)
        try:
            reply = await work()
            outcome, keep_s = self._written(key, reply)
        except Exception as error:
            outcome = write_failed(key, error)
            raise
        finally:
            held.end(outcome, keep_s=keep_s)
        return reply

    async def _hold(self, key: DeduplicationKey, held: HeldClaim) -> None:
        try:
            await held.hold()
        finally:
            if self._held.get(key.digest) is held:
                del self._held[key.digest]

    def _written(self, key: DeduplicationKey, reply: Reply) -> tuple[bytes, float]:
        """Return what is told of `reply`, and for how long everybody is told it."""
        try:
            outcome = write_answer(key, reply)
        except ValueError:
            outcome = None
        if outcome is None or len(outcome) > self._config.max_answer_bytes:
            self._tally.unshared += 1
            return write_unshared(key), 0.0
        return outcome, self._window_s

    async def _give_up(self, claim: AnswerClaim) -> None:
        with anyio.CancelScope(shield=True):
            await self._link.ask(
                partial(self._store.release, claim.key, claimant=claim.claimant),
                timeout_s=self._config.claim_timeout_s,
            )
