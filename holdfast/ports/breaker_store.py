"""What processes that call the same peer know of it together.

Responsibility: the port behind which the circuit breakers of several processes are kept.
Guarantees: every value is frozen.
Not responsible for: the rules that every store follows: see `holdfast.ports.breaker_record`; when to trip, and going on
    without the store: see `holdfast.domain.shared_breaker`.

Only durations go in and out. The store's own clock says what they mean, so that a process whose clock is wrong differs
in nothing from the others.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from holdfast.ports.statistics import BreakerState

__all__ = ["BreakerStore", "BreakerView", "Opening", "ProbeResult", "ProbeTerms"]


class ProbeResult(enum.StrEnum):
    """How a claimed probe ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    GIVEN_BACK = "given_back"
    """It says nothing about the peer, or never began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How long a breaker is open.

    Args:
        lasts_s: seconds from now.
        earlier: how many openings, this one included, lengthen the next.
    """

    lasts_s: float
    earlier: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTerms:
    """What a probe is for.

    Args:
        lease_s: seconds after which a probe that has not settled is over, and the breaker open again.
        successes: how many probes have to succeed until it closes.
        failures_allowed: how many may fail until then; one more opens it again.
        reopening: what it is then.
    """

    lease_s: float
    successes: int
    failures_allowed: int
    reopening: Opening


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerView:
    """What the store knows of one breaker at this moment.

    Args:
        number: grows with each change of state and each claim, also over a loss of everything; 0 if nothing is known.
        state: closed, open or half-open.
        lasts_s: seconds that an open one stays so; else 0.
        closed_s: seconds since a closed one closed, None if it never was anything else.
        earlier: how many openings lengthen the next.
        probe: the claim of the probe that is under way.
    """

    number: int = 0
    state: BreakerState = BreakerState.CLOSED
    lasts_s: float = 0.0
    closed_s: float | None = None
    earlier: int = 0
    probe: str | None = None


class BreakerStore(Protocol):
    """Keeps one breaker for each name.

    Ordering and atomicity: each call is one change, made at one moment of the store's clock, and seen by all that come
    later. Duplication: what is asked for twice is made once: an opening within an opening lasts until the later end, a
    probe is claimed again by its own claim only, and a settled claim settles nothing more. Loss: a store that loses
    what it kept answers that nothing is known. Cancellation: the change is made whole, or not. Errors:
    `StoreUnavailableError` and `StoreRefusedError`. Rule: `BreakerRecord` is what to keep for each name, and makes
    every change; a store that cannot call it does the same, to the microsecond.
    """

    async def look(self, name: str) -> BreakerView:
        """Return what is known, and change nothing."""
        ...

    async def open(self, name: str, opening: Opening) -> BreakerView:
        """Open it from now on, whatever it was; one that is open stays so until the later end."""
        ...

    async def claim(self, name: str, probe: str, terms: ProbeTerms) -> BreakerView:
        """Claim the one probe of a half-open breaker; it is granted if the view then names `probe`.

        Args:
            name: of the breaker.
            probe: the claim, as nobody else calls one of theirs; whoever asks chooses it, and so can give it back
                without having heard the answer.
            terms: under which it is made.
        """
        ...

    async def settle(self, name: str, probe: str, result: ProbeResult, terms: ProbeTerms) -> BreakerView:
        """Say how a probe ended; a claim that is not the one under way changes nothing."""
        ...
