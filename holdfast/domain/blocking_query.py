"""Following something by asking for it over and over.

Responsibility: when to ask again and with which index, and what an answer means: whether anything changed, and whether
    whoever answers is lost or back.
Guarantees: on average no more questions than the rate, beyond one burst, whatever the answers are; each change is told
    once, and what did not change never; what was believed last stays while nobody answers, which is told once when it
    begins and once when it ends; nothing that is raised by asking ends the following.
Not responsible for: what is asked: see `holdfast.ports.registry` and `holdfast.ports.parameters`.
Sources: the client rules at https://developer.hashicorp.com/consul/api-docs/features/blocking ("Implementation
    Details": an index that goes backwards, that is not above zero, and the rate limit).

A question with the index of the last answer waits until there is a newer one; a question with index 0 waits for
nothing, and follows upon each failure.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, NoReturn, Protocol, TypeVar

from holdfast.domain.backoff import Backoff
from holdfast.domain.gcra import Gcra
from holdfast.domain.timeout import Timeout
from holdfast.domain.validation import require_at_least, require_not_below, require_positive
from holdfast.ports.clock import Clock
from holdfast.ports.errors import StoreRefusedError
from holdfast.ports.statistics import QueryStatistics

__all__ = ["BlockingQuery", "QueryConfig", "QueryListener"]

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

_WAIT_ADDED: Final = 1 / 16
"""Consul adds up to so much of the wait to it, so that those who wait do not all wake at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryConfig:
    """How something is followed.

    Args:
        wait_s: seconds that one question waits for a change; above 0. Default 60: Consul's own 300 would let a
            connection that died unnoticed go unnoticed for as long.
        slack_s: seconds that an answer may take beyond that, and beyond the sixteenth that Consul adds; above 0.
            Default 5, unmeasured.
        max_per_s: questions in a second on average; above 0. Default 1.
        burst: questions that may come at once after a quiet time, from 1, so that a few changes in a row are known at
            once. Default 3, unmeasured.
        first_backoff_s: seconds until the next question after one that failed, less up to half by jitter, twice as long
            after each further one; above 0. Default 1, unmeasured.
        max_backoff_s: the longest that it gets, and what it is from the start where we are refused, which somebody has
            to mend. Default 15, unmeasured.

    Raises:
        ConfigurationError: if a value is out of its range.
    """

    wait_s: float = 60.0
    slack_s: float = 5.0
    max_per_s: float = 1.0
    burst: int = 3
    first_backoff_s: float = 1.0
    max_backoff_s: float = 15.0

    def __post_init__(self) -> None:
        require_positive("query.wait_s", self.wait_s)
        require_positive("query.slack_s", self.slack_s)
        require_positive("query.max_per_s", self.max_per_s)
        require_at_least("query.burst", self.burst, 1)
        require_positive("query.first_backoff_s", self.first_backoff_s)
        require_not_below("query.max_backoff_s", self.max_backoff_s, "query.first_backoff_s", self.first_backoff_s)

    @property
    def timeout_s(self) -> float:
        """Seconds after which a question has failed."""
        return self.wait_s * (1 + _WAIT_ADDED) + self.slack_s


class QueryListener(Protocol[T_contra]):
    """Hears what a query finds out. Called synchronously; what it raises ends the following."""

    def changed(self, content: T_contra) -> None:
        """Take `content` for what there is now: the first answer, and each that differs from the one before."""
        ...

    def lost(self, error: Exception) -> None:
        """Take note that nobody answers any more, or never did; what was believed last may be out of date."""
        ...

    def rejoined(self, away_s: float) -> None:
        """Take note of an answer, `away_s` seconds after `lost`; what changed meanwhile is told afterwards."""
        ...


