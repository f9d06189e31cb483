"""What hedging and routing cost, what they bring, and what the alternatives would: times first, then virtual time."""

from __future__ import annotations

import functools
import itertools
import random
import statistics
import sys
from bisect import insort
from collections import deque
from collections.abc import Awaitable, Callable, Iterator

import anyio
from harness import Row, measure, measure_async, report

from holdfast.adapters.system.clock import SystemClock
from holdfast.domain.compose import compose
from holdfast.domain.hedge import Hedge, HedgeConfig
from holdfast.domain.hedge_core import HedgeCore, HedgeEnd
from holdfast.domain.latency import percentile
from holdfast.domain.live_percentile import LivePercentile
from holdfast.domain.retry import Retry
from holdfast.domain.retry_budget import RetryBudget, RetryBudgetConfig
from holdfast.domain.route_choice import RouteChoice, RoutingConfig, RoutingStrategy
from holdfast.testing import VirtualClock, virtual_backend

_CALLS = 20_000
_MOST_EXTRA_CALLS_RATIO = 0.05
_BACKENDS = ("one", "two", "three")


def _roomy() -> RetryBudget:
    return RetryBudget(RetryBudgetConfig(min_retries=1_000_000), clock=SystemClock())


async def _answer() -> str:
    return "42"


async def _call_rows(loop: str) -> list[Row]:
    clock = SystemClock()
    calls = itertools.count()
    warming = [Hedge("a", budget=_roomy(), clock=clock) for _ in range(200)]  # each is asked 99 times
    armed = Hedge("a", HedgeConfig(min_samples=1, min_delay_s=3600.0), budget=_roomy(), clock=clock)
    await armed.call(_answer)

    async def in_a_task_group() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 3600.0)
            await _answer()
            tasks.cancel_scope.cancel()

    return [
        await measure_async(f"bare call, {loop}", _answer),
        await measure_async(
            f"hedge, too few latencies known, {loop}",
            lambda: warming[next(calls) // 99].call(_answer),
            budget_p50_us=3.0 if loop == "asyncio" else None,
        ),
        await measure_async(f"hedge, second attempt not due, {loop}", lambda: armed.call(_answer)),
        await measure_async(f"a task group whose child sleeps, {loop}", in_a_task_group),
    ]


class _SortedNowAndThen:
    """The percentile is made anew after every fiftieth latency."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=1000)
        self._until = 50
        self.value_s = 0.0

    def record(self, latency_s: float) -> None:
        self._latest.append(latency_s)
        self._until -= 1
        if not self._until:
            self._until = 50
            self.value_s = percentile(sorted(self._latest), 95)


class _PSquare:
    """R. Jain, I. Chlamtac, "The P² algorithm", Communications of the ACM 28(10), 1985.

    Five markers stand for all latencies since the start; nothing is forgotten.
    """

    def __init__(self, ratio: float) -> None:
        self._steps = (0.0, ratio / 2, ratio, (1 + ratio) / 2, 1.0)
        self._heights: list[float] = []
        self._at = [0.0, 1.0, 2.0, 3.0, 4.0]
        self._wanted = [4 * step for step in self._steps]

    @property
    def value_s(self) -> float:
        return self._heights[2]

    def record(self, latency_s: float) -> None:
        heights, at, wanted = self._heights, self._at, self._wanted
        if len(heights) < 5:
            insort(heights, latency_s)
            return
        if latency_s < heights[0]:
            heights[0] = latency_s
        elif latency_s > heights[4]:
            heights[4] = latency_s
        cell = next((cell for cell in range(3, 0, -1) if latency_s >= heights[cell]), 0)
        for marker in range(cell + 1, 5):
            at[marker] += 1
        for marker in range(5):
            wanted[marker] += self._steps[marker]
        for marker in (1, 2, 3):
            off = wanted[marker] - at[marker]
            if (off >= 1 and at[marker + 1] - at[marker] > 1) or (off <= -1 and at[marker - 1] - at[marker] < -1):
                self._move(marker, 1 if off > 0 else -1)

    def _move(self, marker: int, step: int) -> None:
        heights, at = self._heights, self._at
        here, up, down = at[marker], at[marker + 1], at[marker - 1]
        moved = heights[marker] + step / (up - down) * (
            (here - down + step) * (heights[marker + 1] - heights[marker]) / (up - here)
            + (up - here - step) * (heights[marker] - heights[marker - 1]) / (here - down)
        )
        if not heights[marker - 1] < moved < heights[marker + 1]:
            other = marker + step
            moved = heights[marker] + step * (heights[other] - heights[marker]) / (at[other] - here)
        heights[marker] = moved
        at[marker] += step


def _percentile_rows() -> list[Row]:
    chance = random.Random(1)
    latencies_s = itertools.cycle([chance.lognormvariate(0.0, 1.0) for _ in range(10_000)])
    live, now_and_then, p_square = (
        LivePercentile(95, min_samples=100, max_samples=1000),
        _SortedNowAndThen(),
        _PSquare(0.95),
    )
    return [
        measure("p95: kept in order", lambda: live.record(next(latencies_s)), budget_p50_us=2.0),
        measure("p95: sorted after every 50th", lambda: now_and_then.record(next(latencies_s))),
        measure("p95: P² estimate", lambda: p_square.record(next(latencies_s))),
    ]


def _choice(strategy: RoutingStrategy, *, random_: Callable[[], float]) -> RouteChoice:
    choice = RouteChoice(_BACKENDS, RoutingConfig(strategy=strategy), clock=SystemClock(), random=random_)
    for load in choice.loads.values():
        load.observe(random_(), is_answer=True)
    return choice


def _routing_rows() -> list[Row]:
    chance = random.Random(1)
    rows = [
        measure(
            f"order of three backends: {strategy}",
            functools.partial(_choice(strategy, random_=chance.random).order, "session 1"),
            budget_p50_us=20.0,
        )
        for strategy in RoutingStrategy
    ]
    fastest = _choice(RoutingStrategy.FASTEST, random_=chance.random)

    def journey() -> None:
        on_its_way = fastest.depart()
        if on_its_way is not None:
            on_its_way.turn_to(fastest.order("")[0])
            on_its_way.end(is_answer=True)

    return [*rows, measure("fastest: order, and one measured journey", journey)]


# Virtual time from here on: counts and latencies are the same in every run.


def _heavy_tail(chance: random.Random) -> Iterator[float]:
    """Usually about 100 ms; one attempt in fifty takes 20 times as long."""
    while True:
        yield chance.lognormvariate(0.0, 0.3) * (2.0 if chance.random() < 0.02 else 0.1)


async def _latencies(config: HedgeConfig | None) -> tuple[list[float], Hedge]:
    clock, taken_s, chance = VirtualClock(), list[float](), random.Random(1)
    budget = RetryBudget(clock=clock)
    hedge = Hedge("a", config or HedgeConfig(), budget=budget, clock=clock)
    retry = Retry(clock=clock, random=chance.random, budget=budget)
    guard = retry if config is None else compose(retry, hedge)
    delays_s = _heavy_tail(chance)

    async def work() -> None:
        await anyio.sleep(next(delays_s))

    async def request(number: int) -> None:
        await anyio.sleep(number * 0.02)
        began_s = anyio.current_time()
        await guard.call(work)
        taken_s.append(anyio.current_time() - began_s)

    async with anyio.create_task_group() as tasks:
        for number in range(_CALLS):
            tasks.start_soon(request, number)
    return taken_s, hedge


def _report_tail() -> bool:
    print(f"\nHedging a heavy tail, {_CALLS} calls, virtual time")
    print(f"{'hedge':<28} {'P50 ms':>8} {'P95 ms':>8} {'P99 ms':>8} {'P99.9 ms':>9} {'extra calls':>12}")
    kept = True
    name, options = virtual_backend("asyncio")
    for title, config in (
        ("none", None),
        ("at the 95th percentile", HedgeConfig()),
        ("at the 99th, 1 %", HedgeConfig(percent=99, max_ratio=0.01)),
        ("at the median, 50 %", HedgeConfig(percent=50, max_ratio=0.5)),
    ):
        taken_s, hedge = anyio.run(_latencies, config, backend=name, backend_options=options)
        cuts = statistics.quantiles(taken_s, n=1000)
        p50, p95, p99, p999 = (cuts[at] * 1000 for at in (499, 949, 989, 998))
        extra = hedge.statistics().hedged / _CALLS if config is not None else 0.0
        kept = kept and (config != HedgeConfig() or extra <= _MOST_EXTRA_CALLS_RATIO)
        print(f"{title:<28} {p50:>8.0f} {p95:>8.0f} {p99:>8.0f} {p999:>9.0f} {extra:>11.1%}")
    print(f"at the 95th percentile: at most {_MOST_EXTRA_CALLS_RATIO:.0%} extra calls: {'kept' if kept else 'MISSED'}")
    return kept


def _simulate_samples(rule: str) -> tuple[float, float]:
    """Return delay and share of hedged calls after many calls of the core, by what a lost first attempt counts as."""
    chance = random.Random(1)
    core = HedgeCore("a", HedgeConfig(max_ratio=1.0), budget=_roomy())
    for _ in range(_CALLS):
        first_s, second_s = chance.lognormvariate(0.0, 1.0), chance.lognormvariate(0.0, 1.0)
        delay_s = core.begin()
        if delay_s is None or first_s <= delay_s or (permit := core.try_launch(delay_s)) is None:
            core.record(first_s)
            continue
        permit.settle(None)
        if first_s <= delay_s + second_s:
            core.record(first_s)
            if rule == "each attempt, as far as it came":
                core.record(first_s - delay_s)
            core.settle(HedgeEnd.LOST)
            continue
        if rule != "left out":
            core.record(delay_s + second_s)
        if rule == "each attempt, as far as it came":
            core.record(second_s)
        core.settle(HedgeEnd.WON)
    found = core.statistics()
    return found.delay_s or 0.0, found.hedged / found.calls


def _report_samples() -> None:
    chance = random.Random(2)
    true_s = percentile(sorted(chance.lognormvariate(0.0, 1.0) for _ in range(200_000)), 95)
    print(f"\nWhat a first attempt counts as that lost, share not bounded; the 95th percentile is {true_s:.2f} s")
    print(f"{'rule':<36} {'delay s':>8} {'hedged':>8}")
    for rule in ("as long as it had run", "left out", "each attempt, as far as it came"):
        delay_s, share = _simulate_samples(rule)
        print(f"{rule:<36} {delay_s:>8.2f} {share:>8.1%}")


async def _route(
    strategy: RoutingStrategy, answers: dict[str, Callable[[], Awaitable[bool]]]
) -> tuple[float, float, float]:
    """Return the mean latency in ms, and the shares of requests that chose the first and the last backend first."""
    chance = random.Random(1)
    choice = RouteChoice(tuple(answers), RoutingConfig(strategy=strategy), clock=VirtualClock(), random=chance.random)
    taken_s: list[float] = []
    firsts: list[str] = []

    async def request(number: int) -> None:
        await anyio.sleep(number * 0.01)
        began_s = anyio.current_time()
        journey, order = choice.depart(), choice.order(f"session {number}")
        firsts.append(order[0])
        for name in order:
            if journey is not None:
                journey.turn_to(name)
            if await answers[name]():
                break
        if journey is not None:
            journey.end(is_answer=True)
        taken_s.append(anyio.current_time() - began_s)

    async with anyio.create_task_group() as tasks:
        for number in range(5000):
            tasks.start_soon(request, number)
    names = list(answers)
    first, last = (firsts.count(name) / len(firsts) for name in (names[0], names[-1]))
    return statistics.mean(taken_s) * 1000, first, last


def _answering(
    usual_s: float, *, fails: bool = False, slow_from_s: float | None = None
) -> Callable[[], Awaitable[bool]]:
    async def answer() -> bool:
        slow = slow_from_s is not None and slow_from_s <= anyio.current_time() % 1000 < slow_from_s + 10
        await anyio.sleep(usual_s * (10 if slow else 1))
        return not fails

    return answer


def _report_routing() -> None:
    print(
        "\nRouting 100 requests a second for 50 s, virtual time: mean latency, and how often which backend came first"
    )
    print(f"{'backends':<52} {'strategy':<10} {'mean ms':>8} {'first':>8} {'last':>8}")
    name, options = virtual_backend("asyncio")
    for title, answers in (
        ("100 ms, 100 ms, 1000 ms", (_answering(0.1), _answering(0.1), _answering(1.0))),
        ("100 ms, but 1000 ms for 10 s; 150 ms; 150 ms", (_answering(0.1, slow_from_s=10.0), *[_answering(0.15)] * 2)),
        ("fails after 1 ms, 100 ms, 100 ms", (_answering(0.001, fails=True), _answering(0.1), _answering(0.1))),
    ):
        for strategy in RoutingStrategy:
            by_name = dict(zip(_BACKENDS, answers, strict=True))
            mean_ms, first, last = anyio.run(_route, strategy, by_name, backend=name, backend_options=options)
            print(f"{title:<52} {strategy:<10} {mean_ms:>8.0f} {first:>8.1%} {last:>8.1%}")
    sys.stdout.flush()


def main() -> bool:
    """Print the tables and return whether every budget is kept."""
    rows = [row for loop in ("asyncio", "trio") for row in anyio.run(_call_rows, loop, backend=loop)]
    kept = report("Hedging", rows, packages=("anyio", "trio"))
    kept = report("Percentiles and routes", [*_percentile_rows(), *_routing_rows()]) and kept
    kept = _report_tail() and kept
    _report_samples()
    _report_routing()
    return kept


if __name__ == "__main__":
    sys.exit(not main())
