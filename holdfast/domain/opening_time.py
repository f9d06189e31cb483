"""How long a breaker stays open.

Responsibility: the length of the next opening.
Guarantees: never above `max_open_s`, and always above zero, so that every opening ends by time.
Not responsible for: waiting; a breaker compares the time when it is asked.
Sources: on the jitter: `holdfast.domain.backoff`; forgetting: gRFC A50 and Envoy outlier detection; Retry-After:
    RFC 9110, section 10.2.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from holdfast.domain.backoff import equal_jitter
from holdfast.domain.breaker_config import BreakerConfig
from holdfast.ports.outcome import Verdict

__all__ = ["OpeningTime"]


class OpeningTime:
    """Doubles from one opening to the next, and forgets earlier openings while the breaker is closed.

    Args:
        config: `open_s`, `max_open_s` and `forget_opening_s` are read.
        random: returns a number in [0, 1); called once for each opening, and each plan of one.
    """

    __slots__ = ("_closed_at_s", "_config", "_earlier", "_random")

    def __init__(self, config: BreakerConfig, random: Callable[[], float]) -> None:
        self._config = config
        self._random = random
        self._earlier = 0
        self._closed_at_s: float | None = None

    def reconfigure(self, config: BreakerConfig) -> None:
        """Go by other numbers from the next opening on; what was remembered of earlier ones stays."""
        self._config = config

    def close(self, *, now_s: float) -> None:
        """Begin to forget earlier openings: the breaker closed."""
        self._closed_at_s = now_s

    @property
    def earlier(self) -> int:
        """How many openings lengthen the next, those left out that will be forgotten by then."""
        return self._earlier

    def recall(self, earlier: int, *, closed_at_s: float | None) -> None:
        """Take over what another process remembers.

        Args:
            earlier: how many openings lengthen the next.
            closed_at_s: when the breaker closed; None if it has not.
        """
        self._earlier = earlier
        self._closed_at_s = closed_at_s

    def next_s(self, *, now_s: float, cause: Verdict | None) -> float:
        """Return how many seconds the opening that begins now lasts, and remember it.

        Args:
            now_s: when it begins.
            cause: the verdict that caused it, None when a probe did not come back. It lasts at least as long as the
                peer asked for, unless `max_open_s` is shorter.
        """
        lasts_s, self._earlier = self.plan(now_s=now_s, cause=cause)
        self._closed_at_s = None
        return lasts_s

    def plan(self, *, now_s: float, cause: Verdict | None = None) -> tuple[float, int]:
        """Return how many seconds an opening would last that began now, and how many would lengthen the next then."""
        config, earlier = self._config, self._earlier
        if self._closed_at_s is not None:
            closed_for_s = max(0.0, now_s - self._closed_at_s)  # a clock that is set back brings no opening back
            earlier = max(0, earlier - int(closed_for_s // config.forget_opening_s))
        longest_s = min(config.max_open_s, math.ldexp(config.open_s, earlier))
        if longest_s < config.max_open_s:
            earlier += 1
        uniform = self._random()
        own_s = equal_jitter(longest_s, uniform)
        asked_s = cause.least_delay_s(uniform) if cause is not None else 0.0
        return min(config.max_open_s, max(own_s, asked_s)), earlier
