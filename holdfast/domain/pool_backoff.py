"""When a pool may create again after a failure.

Responsibility: the pause after failed creations, and the error that caused it.
Guarantees: a pause is never longer than the config allows; failures within a pause do not lengthen it; one success ends
    it.
Not responsible for: sleeping: see `holdfast.domain.pool`.
Source: growth by half as in HikariCP's `PoolEntryCreator`; on the jitter: `holdfast.domain.backoff`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from holdfast.domain.backoff import equal_jitter
from holdfast.domain.pool_config import PoolConfig

__all__ = ["CreationBackoff"]

_GROWTH: Final = 1.5


class CreationBackoff:
    """The pause between creations, none until one fails.

    Attributes:
        error: what the last creation failed with; None since one succeeded.

    Args:
        config: `creation_backoff_s` and `max_creation_backoff_s`.
        random: returns a number in [0, 1); called once for each pause.
    """

    __slots__ = ("_config", "_delay_s", "_random", "_until_s", "error")

    def __init__(self, config: PoolConfig, random: Callable[[], float]) -> None:
        self._config = config
        self._random = random
        self._delay_s = config.creation_backoff_s
        self._until_s = -math.inf
        self.error: Exception | None = None

    def fail(self, error: Exception, now_s: float) -> None:
        """Begin a pause, unless one is on already."""
        self.error = error
        if now_s >= self._until_s:
            self._until_s = now_s + equal_jitter(self._delay_s, self._random())
            self._delay_s = min(self._delay_s * _GROWTH, self._config.max_creation_backoff_s)

    def succeed(self) -> None:
        """End the pause and forget the failures."""
        self._delay_s = self._config.creation_backoff_s
        self._until_s = -math.inf
        self.error = None

    def left_s(self, now_s: float) -> float:
        """Return the seconds until creation may go on; 0.0 when it may."""
        return max(0.0, self._until_s - now_s)
