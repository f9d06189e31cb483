"""What a rate limit costs a call, what one takes in memory, and how much gets through with other rules for refunds.

The second table is in virtual time, so that every run counts the same.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from harness import Row, measure, report

from holdfast.adapters.system.clock import SystemClock
from holdfast.domain.rate_limit import RateLimit, RateLimitConfig
from holdfast.ports.errors import RateLimitedError
from holdfast.testing import ManualClock

_BUDGET_P50_US: Final = 2.0
_OPEN: Final = 200
_PER_MINUTE: Final = 6000


def _limit(*, requests: bool = False, tokens: bool = False) -> RateLimit:
    """Return a limit that is always in use and never used up, so that it neither refuses nor runs dry."""
    config = RateLimitConfig(
        requests_per_minute=60.0 if requests else None,
        tokens_per_minute=60.0 if tokens else None,
        burst_requests=1e12 if requests else None,
        burst_tokens=1e12 if tokens else None,
    )
    limit = RateLimit("backend 'a'", config, clock=SystemClock())
    limit.reserve(1000).settle(1000)
    return limit


def _settled(path: str, limit: RateLimit, budget_p50_us: float | None = _BUDGET_P50_US) -> Row:
    return measure(path, lambda: limit.reserve(300).settle(250), budget_p50_us=budget_p50_us)


def _cancelled() -> Row:
    limit = _limit(requests=True, tokens=True)
    return measure("reserve and cancel, both", lambda: limit.reserve(300).cancel(), budget_p50_us=_BUDGET_P50_US)


def _refused() -> Row:
    limit = RateLimit("backend 'a'", RateLimitConfig(requests_per_minute=0.001), clock=SystemClock())
    limit.reserve(1).settle(1)

    def refuse() -> None:
        try:
            limit.reserve(300)
        except RateLimitedError:
            return

    return measure("refusal", refuse)


def _costs() -> bool:
    crowded = _limit(requests=True, tokens=True)
    others = [crowded.reserve(300) for _ in range(_OPEN)]
    rows = [
        _settled("reserve and settle, requests", _limit(requests=True)),
        _settled("reserve and settle, tokens", _limit(tokens=True)),
        _settled("reserve and settle, both", _limit(requests=True, tokens=True)),
        _settled(f"reserve and settle, both, {_OPEN} others open", crowded, None),
        _cancelled(),
        _refused(),
    ]
    for other in others:
        other.cancel()
    return report("Rate limit", rows)


class _Rule(Protocol):
    """A limit on tokens; the argument of what `reserve` returns is what the call really took."""

    def reserve(self, tokens: int) -> Callable[[int], None] | None: ...


class _Gcra:
    """The limit as it is, or without refunds."""

    def __init__(self, clock: ManualClock, *, refunds: bool = True) -> None:
        self._limit = RateLimit("a", RateLimitConfig(tokens_per_minute=_PER_MINUTE), clock=clock)
        self._refunds = refunds

    def reserve(self, tokens: int) -> Callable[[int], None] | None:
        try:
            reservation = self._limit.reserve(tokens)
        except RateLimitedError:
            return None
        return lambda used: reservation.settle(used if self._refunds else tokens)


class _BucketOfFullRefunds:
    """A token bucket that gives back whatever was not used, however late."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._left = float(_PER_MINUTE)
        self._at_s = clock.monotonic_s()

    def reserve(self, tokens: int) -> Callable[[int], None] | None:
        now_s = self._clock.monotonic_s()
        self._left = min(_PER_MINUTE, self._left + (now_s - self._at_s) * _PER_MINUTE / 60)
        self._at_s = now_s
        if tokens > self._left:
            return None
        self._left -= tokens
        return lambda used: self._give_back(tokens - used)

    def _give_back(self, tokens: int) -> None:
        self._left = min(_PER_MINUTE, self._left + tokens)


