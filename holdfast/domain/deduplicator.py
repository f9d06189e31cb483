"""Sharing one call among everyone who asks the same.

Responsibility: one call for any number of identical requests, made in a task of the engine's own, and its answer for
    those who ask within the window.
Guarantees: 1000 identical callers make one call; whoever waits gets the answer, the failure or `ClosedError`, and never
    waits for a call that is over; a call goes on as long as one of its callers waits, whoever began it; a failure is
    shared by those who wait, never kept, and starts no further call.
Not responsible for: which requests are the same: see `holdfast.domain.deduplication_key`; cancelling a caller at its
    deadline: the door does, and the last caller to go ends the call; a call that asks for its own key: it waits for
    itself.
Sources: Go's singleflight; why the call has a task of its own: ADR 0006.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

import anyio
from anyio.abc import TaskGroup

from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.flight import Flight, InProgress, New, Waiter
from holdfast.domain.flight_table import FlightTable
from holdfast.domain.result_window import Cached, ResultWindow
from holdfast.domain.stream_log import StreamLog
from holdfast.domain.urgency import Urgency
from holdfast.domain.validation import require_at_least
from holdfast.ports.clock import Clock
from holdfast.ports.errors import ClosedError
from holdfast.ports.events import EventSink
from holdfast.ports.service import Disposition
from holdfast.ports.statistics import DeduplicationStatistics

__all__ = ["DeduplicationConfig", "Deduplicator", "Shared"]

T = TypeVar("T")

_NAME = "the deduplicator"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeduplicationConfig:
    """How long answers are kept, and how many.

    Args:
        window_s: seconds for which an answer is given to those who ask the same; 0.0 shares only calls that are under
            way. Default 300.0; unmeasured.
        max_entries: answers kept at most, from 1; the oldest makes room. Default 10 000; unmeasured.
        max_bytes: bytes kept at most, from 1; an answer larger than that is not kept. Default 64 MiB; unmeasured.

    Raises:
        ConfigurationError: if a value is out of its range.
    """

    window_s: float = 300.0
    max_entries: int = 10_000
    max_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        require_at_least("deduplication.window_s", self.window_s, 0.0)
        require_at_least("deduplication.max_entries", self.max_entries, 1)
        require_at_least("deduplication.max_bytes", self.max_bytes, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared(Generic[T]):
    """An answer, and where it came from.

    Args:
        value: the answer, the same object for all who share it.
        disposition: whether this request was called for, joined another, or came late enough to find the answer.
    """

    value: T
    disposition: Disposition


class Deduplicator(Generic[T]):
    """Shares calls and their answers. Open it with ``async with``; it belongs to one event loop.

    Leaving the ``async with`` fails everyone who still waits (`ClosedError`), cancels the calls and awaits their end.

    Args:
        config: how long answers are kept, and how many.
        clock: monotonic time.
        size_of: bytes that one answer takes; asked once for each. What it raises fails the call.
        keeps: whether an answer is kept; every one is by default.
        events: told of each request that calls nothing, and of each call that nobody waits for any more.

    Example:
        >>> from holdfast.domain.deadline import Deadline
        >>> from holdfast.ports.service import Priority
        >>> from holdfast.testing import VirtualClock
        >>> async def call(urgency: Urgency) -> str:
        ...     return "because of Rayleigh scattering"
        >>> async def main() -> None:
        ...     clock = VirtualClock()
        ...     urgency = Urgency(Priority.NORMAL, Deadline.after(30.0, clock))
        ...     async with Deduplicator[str](clock=clock, size_of=len) as shared:
        ...         for _ in range(2):
        ...             answer = await shared.run(DeduplicationKey(digest=bytes(32)), call, urgency=urgency)
        ...             print(f"{answer.disposition}: {answer.value}")
        >>> anyio.run(main)
        called: because of Rayleigh scattering
        cached: because of Rayleigh scattering
    """

    _tasks: TaskGroup

    def __init__(
        self,
        config: DeduplicationConfig = DeduplicationConfig(),
        *,
        clock: Clock,
        size_of: Callable[[T], int],
        keeps: Callable[[T], bool] = lambda _: True,
        events: EventSink | None = None,
    ) -> None:
        self._clock = clock
        self._table = FlightTable(
            ResultWindow(
                window_s=config.window_s, max_entries=config.max_entries, max_bytes=config.max_bytes, size_of=size_of
            ),
            keeps=keeps,
            events=events,
        )
        self._was_opened = False
        self._is_open = False
        self._flying = 0
        self._landed: anyio.Event | None = None

    async def __aenter__(self) -> Self:
        if self._was_opened:
            raise ClosedError(_NAME)
        self._was_opened = True
        self._tasks = await anyio.create_task_group().__aenter__()
        self._is_open = True
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        self._table.fail_all(ClosedError(_NAME))
        self._tasks.cancel_scope.cancel()
        # Without the error of the body, which a task group would wrap in an ExceptionGroup; it goes on by itself.
        await self._tasks.__aexit__(None, None, None)

    def close(self) -> None:
        """Refuse new requests from now on; calls under way go on for those who wait for them."""
        self._is_open = False

    async def wait_landed(self) -> None:
        """Wait until no call runs any more, those included that were cancelled and have yet to end.

        Cancellation: stops waiting, and changes nothing.
        """
        while self._flying:
            if self._landed is None:
                self._landed = anyio.Event()
            await self._landed.wait()

    async def run(
        self, key: DeduplicationKey, work: Callable[[Urgency], Awaitable[T]], *, urgency: Urgency
    ) -> Shared[T]:
        """Return the answer for `key`: a kept one, that of a call under way, or that of `work`.

        `work` runs in a task of the engine, in a copy of the caller's context: it sees this caller's context variables
        (a trace, a logger), not those of callers who join. It is given the urgency of the whole flight, which rises
        with each caller who joins; its deadline is the latest of theirs, so hand that on, not this caller's own.

        A kept answer is returned without yielding to other tasks.

        Args:
            key: what the answer answers.
            work: makes the call, if nobody else has.
            urgency: how urgent this caller is; not changed.

        Raises:
            Exception: a copy of what the call failed with, made for this caller alone, with the original as its cause.
            SharedFailureError: the call failed with something that cannot be copied, or that is not an `Exception`.
            ClosedError: the engine is closed, or was closed before the call ended.

        Cancellation: leaves the flight, which goes on for those who remain. With the last one its key is freed, then
            the call is cancelled; what it still does while it ends is neither kept nor told to anyone.

        Complexity: O(1).
        """
        found = self.begin_or_join(key, work, urgency=urgency)
        if isinstance(found, Cached):
            return Shared(value=found.value, disposition=Disposition.CACHED)
        return Shared(value=await found.wait(), disposition=found.disposition)

    def begin_or_join(
        self,
        key: DeduplicationKey,
        work: Callable[[Urgency], Awaitable[T]],
        *,
        urgency: Urgency,
        log: StreamLog | None = None,
    ) -> Cached[T] | Waiter[T]:
        """Return the kept answer, or a place in the call that brings it: one under way, or that of `work`, begun now.

        As `run`, for a caller who has something else to do until the answer is there. The place keeps the call going:
        leave it in every case.

        Args:
            key: what the answer answers.
            work: makes the call, if nobody else has.
            urgency: how urgent this caller is; not changed.
            log: where `work` writes its answer while it comes, for this caller and those who join; the call ends it.

        Raises:
            ClosedError: the engine is closed.

        Complexity: O(1), amortised.
        """
        found = self.check_and_register(key)
        if isinstance(found, Cached):
            return found
        if isinstance(found, InProgress):
            found.waiter.raise_to(urgency)
            return found.waiter
        flight = found.token
        flight.log = log
        waiter = Waiter(flight, self._table.leave, disposition=Disposition.CALLED)
        try:
            self._start(flight, work, urgency)
        except BaseException:
            waiter.leave()
            raise
        return waiter

    def check_and_register(self, key: DeduplicationKey) -> Cached[T] | New[T] | InProgress[T]:
        """Return the kept answer, a new flight, or a place in the one under way; for callers who run their own calls.

        Whoever gets `New` ends it with `complete` or `fail`, from a ``finally``: until then all others wait for it.

        Raises:
            ClosedError: the engine is not open.

        Complexity: O(1), amortised.
        """
        if not self._is_open:
            raise ClosedError(_NAME)
        return self._table.check_and_register(key, now_s=self._clock.monotonic_s())

    def complete(self, token: Flight[T], value: T) -> bool:
        """End a flight with an answer and keep it; return False, and change nothing, if it had ended before.

        Raises:
            Exception: whatever `size_of` raises; the flight goes on then, and is to be failed.
        """
        return self._table.complete(token, value, now_s=self._clock.monotonic_s())

    def fail(self, token: Flight[T], error: Exception) -> bool:
        """End a flight with a failure, for all who wait; return False, and change nothing, if it had ended before."""
        return self._table.fail(token, error)

    @property
    def kept_bytes(self) -> int:
        """What the kept answers take, in bytes."""
        return self._table.kept_bytes

    def free(self, size_bytes: int) -> int:
        """Drop the oldest kept answers until so many bytes are free, or none is left; return how many are.

        Complexity: O(answers dropped).
        """
        return self._table.free(size_bytes, now_s=self._clock.monotonic_s())

    def statistics(self) -> DeduplicationStatistics:
        """Return what was counted so far; answers that expired unnoticed still count as entries."""
        return self._table.statistics()

    def _start(self, flight: Flight[T], work: Callable[[Urgency], Awaitable[T]], urgency: Urgency) -> None:
        flight.urgency = urgency.copy()
        flight.task = self._tasks.create_task(self._fly(flight, work, flight.urgency))

    async def _fly(self, flight: Flight[T], work: Callable[[Urgency], Awaitable[T]], urgency: Urgency) -> None:
        self._flying += 1
        try:
            if not flight.has_ended():  # it may have been abandoned before it began
                self.complete(flight, await work(urgency))
        except Exception as error:  # noqa: BLE001 - the supervisor of the flight: those who wait for it raise a copy
            self._table.fail(flight, error)
        except BaseException as error:
            if not isinstance(error, anyio.get_cancelled_exc_class()):
                self._table.fail(flight, error)
                raise
            if anyio.current_effective_deadline() == -math.inf:
                self._table.fail(flight, ClosedError(_NAME))
                raise
            # Nothing around this task was cancelled: something inside of the call was, and asyncio let that out.
            # Raising it here would cancel every other flight; the task is over as it is.
            self._table.fail(flight, error)
        finally:
            self._flying -= 1
            if self._landed is not None and not self._flying:
                self._landed.set()
                self._landed = None
            # The traceback of the failure holds this frame, and the flight holds the failure.
            del flight
