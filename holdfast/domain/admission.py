"""The queue at the door.

Responsibility: let in as much work as there are slots, hold back the rest in order of urgency, and turn away at once
    what would not get in anyway.
Guarantees: what waits is bounded in number, in bytes and in estimated tokens; every caller gets a permit or an error;
    a slot that comes back goes straight to the next in line; tenants share the slots by their weights; a refusal says
    when to come back, unless nothing would help; a cancellation leaves no slot taken and nobody in line.
Not responsible for: ending a wait at the deadline: the door's cancel scope does that. How many slots there are: see
    `holdfast.domain.concurrency_limit`. Why it decides as it does: see `holdfast.domain.admission_core`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import anyio

from holdfast.domain.adaptive_limit import AdaptiveLimit, LoadSignal, load_signal
from holdfast.domain.admission_config import AdmissionConfig
from holdfast.domain.admission_core import AdmissionCore
from holdfast.domain.admission_flow import Entry
from holdfast.domain.concurrency_limit import ConcurrencyLimit, Permit
from holdfast.domain.urgency import Urgency
from holdfast.ports.clock import Clock
from holdfast.ports.events import EventSink
from holdfast.ports.statistics import AdmissionStatistics

__all__ = ["AdmissionConfig", "AdmissionQueue"]

T = TypeVar("T")


class AdmissionQueue:
    """Admits work in order of urgency, and in fair turns between tenants. For one event loop.

    Args:
        config: its bounds, its ageing, the tenants' weights, and when a line passes for overloaded.
        limit: the slots. The queue owns them: nobody else may take or release its permits.
        clock: monotonic time.
        adaptive: moves the limit, beginning with its own initial one; None leaves it as it is.
        events: is told of what is turned away, and of overload.

    Example:
        >>> import anyio
        >>> from holdfast.domain.deadline import Deadline
        >>> from holdfast.ports.service import Priority
        >>> from holdfast.testing import VirtualClock
        >>> async def main() -> None:
        ...     clock = VirtualClock()
        ...     queue = AdmissionQueue(limit=ConcurrencyLimit(1), clock=clock)
        ...     urgency = Urgency(Priority.NORMAL, Deadline.after(5.0, clock))
        ...     permit = await queue.acquire(tenant="a", size_bytes=100, tokens=50, urgency=urgency)
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
        config: AdmissionConfig = AdmissionConfig(),  # noqa: B008 - frozen
        *,
        limit: ConcurrencyLimit,
        clock: Clock,
        adaptive: AdaptiveLimit | None = None,
        events: EventSink | None = None,
    ) -> None:
        self._core = AdmissionCore(config, limit, adaptive, events)
        self._clock = clock

    async def acquire(self, *, urgency: Urgency, size_bytes: int, tokens: int = 1, tenant: str = "default") -> Permit:
        """Return a permit, to be given to `release` when the work has ended, however it ended.

        A free slot is granted at once, without yielding to other tasks. Otherwise the work waits in order of priority,
        in which it rises by one level for each `ageing_s` that it has waited, and also when `urgency` rises; and within
        its priority for its tenant's turn.

        Args:
            urgency: its priority and deadline; of this work alone, as only one place in line can follow it.
            size_bytes: what the work takes in memory while it waits.
            tokens: about what the work costs, which its tenant's turns are made of; any unit does that is the same for
                all. Less than 1 counts as 1.
            tenant: who shares the slots fairly with others.

        Raises:
            DeadlineExceededError: the deadline had passed on arrival, or when its turn came.
            BackpressureError: it would not get in before its deadline; or there is no room, and nobody who would be
                served after it to make room; or it had to make room; or it waited for too long in a line that is
                overloaded. ``retry_after_s`` is None only where it alone exceeds a bound.

        Cancellation: gives up the place in line; a slot that was granted at the same moment goes to the next. Counts as
            expired if the deadline has passed, otherwise as cancelled.
        """
        admitted = self._core.offer(
            tenant=tenant, size_bytes=size_bytes, tokens=tokens, urgency=urgency, now_s=self._clock.monotonic_s()
        )
        if isinstance(admitted, Permit):
            return admitted
        ended = anyio.Event()
        admitted.wake = ended.set
        urgency.watch(partial(self._rise, admitted))
        try:
            await ended.wait()
        except BaseException:
            self._core.withdraw(admitted, now_s=self._clock.monotonic_s())
            raise
        finally:
            urgency.watch(None)
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

    async def call(
        self,
        work: Callable[[], Awaitable[T]],
        *,
        urgency: Urgency,
        size_bytes: int,
        tokens: int = 1,
        tenant: str = "default",
    ) -> T:
        """Call `work` once it is admitted, and return what it returns. How it ends is what an adaptive limit learns.

        Args:
            work: what needs a slot.
            urgency: as for `acquire`, like those that follow.
            size_bytes: what it takes in memory while it waits.
            tokens: about what it costs.
            tenant: whose it is.

        Raises:
            DeadlineExceededError, BackpressureError: as `acquire`; `work` was not called.
            Exception: whatever `work` raises, the same object.

        Cancellation: as `acquire`; or ends `work`, and the slot has gone to the next before the cancellation goes on.
        """
        permit = await self.acquire(urgency=urgency, size_bytes=size_bytes, tokens=tokens, tenant=tenant)
        signal = LoadSignal.NEUTRAL
        try:
            result = await work()
            if not urgency.deadline.is_lifted:  # or its time was that of whoever read it
                signal = LoadSignal.COMPLETED
        except BaseException as error:
            signal = load_signal(error, urgency.deadline)
            raise
        else:
            return result
        finally:
            self.release(permit, signal)

    def reconfigure(self, config: AdmissionConfig) -> None:
        """Go by other bounds, ageing and weights from now on.

        What waits stays, also beyond a bound that is lower now: that is for the next who comes to make room for, or not
        to get in. A tenant that waits keeps the weight with which it came.
        """
        self._core.reconfigure(config)

    def resize(self, max_in_flight: int) -> None:
        """Set how many slots there are, at least 1; of more, those who wait get theirs at once.

        Of fewer, nothing is taken from whoever has one. An adaptive limit stays as it is.
        """
        self._core.resize(max_in_flight, now_s=self._clock.monotonic_s())

    def statistics(self) -> AdmissionStatistics:
        """Return who waits, and how everybody else ended."""
        return self._core.statistics()

    def _rise(self, entry: Entry) -> None:
        self._core.rise(entry, now_s=self._clock.monotonic_s())