class _SlidingLog:
    """Every call of the last minute, with what it took."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._calls: deque[list[float]] = deque()
        self._total = 0.0

    def reserve(self, tokens: int) -> Callable[[int], None] | None:
        now_s = self._clock.monotonic_s()
        while self._calls and self._calls[0][0] <= now_s - 60:
            self._total -= self._calls.popleft()[1]
        if self._total + tokens > _PER_MINUTE:
            return None
        call = [now_s, float(tokens)]
        self._calls.append(call)
        self._total += tokens

        def settle(used: int) -> None:
            if call[0] > self._clock.monotonic_s() - 60:
                self._total += used - call[1]
                call[1] = used

        return settle


_RULES: Final[dict[str, Callable[[ManualClock], _Rule]]] = {
    "GCRA, refunds of what has not drained": _Gcra,
    "GCRA, no refunds": lambda clock: _Gcra(clock, refunds=False),
    "token bucket, full refunds": _BucketOfFullRefunds,
    "sliding log of a minute": _SlidingLog,
}


def _hoarded(rule: _Rule, clock: ManualClock) -> int:
    """Return the tokens that are used in one moment by somebody who hoards reservations and cancels them.

    In each of ten minutes everything that can be is reserved and held. Then it is cancelled, a minute's worth at a
    time, and whatever can be reserved after each is used at once.
    """
    held: list[list[Callable[[int], None]]] = []
    for _ in range(10):
        held.append(list(_reserve_all(rule)))
        clock.advance(60.0)
    used = 0
    for minute in held:
        for settle in minute:
            settle(0)
        for settle in _reserve_all(rule):
            settle(100)
            used += 100
    return used


def _reserve_all(rule: _Rule) -> Iterator[Callable[[int], None]]:
    while (settle := rule.reserve(100)) is not None:
        yield settle


def _used_per_minute(rule: _Rule, clock: ManualClock) -> float:
    """Return the tokens used in a minute when each call takes a quarter of its estimate and lasts two seconds."""
    minutes = 30
    under_way: deque[tuple[float, Callable[[int], None]]] = deque()
    used = 0
    for _ in range(minutes * 600):
        now_s = clock.monotonic_s()
        while under_way and under_way[0][0] <= now_s:
            under_way.popleft()[1](25)
            used += 25
        settle = rule.reserve(100)
        if settle is not None:
            under_way.append((now_s + 2.0, settle))
        clock.advance(0.1)
    return used / minutes


def _size_bytes(make: Callable[[ManualClock], _Rule]) -> int:
    """Return what a limit takes that has just let a thousand calls through, all of them settled."""
    clock = ManualClock()
    tracemalloc.start()
    try:
        rule = make(clock)
        for _ in range(1000):
            settle = rule.reserve(5)
            if settle is not None:
                settle(5)
        settle = None
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def _rules() -> bool:
    most_allowed = 2 * _PER_MINUTE
    print(f"\nRefunds, {_PER_MINUTE} tokens a minute, a burst of as many: in no minute more than {most_allowed}")
    print(f"{'rule':<42} {'used after hoarding':>20} {'used/min':>9} {'bytes, 1000 calls':>18}")
    kept = True
    for name, make in _RULES.items():
        hoarding_clock, clock = ManualClock(), ManualClock()
        hoarded = _hoarded(make(hoarding_clock), hoarding_clock)
        kept = kept and (hoarded <= most_allowed or not name.startswith("GCRA"))
        print(f"{name:<42} {hoarded:>20} {_used_per_minute(make(clock), clock):>9.0f} {_size_bytes(make):>18}")
    print(f"GCRA: at most {most_allowed} after hoarding: {'kept' if kept else 'MISSED'}")
    sys.stdout.flush()
    return kept


def main() -> bool:
    """Print the tables and return whether costs and limit are kept."""
    return all([_costs(), _rules()])


if __name__ == "__main__":
    sys.exit(not main())
