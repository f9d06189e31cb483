"""Whom a circuit breaker asks before a probe, where several processes share it.

Responsibility: what `holdfast.domain.circuit_breaker` sees of the other processes.
Guarantees: none of its own.
Not responsible for: how they are reached: see `holdfast.domain.shared_breaker`.
"""

from __future__ import annotations

from typing import Protocol

from holdfast.ports.outcome import Outcome

__all__ = ["Peers", "Probe"]


class Probe(Protocol):
    """A probe that the other processes have agreed to."""

    def settle(self, outcome: Outcome) -> None:
        """Let them know how it ended; IGNORED gives it back."""
        ...


class Peers(Protocol):
    """The other processes that guard calls to the same peer."""

    async def agree(self) -> Probe | bool:
        """Return the probe that they agree to; True if they cannot be asked, False if they do not agree.

        Cancellation: what they may have agreed to is given back.
        """
        ...

    def notice(self) -> None:
        """Hear that the breaker opened of itself."""
        ...
