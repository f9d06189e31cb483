"""Processes that share rate limits, each a part of this one."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from itertools import count
from typing import Any

import pytest

from holdfast.adapters.memory.rates import MemoryRates
from holdfast.domain.rate_limit import RateLimit, Reservation
from holdfast.domain.shared_rates import SharedRates
from holdfast.domain.store_link import StoreLink
from holdfast.ports.clock import Clock
from holdfast.ports.errors import RateLimitedError, StoreUnavailableError
from holdfast.ports.rate_store import RateClaim, RateTerms

__all__ = ["REFRESH_S", "FaultyRates", "flood", "join", "run"]

REFRESH_S = 0.25


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run what never waits."""
    with pytest.raises(StopIteration):
        work.send(None)


class FaultyRates(MemoryRates):
    """May fail before or after it has noted what it was told, and be emptied."""

    name = "faulty"

    def __init__(self, *, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.fails: str | None = None
        self.contents = 1

    async def epoch(self) -> str:
        self._check("before")
        return f"{self.contents}"

    async def settle(self, member: str, share: float, claims: Sequence[RateClaim], *, lease_s: float) -> RateTerms:
        self._check("before")
        terms = await super().settle(member, share, claims, lease_s=lease_s)
        self._check("after")
        return terms

    def _check(self, moment: str) -> None:
        if self.fails == moment:
            raise StoreUnavailableError("it is away", store=self.name)


_names = count()


def join(store: FaultyRates, clock: Clock) -> SharedRates:
    """Return another process, whose rounds the test runs."""
    link = StoreLink(store, clock=clock, random=lambda: 0.5)
    return SharedRates(store, link=link, refresh_s=REFRESH_S, make_token=lambda: f"{next(_names)}", clock=clock)


def flood(limit: RateLimit, tokens: int = 1, *, most: int = 1000) -> list[Reservation]:
    """Reserve until it is refused."""
    granted: list[Reservation] = []
    while len(granted) < most:
        try:
            granted.append(limit.reserve(tokens))
        except RateLimitedError:
            break
    return granted
