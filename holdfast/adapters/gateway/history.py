"""How the service has been doing lately, for the charts of the status page.

Responsibility: keep a few figures of the last ten minutes.
Guarantees: bounded; looking at it more often adds nothing, and so costs nothing.
Not responsible for: drawing them: see `holdfast.adapters.gateway.charts`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

import anyio

from holdfast.ports.statistics import Health

__all__ = ["History", "Moment"]

_STEP_S: Final = 5.0
_MOST: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The figures at one moment; None where one is not known."""

    uptime_s: float
    p50_s: float | None
    p99_s: float | None
    answered_per_s: float
    in_flight: int
    waiting: int


class History:
    """The figures of every fifth second, ten minutes back."""

    def __init__(self) -> None:
        self._moments: deque[Moment] = deque(maxlen=_MOST)

    @property
    def moments(self) -> tuple[Moment, ...]:
        """What is known, the oldest first."""
        return tuple(self._moments)

    def observe(self, health: Health) -> None:
        """Keep the figures of `health`, unless some are kept that are less than five seconds older."""
        if self._moments and 0 <= health.uptime_s - self._moments[-1].uptime_s < _STEP_S:
            return
        self._moments.append(
            Moment(
                uptime_s=health.uptime_s,
                p50_s=health.latency.p50_s,
                p99_s=health.latency.p99_s,
                answered_per_s=health.requests.answered_per_s,
                in_flight=health.requests.in_flight,
                waiting=health.admission.waiting,
            )
        )

    async def follow(self, health: Callable[[], Health]) -> NoReturn:
        """Observe for ever; to be started in a task group of whoever serves the page."""
        while True:
            self.observe(health())
            await anyio.sleep(_STEP_S)
