"""The queue at the door.

Responsibility: let in as much work as there are slots, hold back the rest in order of urgency, and turn away at once
    what would not get in anyway.
Guarantees: what waits is bounded in number and in bytes; every caller gets a permit or an error; a slot that comes back
    goes straight to the next in line; a cancellation leaves no slot taken and nobody in line.
Not responsible for: ending a wait at the deadline: the door's cancel scope does that. How many slots there are: see
    `holdfast.domain.concurrency_limit`. Why it decides as it does: see `holdfast.domain.admission_core`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio

from holdfast.domain.adaptive_limit import AdaptiveLimit, LoadSignal, load_signal
from holdfast.domain.admission_core import AdmissionCore
from holdfast.domain.admission_line import AdmissionLine
from holdfast.domain.concurrency_limit import ConcurrencyLimit, Permit
from holdfast.domain.urgency import Urgency
from holdfast.domain.validation import require_at_least, require_positive
from holdfast.ports.clock import Clock
from holdfast.ports.statistics import AdmissionStatistics

__all__ = ["AdmissionConfig", "AdmissionQueue"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionConfig:
    """What may wait, and how fast it gains on more urgent work.

    Args:
        max_waiting: entries that may wait; default 1000, unmeasured.
        max_bytes: bytes of the entries that wait, together; default 64 MiB, unmeasured.
        ageing_s: seconds of waiting that are worth one level of priority: bulk work, four levels below critical, goes
            before critical work that comes more than four times as long after it; default 5 s, unmeasured.

    Raises:
        ConfigurationError: if a bound is below 1, or `ageing_s` is not above 0.
    """

    max_waiting: int = 1000
    max_bytes: int = 64 * 1024 * 1024
    ageing_s: float = 5.0

    def __post_init__(self) -> None:
        require_at_least("admission.max_waiting", self.max_waiting, 1)
        require_at_least("admission.max_bytes", self.max_bytes, 1)
        require_positive("admission.ageing_s", self.ageing_s)


class AdmissionQueue:
    """Admits work in order of urgency. For one event loop.

    Args:
        config: its bounds and its ageing.
        limit: the slots. The queue owns them: nobody else may take or release its permits.
        clock: monotonic time.
        adaptive: moves the limit, beginning with its own initial one; None leaves it as it is.

    Example:
        >>> import anyio
        >>> from holdfast.domain.deadline import Deadline
        >>> from holdfast.ports.service import Priority
        >>> from holdfast.testing import VirtualClock
        >>> async def main() -> None:
        ...     clock = VirtualClock()
        ...     queue = AdmissionQueue(limit=ConcurrencyLimit(1), clock=clock)
        ...     urgency = Urgency(Priority.NORMAL, Deadline.after(5.0, clock))
        ...     permit = await queue.acquire(size_bytes=100, urgency=urgency)
        ...     try:
        ...         print(queue.statistics().limit.in_flight)
        ...     finally:
        ...         queue.release(permit)
        >>> anyio.run(main)
        1
    """

    __slots__ = ("_clock", "_core")

    def __init__(
        self,
        config: AdmissionConfig = AdmissionConfig(),
        *,
        limit: ConcurrencyLimit,
        clock: Clock,
        adaptive: AdaptiveLimit | None = None,
    ) -> None:
        line = AdmissionLine(max_waiting=config.max_waiting, max_bytes=config.max_bytes, ageing_s=config.ageing_s)
        self._core = AdmissionCore(line, limit, adaptive)
        self._clock = clock

    async def acquire(self, *, size_bytes: int, urgency: Urgency) -> Permit:
        """Return a permit, to be given to `release` when the work has ended, however it ended.

        A free slot is granted at once, without yielding to other tasks. Otherwise the work waits in order of priority,
        in which it rises by one level for each `ageing_s` that it has waited, and also when `urgency` rises.

        Args:
            size_bytes: what the work takes in memory while it waits.
            urgency: its priority and deadline; of this work alone, as only one place in line can follow it.

        Raises:
            ClosedError: the queue is closed.
            DeadlineExceededError: the deadline had passed on arrival, or when its turn came.
            BackpressureError: it would not get in before its deadline; or there is no room, and nobody less urgent to
                make room; or it had to make room for more urgent work.

        Cancellation: gives up the place in line; a slot that was granted at the same moment goes to the next. Counts as
            expired if the deadline has passed, otherwise as cancelled.
        """
        admitted = self._core.offer(size_bytes=size_bytes, urgency=urgency, now_s=self._clock.monotonic_s())
        if isinstance(admitted, Permit):
            return admitted
        ended = anyio.Event()
        admitted.wake = ended.set
        try:
            await ended.wait()
        except BaseException:
            self._core.withdraw(admitted, now_s=self._clock.monotonic_s())
            raise
        if isinstance(admitted.outcome, Permit):
            return admitted.outcome
        try:
            raise admitted.outcome
        finally:
            del admitted  # or the entry, its error, the traceback and this frame would keep one another alive

    def release(self, permit: Permit, signal: LoadSignal = LoadSignal.NEUTRAL) -> None:
        """Give `permit` back and hand its slot to the next in line; releasing it again changes nothing.

        Args:
            permit: from `acquire`.
            signal: what the end of the work says about load. An adaptive limit learns from nothing else.
        """
        self._core.release(permit, now_s=self._clock.monotonic_s(), signal=signal)

    async def call(self, work: Callable[[], Awaitable[T]], *, size_bytes: int, urgency: Urgency) -> T:
        """Call `work` once it is admitted, and return what it returns. How it ends is what an adaptive limit learns.

        Raises:
            ClosedError, DeadlineExceededError, BackpressureError: as `acquire`; `work` was not called.
            Exception: whatever `work` raises, the same object.

        Cancellation: as `acquire`; or ends `work`, and the slot has gone to the next before the cancellation goes on.
        """
        permit = await self.acquire(size_bytes=size_bytes, urgency=urgency)
        signal = LoadSignal.NEUTRAL
        try:
            result = await work()
            signal = LoadSignal.COMPLETED
        except BaseException as error:
            signal = load_signal(error, urgency.deadline)
            raise
        else:
            return result
        finally:
            self.release(permit, signal)

    def close(self) -> None:
        """Refuse new work; what is in line keeps its place and is still admitted in its turn."""
        self._core.close()

    def statistics(self) -> AdmissionStatistics:
        """Return who waits, and how everybody else ended."""
        return self._core.statistics()
