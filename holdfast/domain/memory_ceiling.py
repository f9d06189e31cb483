"""One bound on the bytes of the whole process.

Responsibility: account for what requests hold from the door to the reply, and for what others keep, and refuse what
    does not fit under one ceiling.
Guarantees: a hold is granted only if everything together fits; it settles once, synchronously; kept answers give way
    before a request is refused, but only if that helps; a refusal says when to come back, unless nothing would help.
Not responsible for: what the operating system counts: this is an account of known sizes, not the resident set. A keeper
    that grows by itself, as the deduplication window does when an answer is stored: it has a bound of its own, and is
    brought back when the next request asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NoReturn, Self

from holdfast.domain.retry_after import UNMEASURED_RETRY_AFTER_S, SmoothedTime
from holdfast.domain.validation import require, require_at_least
from holdfast.ports.clock import Clock
from holdfast.ports.errors import MemoryCeilingError
from holdfast.ports.events import EventSink, MemoryFreed, MemoryRefused
from holdfast.ports.statistics import MemoryStatistics

__all__ = ["Hold", "MemoryCeiling", "charge_bytes"]

_OVERHEAD_BYTES: Final = 24 * 1024
"""What a request takes beyond its texts while it is inside: tasks, scopes, frames. 22 KB measured, in adr/0018."""

_COPIES: Final = 2
"""How often its texts are in memory: as they came, and as a driver encodes them to send them; unmeasured."""


def charge_bytes(size_bytes: int) -> int:
    """Return what a request is charged whose texts take so many bytes.

    Example:
        >>> charge_bytes(1_000_000)
        2024576
    """
    return _OVERHEAD_BYTES + _COPIES * size_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holder:
    size_bytes: Callable[[], int]
    free: Callable[[int], int] | None


class Hold:
    """Bytes that one request holds, until `release`. Made by `MemoryCeiling.hold`; use it with ``with``."""

    __slots__ = ("_ceiling", "since_s", "size_bytes")

    def __init__(self, ceiling: MemoryCeiling, *, size_bytes: int, since_s: float) -> None:
        self._ceiling: MemoryCeiling | None = ceiling
        self.size_bytes = size_bytes
        self.since_s = since_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def grow(self, size_bytes: int) -> None:
        """Hold so many bytes more.

        Raises:
            MemoryCeilingError: they do not fit; what was held before still is.
        """
        if self._ceiling is not None:
            self._ceiling.make_room(size_bytes, own_bytes=self.size_bytes)
            self._ceiling.held_bytes += size_bytes
            self.size_bytes += size_bytes

    def release(self) -> None:
        """Give the bytes back; a second time changes nothing."""
        ceiling, self._ceiling = self._ceiling, None
        if ceiling is not None:
            ceiling.settle(self)


class MemoryCeiling:
    """Bounds the bytes that requests and keepers take, all together. For one event loop.

    Args:
        max_bytes: the ceiling, at least 1.
        clock: monotonic time.
        events: is told of what was freed, and of refusals.

    Raises:
        ConfigurationError: if `max_bytes` is below 1.

    Attributes:
        held_bytes: what requests hold.

    Example:
        >>> from holdfast.testing import ManualClock
        >>> ceiling = MemoryCeiling(1000, clock=ManualClock())
        >>> with ceiling.hold(600):
        ...     ceiling.statistics().used_bytes
        600
        >>> ceiling.statistics().used_bytes
        0
    """

    __slots__ = (
        "_clock",
        "_durations",
        "_events",
        "_freed_bytes",
        "_granted",
        "_holders",
        "_max_bytes",
        "_refused",
        "_released",
        "held_bytes",
    )

    def __init__(self, max_bytes: int, *, clock: Clock, events: EventSink | None = None) -> None:
        require_at_least("max_memory_bytes", max_bytes, 1)
        self.held_bytes = 0
        self._max_bytes = max_bytes
        self._clock = clock
        self._events = events
        self._holders: dict[str, _Holder] = {}
        self._durations = SmoothedTime()
        self._granted = 0
        self._released = 0
        self._refused = 0
        self._freed_bytes = 0

    def add_holder(self, name: str, size_bytes: Callable[[], int], *, free: Callable[[int], int] | None = None) -> None:
        """Count what somebody else keeps.

        Args:
            name: who that is.
            size_bytes: says how much it is now; asked for every hold, so O(1).
            free: drops at least so many bytes if it has them, and returns how many it dropped; None for what nobody may
                drop. Of several, the one that was added first gives way first.

        Raises:
            ConfigurationError: if `name` was added before.
        """
        require(name not in self._holders, f"{name!r} holds already; choose another name", path="holder")
        self._holders[name] = _Holder(size_bytes=size_bytes, free=free)

    def hold(self, size_bytes: int) -> Hold:
        """Return a hold on so many bytes, to be released however the request ends.

        Raises:
            MemoryCeilingError: they do not fit, and would not if everything kept were dropped.

        Complexity: O(holders), and what dropping takes.
        """
        self.make_room(size_bytes)
        self._granted += 1
        self.held_bytes += size_bytes
        return Hold(self, size_bytes=size_bytes, since_s=self._clock.monotonic_s())

    def make_room(self, size_bytes: int, *, own_bytes: int = 0) -> None:
        """Drop what is kept until so many bytes fit. For `Hold`.

        Args:
            size_bytes: how many more.
            own_bytes: what they are needed beside.

        Raises:
            MemoryCeilingError: as `hold`; nothing was dropped.
        """
        used_bytes = self._used_bytes()
        missing_bytes = used_bytes + size_bytes - self._max_bytes
        if missing_bytes <= 0:
            return
        if missing_bytes <= sum(holder.size_bytes() for holder in self._holders.values() if holder.free is not None):
            missing_bytes -= self._free(missing_bytes)
        if missing_bytes > 0:
            can_fit = own_bytes + size_bytes <= self._max_bytes
            self._refuse(size_bytes, used_bytes, self._retry_after_s(missing_bytes) if can_fit else None)

    def settle(self, hold: Hold) -> None:
        """Take the bytes of `hold` back. For `Hold`, once."""
        self.held_bytes -= hold.size_bytes
        self._released += 1
        self._durations.record(self._clock.monotonic_s() - hold.since_s)

    def statistics(self) -> MemoryStatistics:
        """Return who holds how much, and how often it was too much."""
        return MemoryStatistics(
            max_bytes=self._max_bytes,
            used_bytes=self._used_bytes(),
            held_bytes=self.held_bytes,
            kept_bytes={name: holder.size_bytes() for name, holder in self._holders.items()},
            holding=self._granted - self._released,
            granted=self._granted,
            released=self._released,
            refused=self._refused,
            freed_bytes=self._freed_bytes,
        )

    def _used_bytes(self) -> int:
        used_bytes = self.held_bytes
        for holder in self._holders.values():
            used_bytes += holder.size_bytes()
        return used_bytes

    def _free(self, missing_bytes: int) -> int:
        freed_bytes = 0
        for name, holder in self._holders.items():
            if holder.free is not None and freed_bytes < missing_bytes:
                freed_of_it = holder.free(missing_bytes - freed_bytes)
                freed_bytes += freed_of_it
                self._freed_bytes += freed_of_it
                if self._events is not None and freed_of_it > 0:
                    self._events.emit(MemoryFreed(holder=name, freed_bytes=freed_of_it))
        return freed_bytes

    def _refuse(self, size_bytes: int, used_bytes: int, retry_after_s: float | None) -> NoReturn:
        self._refused += 1
        if self._events is not None:
            self._events.emit(MemoryRefused(needed_bytes=size_bytes, used_bytes=used_bytes, max_bytes=self._max_bytes))
        raise MemoryCeilingError(
            needed_bytes=size_bytes,
            used_bytes=used_bytes,
            max_bytes=self._max_bytes,
            retry_after_s=retry_after_s,
        )

    def _retry_after_s(self, missing_bytes: int) -> float:
        """Return how long it takes until so much is given back, if what is held comes back evenly."""
        duration_s = self._durations.average_s
        if not duration_s or not self.held_bytes:
            return UNMEASURED_RETRY_AFTER_S
        return duration_s * min(1.0, missing_bytes / self.held_bytes)
