"""What routes that come and go cost for each request, and how often a registry is asked, whatever it answers."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable
from functools import partial

import anyio
from harness import Row, measure, report

from holdfast.adapters.system.clock import SystemClock
from holdfast.domain.blocking_query import BlockingQuery
from holdfast.domain.route_choice import RouteChoice, RoutingConfig, RoutingStrategy
from holdfast.ports.errors import StoreUnavailableError
from holdfast.testing import VirtualClock, virtual_backend

_FOLLOWED_S = 100.0
_ANSWER_S = 0.001
Index = Callable[[int], int | None]


def _choice(strategy: RoutingStrategy, instances: int) -> RouteChoice:
    choice = RouteChoice(
        ["fleet"],
        RoutingConfig(strategy=strategy),
        discovered=["fleet"],
        clock=SystemClock(),
        random=random.Random(1).random,
    )
    for number in range(instances):
        choice.add("fleet", f"fleet@10.0.0.1:{8000 + number}")
    return choice


def _order_rows() -> list[Row]:
    return [
        measure(
            f"order of {instances} instances, {strategy.value}",
            partial(_choice(strategy, instances).order, "session 1"),
            budget_p50_us=20.0 if instances == 3 else None,
        )
        for instances in (3, 64)
        for strategy in RoutingStrategy
    ]


class _Registry:
    """Answers after a millisecond, with an index of its own invention."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._numbers = itertools.count(1)
        self.asked = 0

    async def ask(self, index: int, wait_s: float) -> tuple[int | None, str]:
        self.asked += 1
        await anyio.sleep(_ANSWER_S)
        found = self._index(next(self._numbers))
        if found == index != 0:
            await anyio.sleep(wait_s)
        if found == -1:
            raise StoreUnavailableError("is away", store="bench")
        return found, "the same"


class _Nobody:
    def changed(self, content: str) -> None: ...
    def lost(self, error: Exception) -> None: ...
    def rejoined(self, away_s: float) -> None: ...


async def _follow(index: Index) -> int:
    registry = _Registry(index)
    follower = BlockingQuery(registry.ask, clock=VirtualClock(), random=random.Random(1).random)
    with anyio.move_on_after(_FOLLOWED_S):
        await follower.follow(_Nobody())
    return registry.asked


async def _ask_at_once(index: Index) -> int:
    """Ask again at once with the index that came: what a loop does that follows no rules."""
    registry = _Registry(index)
    found: int | None = 0
    with anyio.move_on_after(_FOLLOWED_S):
        while True:
            try:
                found, _ = await registry.ask(found or 0, 60.0)
            except StoreUnavailableError:
                continue
    return registry.asked


def _report_questions() -> bool:
    indexes: dict[str, Index] = {
        "is quiet": lambda _: 7,
        "is always new": lambda number: number,
        "goes backwards": lambda number: 10**6 - number,
        "is 0": lambda _: 0,
        "is garbage": lambda _: None,
        "never comes: it is away": lambda _: -1,
    }
    name, options = virtual_backend("asyncio")
    kept = True
    print(f"\nQuestions in {_FOLLOWED_S:g} s to a registry that answers in {_ANSWER_S * 1000:g} ms and whose index …")
    print(f"{'':<28} {'by these rules':>16} {'asking at once':>16}")
    for what, index in indexes.items():
        ours = anyio.run(_follow, index, backend=name, backend_options=options)
        name, options = virtual_backend("asyncio")
        others = anyio.run(_ask_at_once, index, backend=name, backend_options=options)
        name, options = virtual_backend("asyncio")
        kept = kept and ours <= _FOLLOWED_S + 4
        print(f"{what:<28} {ours:>16} {others:>16}")
    print(f"at most one in a second, and a burst of three: {'kept' if kept else 'MISSED'}")
    return kept


def main() -> bool:
    """Print the tables and return whether every budget is kept."""
    kept = report("Routes that come and go", _order_rows())
    return _report_questions() and kept


if __name__ == "__main__":
    sys.exit(not main())
