"""What admission costs when a slot is free, and what the alternatives to a synchronous core cost.

The first rows are the path that every request takes; the next, what fair turns cost once requests have to wait, and
what the memory ceiling costs; the others do no more than count to a limit.
"""

from __future__ import annotations

import itertools
import sys
import time
from functools import partial

import anyio
from harness import Row, measure, measure_async, report

from holdfast.domain.adaptive_limit import AdaptiveLimit, LoadSignal
from holdfast.domain.admission import AdmissionConfig, AdmissionQueue
from holdfast.domain.admission_core import AdmissionCore
from holdfast.domain.admission_flow import Entry
from holdfast.domain.concurrency_limit import ConcurrencyLimit, Permit
from holdfast.domain.deadline import Deadline
from holdfast.domain.memory_ceiling import MemoryCeiling
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import BackpressureError
from holdfast.ports.service import Priority


class _MonotonicClock:
    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        await anyio.sleep(delay_s)


class _Line:
    """A queue with one slot, which is taken, and a thousand entries that wait for it."""

    def __init__(self, tenants: int) -> None:
        self._clock = _MonotonicClock()
        self._core = AdmissionCore(AdmissionConfig(overload_timeout_s=3600.0), ConcurrencyLimit(1))
        self._urgency = Urgency(Priority.NORMAL, Deadline.after(1e9, self._clock))
        self._tenants = itertools.cycle(f"tenant {number}" for number in range(tenants))
        self._held: list[Permit] = []
        while self._core.statistics().waiting < 1000:
            self.offer()

    def offer(self) -> None:
        try:
            admitted = self._core.offer(
                tenant=next(self._tenants),
                size_bytes=2048,
                tokens=1000,
                urgency=self._urgency,
                now_s=self._clock.monotonic_s(),
            )
        except BackpressureError:
            return
        if isinstance(admitted, Permit):
            self._held.append(admitted)
        else:
            admitted.wake = partial(self._woken, admitted)

    def _woken(self, entry: Entry) -> None:
        if isinstance(entry.outcome, Permit):
            self._held.append(entry.outcome)

    def hand_on(self) -> None:
        self._core.release(self._held.pop(), now_s=self._clock.monotonic_s())
        self.offer()


def _contended() -> list[Row]:
    rows = []
    for tenants in (1, 10, 1000):
        line = _Line(tenants)
        rows.append(measure(f"handed on, 1000 of {tenants} tenants waiting", line.hand_on, calls=1000))
        rows.append(measure("the next one refused, or another for it", line.offer, calls=1000))
    return rows


async def _measure() -> list[Row]:
    clock = _MonotonicClock()
    fixed = AdmissionQueue(limit=ConcurrencyLimit(20), clock=clock)
    adaptive = AdmissionQueue(limit=ConcurrencyLimit(20), clock=clock, adaptive=AdaptiveLimit())
    limit = ConcurrencyLimit(20)
    urgency = Urgency(Priority.NORMAL, Deadline.after(3600.0, clock))
    ceiling = MemoryCeiling(2 * 1024**3, clock=clock)
    ceiling.add_holder("answers", lambda: 0, free=lambda _: 0)
    limiter = anyio.CapacityLimiter(20)
    semaphore = anyio.Semaphore(20)
    fast_semaphore = anyio.Semaphore(20, fast_acquire=True)
    lock = anyio.Lock()
    fast_lock = anyio.Lock(fast_acquire=True)
    in_flight: set[object] = set()

    async def admission(queue: AdmissionQueue) -> None:
        queue.release(await queue.acquire(size_bytes=2048, urgency=urgency), LoadSignal.COMPLETED)

    def permit() -> None:
        granted = limit.try_acquire()
        if granted is not None:
            limit.release(granted)

    async def awaited_permit() -> None:
        permit()

    async def capacity_limiter() -> None:
        async with limiter:
            pass

    async def plain_semaphore() -> None:
        async with semaphore:
            pass

    async def quick_semaphore() -> None:
        async with fast_semaphore:
            pass

    async def counter_behind(guard: anyio.Lock) -> None:
        granted = object()
        async with guard:
            if len(in_flight) < 20:
                in_flight.add(granted)
        async with guard:
            in_flight.discard(granted)

    return [
        await measure_async("AdmissionQueue acquire + release, free slot", lambda: admission(fixed), budget_p50_us=3.0),
        await measure_async("the same, adaptive limit", lambda: admission(adaptive), budget_p50_us=5.0),
        *_contended(),
        measure("MemoryCeiling hold + release", lambda: ceiling.hold(4096).release(), budget_p50_us=3.0),
        measure("ConcurrencyLimit try_acquire + release", permit, budget_p50_us=1.0),
        await measure_async("the same, from a coroutine", awaited_permit),
        await measure_async("the same state behind anyio.Lock(fast_acquire=True)", lambda: counter_behind(fast_lock)),
        await measure_async("the same state behind anyio.Lock()", lambda: counter_behind(lock)),
        await measure_async("anyio.Semaphore(fast_acquire=True)", quick_semaphore),
        await measure_async("anyio.Semaphore()", plain_semaphore),
        await measure_async("anyio.CapacityLimiter", capacity_limiter),
    ]


def main() -> bool:
    """Print the table for each event loop and return whether every budget is kept."""
    kept = [report(f"Admission on {name}", anyio.run(_measure, backend=name)) for name in ("asyncio", "trio")]
    return all(kept)


if __name__ == "__main__":
    sys.exit(not main())
