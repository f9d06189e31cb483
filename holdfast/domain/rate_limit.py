"""How much a peer or a tenant gets in a minute.

Responsibility: grant or refuse a reservation of one request and its tokens, at once, and settle it with what was used.
Guarantees: of requests and of tokens never more in any window than ``burst + rate x window``, refunds included, over
    all processes where the limit is shared; what a call uses beyond its reservation is paid off before anything else is
    let through; both quantities are taken, or neither; a reservation ends exactly once; nothing waits, so nobody is
    held up while holding something; no hint of a peer and no step of the clock stops the limit for longer than its
    configured bounds.
Not responsible for: how many tokens to reserve (`holdfast.domain.token_estimate`), how a call ended
    (`holdfast.domain.metered_call`), the arithmetic (`holdfast.domain.gcra`, and `holdfast.domain.shared_rates` where
    it is shared).

A refusal says when to come back instead of waiting: whoever waits here would hold what it took further out, a breaker's
permit or an admission slot, and the caller can do something better, which is to ask another backend.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

from holdfast.domain.gcra import SLACK_S, Gcra
from holdfast.domain.rate_limit_config import RateLimitConfig
from holdfast.domain.shared_rates import SharedRate, SharedRates
from holdfast.ports.clock import Clock
from holdfast.ports.errors import RateLimitedError
from holdfast.ports.events import EventSink, RateLimited, RateLimitPaused
from holdfast.ports.statistics import RateLimitStatistics

__all__ = ["RateLimit", "RateLimitConfig", "RateLimitCounts", "Reservation"]

_MINUTE_S: Final = 60.0
_Quantity: TypeAlias = Gcra | SharedRate


class RateLimitCounts:
    """What became of the reservations of one limit, or of several that share it."""

    __slots__ = ("cancelled", "granted", "refused", "settled", "tokens_used")

    def __init__(self) -> None:
        self.granted = self.refused = self.settled = self.cancelled = self.tokens_used = 0

    @property
    def asked(self) -> int:
        """Reservations asked for."""
        return self.granted + self.refused

    @property
    def reserved(self) -> int:
        """Reservations that are open."""
        return self.granted - self.settled - self.cancelled


class RateLimit:
    """Bounds the requests and the tokens of one peer or one tenant. For one event loop.

    Args:
        scope: whose limit it is, as errors and events say: ``backend 'a'``.
        config: how much gets through.
        clock: monotonic time.
        events: hears of refusals and pauses.
        counts: where to count; None for counts of its own.
        shared: with which other processes it is shared, under `scope`; None for a limit of this process alone.

    Example:
        >>> from holdfast.testing import ManualClock
        >>> clock = ManualClock()
        >>> limit = RateLimit("backend 'a'", RateLimitConfig(tokens_per_minute=600), clock=clock)
        >>> limit.reserve(500).settle(100)
        >>> try:
        ...     limit.reserve(510)
        ... except RateLimitedError as error:
        ...     print(error)
        the limit of backend 'a' on tokens is reached; send less; try again in 1 s
        >>> clock.advance(1.0)
        >>> limit.reserve(510).cancel()
    """

    __slots__ = ("_books", "_config", "_events", "_paused_until_s", "_scope")

    def __init__(
        self,
        scope: str,
        config: RateLimitConfig,
        *,
        clock: Clock,
        events: EventSink | None = None,
        counts: RateLimitCounts | None = None,
        shared: SharedRates | None = None,
    ) -> None:
        self._scope = scope
        self._config = config
        self._events = events
        self._books = _Books(scope, config, clock, RateLimitCounts() if counts is None else counts, shared)
        self._paused_until_s: float | None = None

    def reserve(self, tokens: int) -> Reservation:
        """Return the right to one call of about `tokens` tokens, from 0; settle or cancel it in every case.

        Raises:
            RateLimitedError: at once, if requests or tokens are used up or the peer asked for a pause; `retry_after_s`
                is when it would fit if nothing else came. It is None if `tokens` exceeds the burst, which no waiting
                can change, or one request does what is left of a burst below 2 that other processes share.

        Complexity: O(1), amortised over the reservations that are open.
        """
        books = self._books
        now_s = books.now_s()
        if self._paused_until_s is None or not self._pause_left_s(now_s):
            reservation = Reservation(books, tokens)
            if books.requests is None or books.requests.try_take(reservation, 1, now_s):
                if books.tokens is None or books.tokens.try_take(reservation, tokens, now_s):
                    books.open += 1
                    books.counts.granted += 1
                    return reservation
                if books.requests is not None:
                    books.requests.settle(reservation, 1, 0, now_s)
        raise self._refusal(tokens, now_s)

    def pause(self, retry_after_s: float) -> None:
        """Let nothing through for `retry_after_s` seconds, at most `max_pause_s`, because the peer asked for it.

        A pause that ends before one under way, and a number that is none, change nothing.
        """
        now_s = self._books.now_s()
        pause_s = min(retry_after_s, self._config.max_pause_s)
        if not pause_s > self._pause_left_s(now_s):  # worded so that it holds for NaN
            return
        self._paused_until_s = now_s + pause_s
        if self._events is not None:
            self._events.emit(RateLimitPaused(scope=self._scope, pause_s=pause_s))

    def reconfigure(self, config: RateLimitConfig) -> None:
        """Let so much through from now on; what was taken is paid off at the new rate, and a pause goes on."""
        self._config = config
        self._books.reconfigure(config)

    def idle_in_s(self) -> float | None:
        """Return the seconds until the limit is as good as new, 0.0 for now; None while a reservation is open."""
        if self._books.open:
            return None
        now_s = self._books.now_s()
        return max(
            self._pause_left_s(now_s),
            *(gcra.paid_off_in_s(now_s) for gcra in (self._books.requests, self._books.tokens) if gcra is not None),
        )

    def statistics(self) -> RateLimitStatistics:
        """Return what is left now, and what became of every reservation that was asked for."""
        now_s = self._books.now_s()
        requests, tokens, counts = self._books.requests, self._books.tokens, self._books.counts
        return RateLimitStatistics(
            asked=counts.asked,
            refused=counts.refused,
            reserved=counts.reserved,
            settled=counts.settled,
            cancelled=counts.cancelled,
            tokens_used=counts.tokens_used,
            requests_left=None if requests is None else requests.left(now_s),
            tokens_left=None if tokens is None else tokens.left(now_s),
            pause_left_s=self._pause_left_s(now_s),
        )

    def _pause_left_s(self, now_s: float) -> float:
        if self._paused_until_s is None:
            return 0.0
        left_s = self._paused_until_s - now_s
        if left_s > self._config.max_pause_s:  # the clock stepped back
            left_s = self._config.max_pause_s
            self._paused_until_s = now_s + left_s
        elif left_s <= SLACK_S:
            self._paused_until_s = None
            left_s = 0.0
        return left_s

    def _refusal(self, tokens: int, now_s: float) -> RateLimitedError:
        books, most = self._books, None
        books.counts.refused += 1
        wait_s, quantity = self._pause_left_s(now_s), "pause"
        if books.requests is not None:
            wait_s, quantity = max((wait_s, quantity), (books.requests.wait_s(1, now_s), "requests"))
        if books.tokens is not None:
            wait_s, quantity = max((wait_s, quantity), (books.tokens.wait_s(tokens, now_s), "tokens"))
            if tokens > books.tokens.burst:
                most = books.tokens.burst
        retry_after_s = wait_s if wait_s < math.inf else None
        if self._events is not None:
            self._events.emit(RateLimited(scope=self._scope, quantity=quantity, retry_after_s=retry_after_s))
        return RateLimitedError(scope=self._scope, quantity=quantity, retry_after_s=retry_after_s, most=most)


class Reservation:
    """The right to one call, made by `RateLimit.reserve` only. It ends once; saying so again changes nothing."""

    __slots__ = ("_books", "_tokens")

    def __init__(self, books: _Books, tokens: int) -> None:
        self._books: _Books | None = books
        self._tokens = tokens

    def settle(self, tokens_used: int) -> None:
        """Say that the call was made and took `tokens_used` tokens: less than reserved is given back, more is a debt.

        Args:
            tokens_used: read and written; below 0 counts as 0.
        """
        books, self._books = self._books, None
        if books is not None:
            counts = books.counts
            counts.settled += 1
            if tokens_used > 0:
                counts.tokens_used += tokens_used
            books.end(self, self._tokens, 1, tokens_used)

    def cancel(self) -> None:
        """Give back the request and its tokens, because the call was not made or is not to count.

        What has been paid off since they were reserved is there again already.
        """
        books, self._books = self._books, None
        if books is not None:
            books.counts.cancelled += 1
            books.end(self, self._tokens, 0, 0)


class _Books:
    """The quantities of one limit, and what was counted."""

    __slots__ = ("_scope", "_shared", "counts", "now_s", "open", "requests", "tokens")

    def __init__(
        self, scope: str, config: RateLimitConfig, clock: Clock, counts: RateLimitCounts, shared: SharedRates | None
    ) -> None:
        self._scope = scope
        self._shared = shared
        self.now_s = clock.monotonic_s
        self.counts = counts
        self.open = 0
        self.requests: _Quantity | None = None
        self.tokens: _Quantity | None = None
        self.reconfigure(config)

    def reconfigure(self, config: RateLimitConfig) -> None:
        debt_s = config.max_debt_s
        self.requests = self._tuned(
            self.requests, "requests", config.requests_per_minute, config.most_requests, max_debt_s=debt_s
        )
        self.tokens = self._tuned(
            self.tokens, "tokens", config.tokens_per_minute, config.most_tokens, max_debt_s=debt_s
        )

    def _tuned(
        self,
        before: _Quantity | None,
        name: str,
        per_minute: float | None,
        most: float | None,
        *,
        max_debt_s: float,
    ) -> _Quantity | None:
        if per_minute is None or most is None:
            return None
        per_s, now_s = per_minute / _MINUTE_S, self.now_s()
        if before is None:
            if self._shared is None:
                return Gcra(per_s=per_s, burst=most, max_debt_s=max_debt_s, now_s=now_s)
            # A request is one whatever becomes of it; what it takes of tokens is known when it ends.
            return self._shared.limit(
                f"{name} of {self._scope}", per_s=per_s, burst=most, max_debt_s=max_debt_s, holds=name == "tokens"
            )
        before.retune(per_s=per_s, burst=most, max_debt_s=max_debt_s, now_s=now_s)
        return before

    def end(self, reservation: Reservation, tokens: int, requests_used: int, tokens_used: int) -> None:
        now_s = self.now_s()
        if self.requests is not None:
            self.requests.settle(reservation, 1, requests_used, now_s)
        if self.tokens is not None:
            self.tokens.settle(reservation, tokens, tokens_used, now_s)
        self.open -= 1
