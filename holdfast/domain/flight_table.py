"""The decisions of deduplication.

Responsibility: whether a request is answered already, on its way, or new; all of it synchronous.
Guarantees: at most one flight for each key; a flight ends once, and an old or foreign token changes nothing; the key is
    free before anyone hears how its flight ended, or before it is cancelled, so a newcomer never joins a flight that is
    over; `called = in_flight + completed + failed + abandoned` at every moment.
Not responsible for: running the calls: see `holdfast.domain.deduplicator`; how many flights there are at once: whatever
    admits them bounds that.
Source: Go's singleflight, https://pkg.go.dev/golang.org/x/sync/singleflight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.flight import Flight, InProgress, New, Waiter
from holdfast.domain.result_window import Cached, ResultWindow
from holdfast.ports.errors import ClosedError
from holdfast.ports.events import Deduplicated, EventSink, FlightAbandoned
from holdfast.ports.service import Disposition
from holdfast.ports.statistics import DeduplicationStatistics

__all__ = ["FlightTable"]

T = TypeVar("T")


class FlightTable(Generic[T]):
    """Every flight that can be joined, and every answer that is still good.

    Args:
        window: keeps the answers.
        keeps: whether it is given one of them.
        events: told of each request that calls nothing, and of each flight that nobody waits for any more.
    """

    __slots__ = (
        "_abandoned",
        "_cached",
        "_called",
        "_completed",
        "_events",
        "_failed",
        "_flights",
        "_joined",
        "_keeps",
        "_unkept",
        "_window",
    )

    def __init__(
        self,
        window: ResultWindow[T],
        *,
        keeps: Callable[[T], bool] = lambda _: True,
        events: EventSink | None = None,
    ) -> None:
        self._window = window
        self._keeps = keeps
        self._events = events
        self._flights: dict[bytes, Flight[T]] = {}  # by digest, as in the window
        self._called = 0
        self._joined = 0
        self._cached = 0
        self._completed = 0
        self._failed = 0
        self._abandoned = 0
        self._unkept = 0

    def check_and_register(self, key: DeduplicationKey, *, now_s: float) -> Cached[T] | New[T] | InProgress[T]:
        """Return the answer, a place in the flight that brings it, or a new flight that the caller must end."""
        flight = self._flights.get(key.digest)
        if flight is not None:
            flight.waiters += 1
            self._joined += 1
            if self._events is not None:
                self._events.emit(Deduplicated(key=key.digest.hex(), disposition=Disposition.JOINED))
            return InProgress(waiter=Waiter(flight, self.leave))
        cached = self._window.find(key, now_s=now_s)
        if cached is not None:
            self._cached += 1
            if self._events is not None:
                self._events.emit(Deduplicated(key=key.digest.hex(), disposition=Disposition.CACHED))
            return cached
        flight = self._flights[key.digest] = Flight(key)
        self._called += 1
        return New(token=flight)

    def complete(self, token: Flight[T], value: T, *, now_s: float) -> bool:
        """End a flight with an answer, which is kept; return False, and change nothing, if it had ended before.

        Raises:
            Exception: whatever the window's `size_of` raises; the flight goes on then.
        """
        if self._flights.get(token.key.digest) is not token:
            return False
        if self._keeps(value):
            self._window.store(token.key, value, now_s=now_s)
        else:
            self._unkept += 1
        del self._flights[token.key.digest]
        self._completed += 1
        token.succeed(value)
        return True

    def fail(self, token: Flight[T], error: BaseException) -> bool:
        """End a flight with a failure, which is not kept; return False, and change nothing, if it had ended before."""
        if self._flights.get(token.key.digest) is not token:
            return False
        del self._flights[token.key.digest]
        self._failed += 1
        token.fail(error)
        return True

    def fail_all(self, error: BaseException) -> None:
        """End every flight with the same failure."""
        for flight in tuple(self._flights.values()):
            self.fail(flight, error)

    def leave(self, token: Flight[T]) -> None:
        """Count one waiter less; with the last one the flight is over, and its task is cancelled.

        Nothing happens once the flight has ended.
        """
        if self._flights.get(token.key.digest) is not token:
            return
        token.waiters -= 1
        if token.waiters == 0:
            del self._flights[token.key.digest]
            self._abandoned += 1
            # Nobody waits now; but a waiter that left and waits again must not wait for ever.
            token.fail(ClosedError("the abandoned flight"))
            if token.task is not None:
                token.task.cancel()
            if self._events is not None:
                self._events.emit(FlightAbandoned(key=token.key.digest.hex()))

    @property
    def kept_bytes(self) -> int:
        """What the kept answers take, in bytes."""
        return self._window.size_bytes

    def free(self, size_bytes: int, *, now_s: float) -> int:
        """Drop the oldest kept answers until so many bytes are free, or none is left; return how many are."""
        return self._window.free(size_bytes, now_s=now_s)

    def statistics(self) -> DeduplicationStatistics:
        """Return what was counted so far; answers that expired unnoticed still count as entries."""
        return DeduplicationStatistics(
            requests=self._called + self._joined + self._cached,
            called=self._called,
            joined=self._joined,
            cached=self._cached,
            in_flight=len(self._flights),
            completed=self._completed,
            failed=self._failed,
            abandoned=self._abandoned,
            entries=len(self._window),
            size_bytes=self._window.size_bytes,
            expired=self._window.expired,
            evicted=self._window.evicted,
            oversized=self._window.oversized,
            unkept=self._unkept,
        )
