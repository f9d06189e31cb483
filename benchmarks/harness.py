"""How every figure in this project is measured.

A row is the median of repeated rounds in one process, after a warm-up round; each round times `calls` calls together
and divides, so that the timer itself costs nothing. The spread is from the fastest to the slowest round. P99 is over
single calls and includes the timer (about 0.05 µs).
"""

from __future__ import annotations

import gc
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version

__all__ = ["Row", "measure", "measure_async", "report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured path; all times in microseconds for one call."""

    path: str
    p50_us: float
    fastest_us: float
    slowest_us: float
    p99_us: float
    rounds: int
    calls: int
    budget_p50_us: float | None = None
    budget_p99_us: float | None = None

    @property
    def within_budget(self) -> bool:
        """Return whether both medians keep to their budgets; a row without a budget is a peer's, and always does."""
        return (self.budget_p50_us is None or self.p50_us <= self.budget_p50_us) and (
            self.budget_p99_us is None or self.p99_us <= self.budget_p99_us
        )


def _row(
    path: str, rounds: list[float], singles: list[float], calls: int, budget: tuple[float | None, float | None]
) -> Row:
    return Row(
        path=path,
        p50_us=statistics.median(rounds) * 1e6,
        fastest_us=min(rounds) * 1e6,
        slowest_us=max(rounds) * 1e6,
        p99_us=statistics.quantiles(singles, n=100)[98] * 1e6,
        rounds=len(rounds),
        calls=calls,
        budget_p50_us=budget[0],
        budget_p99_us=budget[1],
    )


def measure(
    path: str,
    call: Callable[[], object],
    *,
    calls: int = 2000,
    rounds: int = 15,
    budget_p50_us: float | None = None,
    budget_p99_us: float | None = None,
) -> Row:
    """Time a synchronous call."""
    clock = time.perf_counter
    per_round: list[float] = []
    gc.collect()
    for _ in range(rounds + 1):
        start_s = clock()
        for _ in range(calls):
            call()
        per_round.append((clock() - start_s) / calls)
    singles: list[float] = []
    for _ in range(calls):
        start_s = clock()
        call()
        singles.append(clock() - start_s)
    return _row(path, per_round[1:], singles, calls, (budget_p50_us, budget_p99_us))


async def measure_async(  # noqa: PLR0913 - the budgets are two
    path: str,
    call: Callable[[], Awaitable[object]],
    *,
    calls: int = 1000,
    rounds: int = 15,
    budget_p50_us: float | None = None,
    budget_p99_us: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Row:
    """Time an asynchronous call, awaited one after the other on the running loop.

    With `time.process_time` as the `clock`, what others do on the machine counts less, and waiting does not count.
    """
    per_round: list[float] = []
    gc.collect()
    for _ in range(rounds + 1):
        start_s = clock()
        for _ in range(calls):
            await call()
        per_round.append((clock() - start_s) / calls)
    singles: list[float] = []
    for _ in range(calls):
        start_s = clock()
        await call()
        singles.append(clock() - start_s)
    return _row(path, per_round[1:], singles, calls, (budget_p50_us, budget_p99_us))


def report(title: str, rows: list[Row], *, packages: tuple[str, ...] = ("anyio",)) -> bool:
    """Print one table and return whether every row keeps to its budget."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"\n{title}  (CPython {platform.python_version()}, {versions})")
    print(f"{'path':<52} {'P50 µs':>9} {'fastest–slowest':>19} {'P99 µs':>9} {'n':>10}  budget")
    for row in rows:
        spread = f"{row.fastest_us:.2f}–{row.slowest_us:.2f}"
        budgets = [
            f"{name} ≤ {limit:g}"
            for name, limit in (("P50", row.budget_p50_us), ("P99", row.budget_p99_us))
            if limit is not None
        ]
        verdict = f"{', '.join(budgets)}: {'kept' if row.within_budget else 'MISSED'}" if budgets else "–"
        print(
            f"{row.path:<52} {row.p50_us:>9.2f} {spread:>19} {row.p99_us:>9.2f} "
            f"{f'{row.rounds}×{row.calls}':>10}  {verdict}"
        )
    sys.stdout.flush()
    return all(row.within_budget for row in rows)
