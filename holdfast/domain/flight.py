"""One call that is under way, and those who wait for it.

Responsibility: how the call ended, and waking everyone who waits for that.
Guarantees: a flight ends once; whoever waits is woken by its end, however it comes; a failure reaches each waiter as an
    exception of its own.
Not responsible for: which flight belongs to which key, and what follows when a waiter leaves:
    see `holdfast.domain.flight_table`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio
import anyio.lowlevel

from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.failure_copy import copy_failure
from holdfast.domain.stream_log import StreamLog
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import SharedFailureError
from holdfast.ports.service import Disposition

__all__ = ["Flight", "InProgress", "New", "Waiter"]

T = TypeVar("T")


class Flight(Generic[T]):
    """A call that is under way; the token of whoever makes it, who hands it back and leaves it alone.

    Args:
        key: what it answers.

    Attributes:
        waiters: who needs its end: those who joined, and the one that began it.
        urgency: how urgent it is, when it runs in a task of the engine; rises as callers join.
        task: that task.
        log: where its answer can be read while it comes, if it does; ends with the flight.
    """

    __slots__ = ("_ending", "_failure", "_has_ended", "_value", "key", "log", "task", "urgency", "waiters")

    _value: T

    def __init__(self, key: DeduplicationKey) -> None:
        self.key = key
        self.waiters = 1
        self.urgency: Urgency | None = None
        self.task: anyio.TaskHandle[None] | None = None
        self.log: StreamLog | None = None
        self._failure: BaseException | None = None
        self._has_ended = False
        self._ending: anyio.Event | None = None

    def succeed(self, value: T) -> None:
        """End with an answer."""
        self._value = value
        self._end()

    def fail(self, error: BaseException) -> None:
        """End with a failure."""
        self._failure = error
        self._end()

    def has_ended(self) -> bool:
        """Return whether it has ended, one way or the other."""
        return self._has_ended

    async def wait_ended(self) -> None:
        """Wait until it has ended, and yield at least once."""
        if self._has_ended:
            await anyio.lowlevel.checkpoint()
            return
        if self._ending is None:
            self._ending = anyio.Event()
        await self._ending.wait()

    def result(self) -> T:
        """Return the answer of a flight that has ended.

        Raises:
            Exception: a copy of what it failed with, made for this caller alone, with the original as its cause.
            SharedFailureError: it failed with something that cannot be copied, or that is not an `Exception` and
                would end more than this call; also with the original as its cause.
        """
        if self._failure is None:
            return self._value
        if isinstance(self._failure, Exception):
            raise copy_failure(self._failure)
        raise SharedFailureError(self._failure) from self._failure

    def _end(self) -> None:
        self._has_ended = True
        if self._ending is not None:
            self._ending.set()
        log, self.log = self.log, None  # those who still read it have it
        if log is not None:
            log.end()


class Waiter(Generic[T]):
    """One caller's place in a flight. It keeps the flight going, so `wait` at once, or `leave` in the end.

    Args:
        flight: which one.
        leave: called once, when this caller leaves it.
        disposition: whether the caller began it or joined it.
    """

    __slots__ = ("_flight", "_leave", "_present", "disposition")

    def __init__(
        self,
        flight: Flight[T],
        leave: Callable[[Flight[T]], None],
        *,
        disposition: Disposition = Disposition.JOINED,
    ) -> None:
        self._flight = flight
        self._leave = leave
        self._present = True
        self.disposition = disposition

    @property
    def log(self) -> StreamLog | None:
        """Where the flight's answer can be read while it comes, if it does."""
        return self._flight.log

    def raise_to(self, urgency: Urgency) -> None:
        """Move the flight up if this caller is more urgent or has a later deadline than those before."""
        if self._flight.urgency is not None:
            self._flight.urgency.rise_to(urgency)

    async def wait(self) -> T:
        """Return the flight's answer.

        Raises:
            Exception: a copy of what the flight failed with, made for this caller alone.
            SharedFailureError: it failed with something that cannot be copied.
            ClosedError: the engine was closed before it ended.

        Cancellation: leaves the flight, which goes on for those who remain; with the last one it is cancelled. A waiter
            that has left may wait again, but no longer keeps the flight going.
        """
        if self._flight.log is not None:
            self._flight.log.hurry()
        try:
            await self._flight.wait_ended()
        finally:
            if self._flight.log is not None:
                self._flight.log.unhurry()
            self.leave()
        return self._flight.result()

    def leave(self) -> None:
        """Give up the place; a second time changes nothing. With its last waiter a flight under way is cancelled."""
        if self._present:
            self._present = False
            self._leave(self._flight)

    async def wait_ended(self) -> None:
        """Wait until the flight has ended, and keep the place whatever happens."""
        await self._flight.wait_ended()

    def result(self) -> T:
        """Return the answer of a flight that has ended.

        Raises:
            Exception: as `wait`.
        """
        return self._flight.result()


@dataclass(frozen=True, slots=True, kw_only=True)
class New(Generic[T]):
    """Nobody is at it: the caller makes the call.

    Args:
        token: what `complete` or `fail` wants back, from a ``finally``; until then others wait for it.
    """

    token: Flight[T]


@dataclass(frozen=True, slots=True, kw_only=True)
class InProgress(Generic[T]):
    """The same request is on its way.

    Args:
        waiter: this caller's place in it.
    """

    waiter: Waiter[T]
