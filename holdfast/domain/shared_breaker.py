"""One circuit breaker of several processes.

Responsibility: tell the others when a breaker opens here, let it be what they say, and have each probe agreed to.
Guarantees: an opening is known everywhere within about a round of the link, lasts by the store's time, and is found
    again by whoever starts later; while the store is there, one probe is under way over all processes, and one whose
    process died is over when its lease is; who waits for the store waits for the claim of a probe, no longer than
    `claim_timeout_s`; without the store each breaker goes on alone, and what it then decided is told when the store is
    back; a claim that was cut off or not heard of is given back.
Not responsible for: when to trip, which each process finds by its own calls; modes that an operator chose, which hold
    in their own process; whether the store is there: see `holdfast.domain.store_link`.

A closed breaker here never waits and never asks. What has to be told is told in the next round, which an opening or the
end of a probe hurries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from holdfast.domain.breaker_peers import Peers, Probe
from holdfast.domain.circuit_breaker import CircuitBreaker
from holdfast.domain.store_link import AWAY, Away, StoreLink, StoreMember
from holdfast.domain.validation import require_positive
from holdfast.ports.breaker_store import BreakerStore, BreakerView, ProbeResult
from holdfast.ports.outcome import Outcome
from holdfast.ports.statistics import BreakerState

__all__ = ["SharedBreaker", "SharedBreakerConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedBreakerConfig:
    """How breakers are shared.

    Args:
        claim_timeout_s: seconds that a call waits for the claim of a probe; then it decides alone. Default 0.2,
            unmeasured; a claim on the same machine takes less than a millisecond.

    Raises:
        ConfigurationError: if it is not above 0.
    """

    claim_timeout_s: float = 0.2

    def __post_init__(self) -> None:
        require_positive("shared.breakers.claim_timeout_s", self.claim_timeout_s)


class _Claim:
    """A probe of this process that the store has granted."""

    __slots__ = ("_breaker", "generation", "name")

    def __init__(self, breaker: SharedBreaker, name: str, generation: int) -> None:
        self._breaker = breaker
        self.name = name
        self.generation = generation

    def settle(self, outcome: Outcome) -> None:
        """See `Probe.settle`."""
        self._breaker.settle(self, outcome)


class SharedBreaker:
    """Keeps one breaker and a store of breakers in step.

    Args:
        breaker: this process's own.
        config: how it is shared.
        store: where the others find it.
        link: whether the store can be asked; keeps this up to date.
        make_token: returns a string that no other process makes.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        config: SharedBreakerConfig = SharedBreakerConfig(),
        *,
        store: BreakerStore,
        link: StoreLink,
        make_token: Callable[[], str],
    ) -> None:
        self._breaker = breaker
        self._config = config
        self._store = store
        self._link = link
        self._token = make_token()
        self._claims = 0
        self._number = 0  # the latest that the store told
        self._untold = False  # whether the others have to hear that it is open
        self._probes_elsewhere = False
        self._claim: _Claim | None = None  # of the probe that is under way here
        self._unsettled: tuple[str, ProbeResult] | None = None  # of one that is over, and that they have to hear of
        breaker.share(self)
        link.add(self)

    def close(self) -> None:
        """Leave the breaker to itself: what it guarded is gone."""
        self._breaker.share(None)
        self._link.discard(self)

    def notice(self) -> None:
        """Let the others know soon; see `Peers.notice`."""
        claim = self._claim
        if claim is not None and self._breaker.statistics().generation == claim.generation + 1:
            self._end(claim, ProbeResult.FAILED)  # it failed, or did not come back in time
        else:
            self._untold = True
            self._link.hurry()

    async def agree(self) -> Probe | bool:
        """Claim the probe; see `Peers.agree`."""
        if self._probes_elsewhere and self._link.is_joined:  # the next round tells when that is over
            return False
        self._claims += 1
        name, since, asked = f"{self._token}.{self._claims}", self._since(), False

        async def claim() -> BreakerView:
            nonlocal asked
            await self._tell_of_probe()
            asked = True
            return await self._store.claim(self._breaker.name, name, self._breaker.probe_terms())

        view: BreakerView | Away = AWAY
        try:
            view = await self._link.ask(claim, timeout_s=self._config.claim_timeout_s)
        finally:
            if asked and view is AWAY:
                # The store may hear it yet: one that was frozen goes on with what it was sent.
                self._unsettled = name, ProbeResult.GIVEN_BACK
                self._link.hurry()
        if view is AWAY:
            return True
        if view.probe != name:
            self._learn(view, since)
            return False
        self._number = view.number
        self._claim = _Claim(self, name, since[0])
        return self._claim

    def settle(self, claim: _Claim, outcome: Outcome) -> None:
        """Let the others know how a probe ended; see `Probe.settle`."""
        if claim is not self._claim:
            return  # they know that it did not come back in time
        if outcome is Outcome.IGNORED:
            self._end(claim, ProbeResult.GIVEN_BACK)
        else:
            self._end(claim, ProbeResult.SUCCEEDED if outcome is Outcome.SUCCESS else ProbeResult.FAILED)

    async def refresh(self, *, emptied: bool) -> None:
        """Tell and learn; see `StoreMember.refresh`."""
        del emptied  # its numbers tell, also when this breaker alone was lost
        await self._tell_of_probe()
        since = self._since()
        tells, self._untold = self._untold and self._is_open(), False
        try:
            if tells:
                view = await self._store.open(self._breaker.name, self._breaker.opening())
            else:
                view = await self._store.look(self._breaker.name)
        except BaseException:
            self._untold |= tells
            raise
        self._learn(view, since)

    async def _tell_of_probe(self) -> None:
        unsettled = self._unsettled
        if unsettled is not None:
            name, result = unsettled
            await self._store.settle(self._breaker.name, name, result, self._breaker.probe_terms())
            if self._unsettled is unsettled:
                self._unsettled = None

    def _learn(self, view: BreakerView, since: tuple[int, int]) -> None:
        if since != self._since():
            return  # what is known here is newer
        has_lost_it = view.number < self._number
        self._number = view.number
        self._probes_elsewhere = view.probe is not None and (self._claim is None or view.probe != self._claim.name)
        if has_lost_it and self._is_open():
            self._untold = True
            self._link.hurry()
        else:
            self._breaker.follow(view)

    def _end(self, claim: _Claim, result: ProbeResult) -> None:
        self._claim = None
        self._unsettled = claim.name, result
        self._link.hurry()

    def _since(self) -> tuple[int, int]:
        return self._breaker.statistics().generation, self._number

    def _is_open(self) -> bool:
        return self._breaker.statistics().state in (BreakerState.OPEN, BreakerState.HALF_OPEN)


_: tuple[type[Peers], type[StoreMember], type[Probe]] = (SharedBreaker, SharedBreaker, _Claim)
