"""What a shared limit costs a call, and how much of it several processes get, by what they ask.

The second table is in virtual time over the store in memory, so that every run counts the same.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from harness import measure, report

from holdfast.adapters.memory.rates import MemoryRates
from holdfast.adapters.system.clock import SystemClock
from holdfast.domain.rate_limit import RateLimit, RateLimitConfig
from holdfast.domain.shared_rates import SharedRates
from holdfast.domain.store_link import StoreLink
from holdfast.ports.clock import Clock
from holdfast.ports.errors import RateLimitedError
from holdfast.testing import ManualClock

_REFRESH_S: Final = 0.25
_MINUTES: Final = 5
_STEP_S: Final = 0.05
_PROCESSES: Final = 4
_BUDGET_P50_US: Final = 15.0


class _Store(MemoryRates):
    name = "memory"

    async def epoch(self) -> str:
        return "1"


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run what never waits."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError


def _join(store: _Store, clock: Clock, name: str, *, refresh_s: float = _REFRESH_S) -> SharedRates:
    link = StoreLink(store, clock=clock, random=lambda: 0.5)
    return SharedRates(store, link=link, refresh_s=refresh_s, make_token=lambda: name, clock=clock)


def _granted(config: RateLimitConfig, asked_per_s: Sequence[float], tokens: int, call_s: float) -> tuple[int, ...]:
    """Return how many calls each process got, if it asks so often, by chance, for calls that take so long."""
    clock, draw = ManualClock(), random.Random(1)
    store = _Store(clock=clock)
    hubs = [_join(store, clock, f"{number}") for number in range(len(asked_per_s))]
    limits = [RateLimit("backend 'a'", config, clock=clock, shared=hub) for hub in hubs]
    granted = [0] * len(hubs)
    running: list[tuple[float, Any]] = []
    due_s = [clock.monotonic_s() + draw.random() * _REFRESH_S for _ in hubs]
    for _ in range(round(_MINUTES * 60 / _STEP_S)):
        clock.advance(_STEP_S)
        now_s = clock.monotonic_s()
        while running and running[0][0] <= now_s:
            running.pop(0)[1].settle(tokens)
        for number in draw.sample(range(len(hubs)), len(hubs)):
            if due_s[number] <= now_s:
                due_s[number] = now_s + _REFRESH_S * (0.9 + 0.2 * draw.random())
                _run(hubs[number].refresh(emptied=False))
            asks = asked_per_s[number] * _STEP_S
            for _ in range(int(asks) + (draw.random() < asks % 1)):
                try:
                    reservation = limits[number].reserve(tokens)
                except RateLimitedError:
                    continue
                granted[number] += 1
                running.append((now_s + call_s, reservation))
    return tuple(granted)


def _print_shares() -> None:
    print(f"\nCalls granted in {_MINUTES} minutes, of what one limit lets through, to {_PROCESSES} processes:\n")
    even, one, uneven = [10.0] * _PROCESSES, [40.0, 0.0, 0.0, 0.0], [30.0, 6.0, 3.0, 1.0]
    requests = RateLimitConfig(requests_per_minute=600)
    small = RateLimitConfig(requests_per_minute=600, burst_requests=5)
    tokens = RateLimitConfig(tokens_per_minute=60_000)
    few = RateLimitConfig(tokens_per_minute=60_000, burst_tokens=10_000)
    for what, config, asked, each, call_s in (
        ("requests, a minute's burst, all ask", requests, even, 1, 1.0),
        ("requests, a minute's burst, one asks", requests, one, 1, 1.0),
        ("requests, a minute's burst, unevenly", requests, uneven, 1, 1.0),
        ("requests, half a second's burst, all ask", small, even, 1, 1.0),
        ("tokens, a minute's burst, calls of 10 s", tokens, even, 100, 10.0),
        ("tokens, ten seconds' burst, calls of 10 s", few, even, 100, 10.0),
        ("tokens, ten seconds' burst, calls of 1 s", few, even, 100, 1.0),
    ):
        per_s = (config.requests_per_minute or (config.tokens_per_minute or 0) / each) / 60
        burst = config.burst_requests or (config.burst_tokens or 60 * per_s * each) / each
        got = _granted(config, asked, each, call_s)
        print(f"  {what:44} {100 * sum(got) / (burst + per_s * _MINUTES * 60):5.1f} %  {got}")


def main() -> bool:
    """Measure and print; return whether everything keeps to its budget."""
    clock = SystemClock()
    config = RateLimitConfig(requests_per_minute=60, tokens_per_minute=60, burst_requests=1e12, burst_tokens=1e12)
    own = RateLimit("backend 'a'", config, clock=clock)
    hub = _join(_Store(clock=clock), clock, "p", refresh_s=1e6)  # one round lasts for all of them
    shared = RateLimit("backend 'a'", config, clock=clock, shared=hub)
    _run(hub.refresh(emptied=False))

    rows = [
        measure("reserve and settle, of this process alone", lambda: own.reserve(300).settle(250)),
        measure(
            "reserve and settle, shared",
            lambda: shared.reserve(300).settle(250),
            budget_p50_us=_BUDGET_P50_US,
        ),
    ]
    kept = report("A rate limit that processes share", rows)
    _print_shares()
    return kept


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