class BlockingQuery(Generic[T]):
    """Follows one thing. For one event loop.

    Args:
        ask: asks for an index greater than the one given and waits for it for so many seconds; returns the index that
            it found, None for one that makes no sense, and the content. Contents are compared with ``==``.
        config: see `QueryConfig`.
        clock: monotonic time.
        random: returns a number in [0, 1).

    Example:
        >>> import anyio
        >>> from holdfast.testing import VirtualClock
        >>> class Screen:
        ...     def changed(self, content: str) -> None:
        ...         print(content)
        ...     def lost(self, error: Exception) -> None: ...
        ...     def rejoined(self, away_s: float) -> None: ...
        >>> async def ask(index: int, wait_s: float) -> tuple[int, str]:
        ...     return 1, "the same each time"
        >>> async def main() -> None:
        ...     query = BlockingQuery(ask, clock=VirtualClock(), random=lambda: 0.5)
        ...     with anyio.move_on_after(0.01):
        ...         await query.follow(Screen())
        >>> anyio.run(main)
        the same each time
    """

    def __init__(
        self,
        ask: Callable[[int, float], Awaitable[tuple[int | None, T]]],
        config: QueryConfig = QueryConfig(),
        *,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._config = config
        self._clock = clock
        self._timeout = Timeout(config.timeout_s)
        self._rate = Gcra(
            per_s=config.max_per_s, burst=float(config.burst), max_debt_s=math.inf, now_s=clock.monotonic_s()
        )
        self._index = 0
        self._content: tuple[T] | None = None
        self._backoff = Backoff(config.first_backoff_s, config.max_backoff_s, random=random)
        self._pause_after_failure_s = 0.0
        self._lost_at_s: float | None = None
        self._asked = self._asking = self._changed = self._unchanged = self._failed = self._reset = 0

    async def follow(self, listener: QueryListener[T]) -> NoReturn:
        """Ask until cancelled, and tell `listener` what comes of it.

        Cancellation: the question is cancelled; following may go on later, from what was known.
        """
        while True:
            await self._clock.sleep(self._pause_s())
            await self._ask_once(listener)

    def statistics(self) -> QueryStatistics:
        """Return whether anybody answers, and what became of every question."""
        return QueryStatistics(
            joined=self._content is not None and self._lost_at_s is None,
            asked=self._asked,
            asking=self._asking,
            changed=self._changed,
            unchanged=self._unchanged,
            failed=self._failed,
            cancelled=self._asked - self._asking - self._changed - self._unchanged - self._failed,
            reset=self._reset,
        )

    def _pause_s(self) -> float:
        # A pause is a length and not a moment, so that a clock that is set back makes none longer.
        return max(self._pause_after_failure_s, self._rate.wait_s(1.0, self._clock.monotonic_s()))

    async def _ask_once(self, listener: QueryListener[T]) -> None:
        now_s = self._clock.monotonic_s()
        self._rate.try_take(self, 1.0, now_s)  # it fits: the pause saw to that
        self._rate.settle(self, 1.0, 1.0, now_s)
        self._asked += 1
        self._asking = 1
        try:
            index, content = await self._timeout.call(lambda: self._ask(self._index, self._config.wait_s))
        except Exception as error:  # noqa: BLE001 - this supervises the asking: it is told of, and asked again
            self._fail(error, listener)
        else:
            self._answer(index, content, listener)
        finally:
            self._asking = 0

    def _fail(self, error: Exception, listener: QueryListener[T]) -> None:
        self._failed += 1
        self._index = 0  # or an index that is refused, being absurd, would be refused for ever
        self._pause_after_failure_s = self._backoff.fail(at_once=isinstance(error, StoreRefusedError))
        if self._lost_at_s is None:
            self._lost_at_s = self._clock.monotonic_s()
            listener.lost(error)

    def _answer(self, index: int | None, content: T, listener: QueryListener[T]) -> None:
        self._backoff.succeed()
        self._pause_after_failure_s = 0.0
        self._index = self._following(index)
        is_new = self._content is None or self._content[0] != content
        self._content = (content,)
        self._changed += is_new
        self._unchanged += not is_new
        lost_at_s, self._lost_at_s = self._lost_at_s, None
        if lost_at_s is not None:
            listener.rejoined(max(0.0, self._clock.monotonic_s() - lost_at_s))
        if is_new:
            listener.changed(content)

    def _following(self, index: int | None) -> int:
        """Return the index to ask with next."""
        if index is None or index < 1:
            return 1  # which waits wherever there is anything to wait for; 0 never would
        if index < self._index:
            # Its history is another one now: nothing there may ever get beyond ours.
            self._reset += 1
            return 0
        return index
