"""Several processes in one: each with its own link and its own breaker, over one place where breakers are kept."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import anyio

from holdfast.adapters.memory.breakers import MemoryBreakers
from holdfast.domain.breaker_config import BreakerConfig
from holdfast.domain.circuit_breaker import CircuitBreaker
from holdfast.domain.shared_breaker import SharedBreaker, SharedBreakerConfig
from holdfast.domain.store_link import StoreLink, StoreLinkConfig
from holdfast.ports.breaker_store import BreakerStore, BreakerView, Opening, ProbeResult, ProbeTerms
from holdfast.ports.clock import Clock
from holdfast.ports.errors import BreakerOpenError
from holdfast.ports.outcome import Outcome, Verdict
from holdfast.ports.statistics import BreakerState
from holdfast.testing import VirtualClock
from tests.fakes.events import Listener
from tests.fakes.shared_place import SharedPlace

__all__ = ["CONFIG", "BreakerPlace", "Peer", "PeerProcess", "open_processes"]

CONFIG: Final = BreakerConfig(failures_in_row=2, open_s=5.0, probe_calls=1, probe_successes=1, probe_timeout_s=10.0)
_numbers = itertools.count()


class BreakerPlace(SharedPlace):
    """Where breakers are kept, with all that can go wrong with it.

    Args:
        breakers: what is kept.
    """

    def __init__(self, breakers: MemoryBreakers | None = None) -> None:
        super().__init__()
        self.breakers = MemoryBreakers(clock=VirtualClock()) if breakers is None else breakers

    def side(self) -> BreakerPlace:
        """Return another process' side of it, which fails by itself."""
        side = BreakerPlace(self.breakers)
        side.emptied = self.emptied
        return side

    def lose(self, *sides: BreakerPlace) -> None:
        """Lose everything, as `sides` will find."""
        self.breakers.lose()
        for side in sides:
            side.emptied += 1

    async def look(self, name: str) -> BreakerView:
        return await self.ask("look", lambda: self.breakers.look(name))

    async def open(self, name: str, opening: Opening) -> BreakerView:
        return await self.ask("open", lambda: self.breakers.open(name, opening))

    async def claim(self, name: str, probe: str, terms: ProbeTerms) -> BreakerView:
        return await self.ask("claim", lambda: self.breakers.claim(name, probe, terms))

    async def settle(self, name: str, probe: str, result: ProbeResult, terms: ProbeTerms) -> BreakerView:
        return await self.ask(f"settle {result}", lambda: self.breakers.settle(name, probe, result, terms))


class Peer:
    """What all processes call: fails while it is ill, and takes a while; counts, also how many calls run at once."""

    def __init__(self) -> None:
        self.ill = True
        self.seconds = 0.0
        self.calls = 0
        self.running = 0
        self.most_running = 0

    async def __call__(self) -> str:
        self.calls += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await anyio.sleep(self.seconds)
            if self.ill:
                raise ConnectionError("ill")
        finally:
            self.running -= 1
        return "well"


@dataclass(kw_only=True)
class PeerProcess:
    """One process."""

    breaker: CircuitBreaker
    shared: SharedBreaker
    link: StoreLink
    place: BreakerPlace
    told: Listener

    async def call(self, work: Callable[[], Awaitable[str]]) -> str:
        """Return how one call ended: well, ill or refused."""
        try:
            return await self.breaker.call(work)
        except BreakerOpenError:  # a ConnectionError too
            return "refused"
        except ConnectionError:
            return "ill"

    def trip(self) -> None:
        """Let the breaker open of itself."""
        for _ in range(2):
            self.breaker.settle(self.breaker.acquire(), Verdict(outcome=Outcome.FAILURE))

    @property
    def state(self) -> BreakerState:
        return self.breaker.statistics().state


@asynccontextmanager
async def open_processes(
    count: int,
    config: BreakerConfig = CONFIG,
    *,
    place: BreakerPlace | None = None,
    sharing: SharedBreakerConfig = SharedBreakerConfig(),  # noqa: B008 - frozen
    clocks: Callable[[int], Clock] = lambda _: VirtualClock(),
    uniform: float = 1.0,
    following: StoreLinkConfig = StoreLinkConfig(),  # noqa: B008 - as above
) -> AsyncGenerator[list[PeerProcess]]:
    """Open so many processes that guard calls to one peer; without jitter, an opening lasts exactly 5, 10, 20 … s."""
    place = place or BreakerPlace()
    async with AsyncExitStack() as stack:
        processes: list[PeerProcess] = []
        for number in range(count):
            clock, told, side = clocks(number), Listener(), place.side()
            breaker = CircuitBreaker("peer", config, clock=clock, random=lambda: uniform, events=told)
            link = StoreLink(side, following, clock=clock, random=lambda: 0.5, events=told)
            store: BreakerStore = side
            shared = SharedBreaker(
                breaker, sharing, store=store, link=link, make_token=lambda: f"process{next(_numbers)}"
            )
            await stack.enter_async_context(link)
            processes.append(PeerProcess(breaker=breaker, shared=shared, link=link, place=side, told=told))
        yield processes
    for process in processes:
        s = process.breaker.statistics()
        assert s.in_flight == 0
        assert s.admitted == s.succeeded + s.failed + s.slow + s.rejected_by_peer + s.ignored
