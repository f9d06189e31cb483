"""When a circuit breaker trips.

Responsibility: judging the settled calls of a closed breaker.
Guarantees: fed only results of the current generation, never a cancellation (`Outcome.IGNORED` does not arrive).
Not responsible for: the state machine, probes and opening times: see `holdfast.domain.circuit_breaker`.
"""

from __future__ import annotations

from typing import Protocol

from holdfast.ports.outcome import Outcome

__all__ = ["TripPolicy"]


class TripPolicy(Protocol):
    """Counts settled calls and says when there were too many failures.

    Ordering: calls arrive in the order they settled; `now_s` never decreases. Atomicity: synchronous; the breaker calls
    it from one event loop only, and owns it alone. Errors: none.
    """

    def record(self, outcome: Outcome, *, now_s: float) -> bool:
        """Count one settled call; return True when the breaker should open now."""
        ...

    def reset(self, *, now_s: float) -> None:
        """Forget every call: a new generation begins."""
        ...
