"""What leasing a resource and giving it back costs, against a bare list and anyio's limiter."""

from __future__ import annotations

import random
import sys

import anyio
from harness import Row, measure, measure_async, report

from holdfast.adapters.system.clock import SystemClock
from holdfast.domain.pool import AsyncResourcePool, PoolConfig

_BUDGET_P50_US = 2.0


class _Objects:
    resettable = False

    async def create(self) -> object:
        return object()

    async def validate(self, resource: object) -> bool:
        return resource is not None

    async def reset(self, resource: object) -> None: ...

    async def close(self, resource: object) -> None: ...


def _list_row() -> Row:
    idle = [object()]

    def pop_and_append() -> None:
        idle.append(idle.pop())

    return measure("floor: list pop and append", pop_and_append)


async def _rows() -> list[Row]:
    rows = [_list_row()]
    config = PoolConfig(validate_after_idle_s=3600.0)  # the pauses between rows are not what is measured
    async with AsyncResourcePool("bench", _Objects(), config, clock=SystemClock(), random=random.random) as pool:

        def lease_nowait() -> None:
            lease = pool.lease_nowait()
            if lease is None:
                raise SystemExit("nothing idles: this row would measure no lease")
            lease.release()

        async def acquire() -> None:
            lease = pool.lease_nowait() or await pool.acquire()
            try:
                pass
            finally:
                lease.release()

        async def context_manager() -> None:
            async with pool.lease():
                pass

        await acquire()
        rows += [
            measure("pool: lease_nowait and release", lease_nowait, budget_p50_us=_BUDGET_P50_US),
            await measure_async("pool: lease_nowait or acquire, and release", acquire, budget_p50_us=_BUDGET_P50_US),
            await measure_async("pool: async with lease()", context_manager, budget_p50_us=_BUDGET_P50_US),
        ]
    limiter = anyio.CapacityLimiter(10)

    async def limit() -> None:
        async with limiter:
            pass

    semaphore = anyio.Semaphore(10, fast_acquire=True)

    async def count() -> None:
        async with semaphore:
            pass

    rows += [
        await measure_async("anyio.CapacityLimiter", limit),
        await measure_async("anyio.Semaphore(fast_acquire=True)", count),
    ]
    return rows


def main() -> bool:
    """Print one table for each event loop and return whether the budget was kept."""
    kept = [report(f"Pool lease and return, {loop}", anyio.run(_rows, backend=loop)) for loop in ("asyncio", "trio")]
    return all(kept)


if __name__ == "__main__":
    sys.exit(not main())
