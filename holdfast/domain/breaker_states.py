"""The states of a circuit breaker, one small class each.

Responsibility: whether a call is admitted in this state, and where a settled call or the passing of time leads.
Guarantees: nothing here reads a clock or changes the breaker; each decision is returned as a `Move`.
Not responsible for: generations, permits and totals: see `holdfast.domain.circuit_breaker`.
Source: failsafe-go, `circuitbreaker/circuitstates.go`; a probe that never returns: resilience4j issue 903.
"""

from __future__ import annotations

import enum
import math
from typing import ClassVar

from holdfast.domain.breaker_config import BreakerConfig
from holdfast.ports.events import BreakerClosed, BreakerHalfOpened, BreakerOpened, Event
from holdfast.ports.outcome import Outcome
from holdfast.ports.statistics import BreakerState
from holdfast.ports.trip import TripPolicy

__all__ = ["Closed", "Disabled", "ForcedOpen", "HalfOpen", "MetricsOnly", "Move", "Open", "State"]


class Move(enum.Enum):
    """What a state says that the breaker should do."""

    STAY = enum.auto()
    OPEN = enum.auto()
    HALF_OPEN = enum.auto()
    CLOSE = enum.auto()
    NOTE_OPENING = enum.auto()
    """Count that it would have opened, and stay."""


class State:
    """A state that admits every call, learns nothing from it and lasts until it is left; the others differ from it."""

    __slots__ = ("ends_at_s",)

    name: ClassVar[BreakerState]
    move_at_end: ClassVar[Move] = Move.STAY

    def __init__(self, *, ends_at_s: float = math.inf) -> None:
        self.ends_at_s = ends_at_s

    def admit(self, now_s: float) -> bool:
        """Return whether a call may begin now, and take note of it."""
        del now_s
        return True

    def retry_after_s(self, now_s: float) -> float | None:
        """Return the seconds after which a refused call has a chance, or None when that is not known."""
        del now_s
        return None

    def settle(self, outcome: Outcome, *, now_s: float, error: Exception | None) -> Move:
        """Learn how a call that began in this state ended, and say where that leads."""
        del outcome, now_s, error
        return Move.STAY

    def give_back(self) -> None:
        """Undo what `admit` noted: a call that began in this state ended and says nothing about the peer."""

    def told_as(self, breaker: str, *, now_s: float) -> Event:
        """Return what to tell of a breaker that enters this state now; the same of states that admit the same calls."""
        del now_s
        return BreakerClosed(breaker=breaker)


class Disabled(State):
    """Admits every call and judges none."""

    __slots__ = ()
    name = BreakerState.DISABLED


class ForcedOpen(State):
    """Admits no call."""

    __slots__ = ()
    name = BreakerState.FORCED_OPEN

    def admit(self, now_s: float) -> bool:
        """Refuse."""
        del now_s
        return False

    def told_as(self, breaker: str, *, now_s: float) -> Event:
        """Tell an opening that has no end of its own."""
        del now_s
        return BreakerOpened(breaker=breaker, open_s=None)


class Closed(State):
    """Admits every call until the trip policy has seen enough."""

    __slots__ = ("_trip_policy",)
    name = BreakerState.CLOSED

    def __init__(self, trip_policy: TripPolicy, *, now_s: float) -> None:
        super().__init__()
        self._trip_policy = trip_policy
        trip_policy.reset(now_s=now_s)

    def settle(self, outcome: Outcome, *, now_s: float, error: Exception | None) -> Move:
        """Ask the trip policy."""
        return Move.OPEN if self._trip_policy.record(outcome, now_s=now_s, error=error) else Move.STAY


class MetricsOnly(Closed):
    """Admits every call, and says when a closed breaker would have opened."""

    __slots__ = ()
    name = BreakerState.METRICS_ONLY

    def settle(self, outcome: Outcome, *, now_s: float, error: Exception | None) -> Move:
        """Ask the trip policy, and let it begin anew where the breaker would have opened."""
        if super().settle(outcome, now_s=now_s, error=error) is Move.STAY:
            return Move.STAY
        self._trip_policy.reset(now_s=now_s)
        return Move.NOTE_OPENING


class Open(State):
    """Admits no call until its time is over."""

    __slots__ = ()
    name = BreakerState.OPEN
    move_at_end = Move.HALF_OPEN

    def admit(self, now_s: float) -> bool:
        """Refuse."""
        del now_s
        return False

    def retry_after_s(self, now_s: float) -> float | None:
        """Return how long it will stay open, 0.0 if that ended since the call was refused."""
        return max(0.0, self.ends_at_s - now_s)

    def told_as(self, breaker: str, *, now_s: float) -> Event:
        """Tell how long it will stay open."""
        return BreakerOpened(breaker=breaker, open_s=self.ends_at_s - now_s)


class HalfOpen(State):
    """Admits one probe at a time, until enough have succeeded, too many have failed, or one has not come back.

    Only a probe that is under way can end it by time. Without one the next caller is admitted anyway, and a clock that
    ran regardless would send a backend with little traffic from half-open to open for ever.
    """

    __slots__ = ("_failures_allowed", "_probing", "_successes_needed", "_timeout_s")
    name = BreakerState.HALF_OPEN
    move_at_end = Move.OPEN

    def __init__(self, config: BreakerConfig) -> None:
        super().__init__()
        self._timeout_s = config.probe_timeout_s
        self._successes_needed = config.probe_successes
        self._failures_allowed = config.probe_calls - config.probe_successes
        self._probing = False

    def admit(self, now_s: float) -> bool:
        """Admit a probe if none is under way."""
        if self._probing:
            return False
        self._probing = True
        self.ends_at_s = now_s + self._timeout_s
        return True

    def settle(self, outcome: Outcome, *, now_s: float, error: Exception | None) -> Move:
        """Close at the last success needed; open as soon as too few can still follow."""
        del now_s, error
        self.give_back()
        if outcome is Outcome.SUCCESS:
            self._successes_needed -= 1
            return Move.STAY if self._successes_needed else Move.CLOSE
        self._failures_allowed -= 1
        return Move.OPEN if self._failures_allowed < 0 else Move.STAY

    def give_back(self) -> None:
        """Let the next caller be the probe."""
        self._probing = False
        self.ends_at_s = math.inf

    def told_as(self, breaker: str, *, now_s: float) -> Event:
        """Tell that probes are let through."""
        del now_s
        return BreakerHalfOpened(breaker=breaker)
