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

    FAILURE and REJECTED_BY_PEER count against the peer, SUCCESS for it; what SLOW means is the policy's choice.
    Ordering: calls arrive in the order they settled; `now_s` never decreases. Atomicity: synchronous; the breaker calls
    it from one event loop only, owns it alone, and is never called back by it. Errors: none; a breaker settles while
    its caller's own result or error is on its way out, and nothing may take that one's place.
    """

    def record(self, outcome: Outcome, *, now_s: float, error: Exception | None = None) -> bool:
        """Count one settled call; return True when the breaker should open now.

        Args:
            outcome: how the call ended.
            now_s: when it ended, on the breaker's clock.
            error: what it raised, if it is known; left exactly as it was, its traceback included.
        """
        ...

    def reset(self, *, now_s: float) -> None:
        """Forget every call: a new generation begins."""
        ...
