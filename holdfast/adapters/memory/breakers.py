"""Shared circuit breakers in this process's memory.

Responsibility: `BreakerStore` without a server, for tests in which several services of one process stand for several
    processes.
Guarantees: those of the port, as long as the process lives.
Not responsible for: other processes; forgetting: there are as many records as there were names.
"""

from __future__ import annotations

from anyio.lowlevel import checkpoint

from holdfast.ports.answer_record import as_us
from holdfast.ports.breaker_record import BreakerRecord
from holdfast.ports.breaker_store import BreakerStore, BreakerView, Opening, ProbeResult, ProbeTerms
from holdfast.ports.clock import Clock

__all__ = ["MemoryBreakers"]


class MemoryBreakers:
    """Keeps breakers until the process ends, or they are lost. For one event loop.

    Args:
        clock: the store's time.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._records: dict[str, BreakerRecord] = {}

    async def look(self, name: str) -> BreakerView:
        """Return what is known; see `BreakerStore.look`."""
        await checkpoint()
        return self._record(name).view(self._now_us())

    async def open(self, name: str, opening: Opening) -> BreakerView:
        """Open it from now on; see `BreakerStore.open`."""
        await checkpoint()
        return self._keep(name, self._record(name).opened(self._now_us(), opening))

    async def claim(self, name: str, probe: str, terms: ProbeTerms) -> BreakerView:
        """Claim the one probe; see `BreakerStore.claim`."""
        await checkpoint()
        return self._keep(name, self._record(name).claimed(self._now_us(), probe, terms))

    async def settle(self, name: str, probe: str, result: ProbeResult, terms: ProbeTerms) -> BreakerView:
        """Say how a probe ended; see `BreakerStore.settle`."""
        await checkpoint()
        return self._keep(name, self._record(name).settled(self._now_us(), probe, result, terms))

    def lose(self) -> None:
        """Forget everything, as a server does that is restarted empty."""
        self._records.clear()

    def _record(self, name: str) -> BreakerRecord:
        return self._records.get(name, BreakerRecord())

    def _keep(self, name: str, record: BreakerRecord) -> BreakerView:
        self._records[name] = record
        return record.view(self._now_us())

    def _now_us(self) -> int:
        return as_us(self._clock.monotonic_s())


_: type[BreakerStore] = MemoryBreakers
