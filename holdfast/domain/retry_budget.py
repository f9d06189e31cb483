"""How much of a backend's load may be retries.

Responsibility: say whether a retry may be made, from what its backend is asked in all.
Guarantees: the tokens spent in a window are at most `token_ratio` of the requests that ended their first attempt in it,
    or `min_retries`, over all processes where the budget is shared; until something succeeds, they are at most
    `token_ratio` of all requests and `min_retries` more, however long that takes; when a retry begins, those in flight
    are at most `in_flight_ratio` of all attempts in flight, or `min_retries`; a permit settles once; nothing waits; a
    clock that goes back frees nothing.
Not responsible for: whether a retry can help, and when it is due (`holdfast.ports.retry.RetryStrategy`), and the loop
    around both (`holdfast.domain.retry`).

There are two rules because each alone lets a storm through (adr/0012): tokens bound how many retries there are, the
share bounds how many there are at once.

They are asked at two moments. The token is taken when a retry is decided on, so that whoever gets none is told at once
rather than after a pause. The place in flight is taken when the retried attempt begins: a retry that sleeps, for a
minute perhaps because its peer asked for that, puts no load on anybody and must not keep others from being retried. The
price is that a retry can still be turned away after its pause; its token is then given back.

A request earns when its first attempt has ended, unless that end is to be ignored. So cancelled callers and our own
refusals earn nothing, and a backend that takes longer than the window to fail is still retried. Retries beyond what was
earned, for a backend that is seldom asked, come from a reserve that only a success fills again: filled by time, it
would let a backend that is slow and down be called half as often again. A retry that is cancelled gives its place back,
and its token too if it has not begun; once it has, the backend was called, and a token given back would let a storm of
cancellations buy calls without bound.

Sources: tokens: Finagle `RetryBudget`, https://twitter.github.io/finagle/guide/Clients.html#retries; the share: Envoy
    `retry_budget`, https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/circuit_breaker.proto; one for
    each server, and a reserve that successes fill: gRFC A6, "Throttling Retry Attempts and Hedged RPCs",
    https://github.com/grpc/proposal/blob/master/A6-client-retries.md.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from holdfast.domain.validation import require_at_least, require_positive, require_ratio
from holdfast.ports.budget_store import BudgetPart
from holdfast.ports.clock import Clock
from holdfast.ports.outcome import Outcome
from holdfast.ports.statistics import RetryBudgetStatistics

__all__ = ["EarnedTokens", "RetryBudget", "RetryBudgetConfig", "RetryPermit"]

_BUCKETS: Final = 10  # as many as Finagle's; the window is exact to a tenth of its length


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudgetConfig:
    """How many retries a backend gets.

    Args:
        in_flight_ratio: share of the attempts in flight that may be retries, above 0 and at most 1. Default 0.2, as
            Envoy's `budget_percent`.
        token_ratio: tokens, each worth one retry, that a request earns, above 0 and at most 1. Default 0.2, as
            Finagle's `percentCanRetry`.
        window_s: seconds after which what was earned and spent is forgotten. Default 10, as Finagle's `ttl`.
        min_retries: retries that are allowed however little else there is, so that a backend that is seldom asked is
            retried too: in flight, within one window, and in a row without a success. From 0. Default 3, as Envoy's
            `min_retry_concurrency`; as a reserve of tokens unmeasured.

    Raises:
        ConfigurationError: if a value is out of its range.
    """

    in_flight_ratio: float = 0.2
    token_ratio: float = 0.2
    window_s: float = 10.0
    min_retries: int = 3

    def __post_init__(self) -> None:
        require_ratio("retry_budget.in_flight_ratio", self.in_flight_ratio)
        require_ratio("retry_budget.token_ratio", self.token_ratio)
        require_positive("retry_budget.window_s", self.window_s)
        require_at_least("retry_budget.min_retries", self.min_retries, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarnedTokens:
    """What one process knows of a budget, to be told to others.

    Args:
        ratio: tokens that a request earns.
        requests: that earned, in the window.
        spent: tokens, in the window.
        requests_ever: that earned since the budget was made.
        spent_ever: tokens, likewise.
    """

    ratio: float
    requests: int
    spent: int
    requests_ever: int
    spent_ever: int


class RetryBudget:
    """Bounds the retries of all callers of one backend. For one event loop.

    Args:
        config: how many there may be.
        clock: monotonic time.

    Example:
        >>> from holdfast.testing import ManualClock
        >>> budget = RetryBudget(RetryBudgetConfig(min_retries=1), clock=ManualClock())
        >>> budget.begin().settle(Outcome.FAILURE)
        >>> retry = budget.try_spend()
        >>> budget.try_spend() is None
        True
        >>> retry.try_begin(), budget.statistics().retries_in_flight
        (True, 1)
        >>> retry.settle(Outcome.SUCCESS)
        >>> budget.statistics().retries_in_flight
        0
    """

    __slots__ = ("__weakref__", "_account")

    def __init__(self, config: RetryBudgetConfig = RetryBudgetConfig(), *, clock: Clock) -> None:
        self._account = _Account(config, clock)

    def begin(self) -> RetryPermit:
        """Return the permit of a first attempt, which begins now and is never refused; settle it in every case."""
        self._account.first_attempts += 1
        return RetryPermit(self._account, _Place.FIRST)

    def try_spend(self) -> RetryPermit | None:
        """Return a permit for one retry, or None if no token is left.

        The permit holds no place in flight until `RetryPermit.try_begin`; settle it in every case.
        """
        account = self._account
        account.asked += 1
        token = account.tokens.try_spend()
        if token is None:
            account.without_token += 1
            return None
        account.waiting += 1
        return RetryPermit(account, token)

    def earned(self) -> EarnedTokens:
        """Return what others who share this budget have to know."""
        return self._account.tokens.earned()

    def adopt(self, part: BudgetPart, told: EarnedTokens, *, until_s: float) -> None:
        """Go by this part of what all processes have left, and by what is earned and spent here from now on.

        Args:
            part: what the store gave for what it was told.
            told: that.
            until_s: when this process goes by its own numbers again, if it hears nothing more.
        """
        self._account.tokens.adopt(part, told, until_s=until_s)

    def statistics(self) -> RetryBudgetStatistics:
        """Return what is in flight, what is left, and what became of every retry that was asked for."""
        account = self._account
        return RetryBudgetStatistics(
            in_flight=account.first_attempts + account.retries,
            retries_in_flight=account.retries,
            waiting=account.waiting,
            tokens=sum(account.tokens.left()),
            asked=account.asked,
            without_token=account.without_token,
            without_room=account.without_room,
            abandoned=account.abandoned,
            retried=account.retried,
        )


class RetryPermit:
    """One attempt, as its budget sees it; made by `RetryBudget` only."""

    __slots__ = ("_account", "_holds")

    def __init__(self, account: _Account, holds: _Token | _Place) -> None:
        self._account = account
        self._holds: _Token | _Place | None = holds

    def try_begin(self) -> bool:
        """Take a place in flight for a retry that is due, and return whether there was one.

        If there was none, the permit is settled and its token is back. A permit that waits for no place changes
        nothing.
        """
        token, account = self._holds, self._account
        if not isinstance(token, _Token):
            return False
        account.waiting -= 1
        if not account.has_room_for_a_retry():
            account.without_room += 1
            account.tokens.give_back(token)
            self._holds = None
            return False
        account.retries += 1
        self._holds = _Place.RETRY
        return True

    def settle(self, outcome: Outcome | None) -> None:
        """Give back what the permit holds; once it holds nothing, this changes nothing.

        Args:
            outcome: how the attempt ended; None if it was cancelled, or has not begun.
        """
        holds, account = self._holds, self._account
        self._holds = None
        if holds is _Place.FIRST:
            account.first_attempts -= 1
            if outcome is Outcome.SUCCESS:
                account.tokens.earn(succeeded=True)
            elif outcome is not None and outcome is not Outcome.IGNORED:
                account.tokens.earn(succeeded=False)
        elif holds is _Place.RETRY:
            account.retries -= 1
            account.retried += 1
            if outcome is Outcome.SUCCESS:
                account.tokens.fill_reserve()
        elif holds is not None:
            account.waiting -= 1
            account.abandoned += 1
            account.tokens.give_back(holds)


class _Place(enum.Enum):
    FIRST = enum.auto()
    RETRY = enum.auto()


class _Account:
    """What the permits of one budget share."""

    __slots__ = (
        "_config",
        "abandoned",
        "asked",
        "first_attempts",
        "retried",
        "retries",
        "tokens",
        "waiting",
        "without_room",
        "without_token",
    )

    def __init__(self, config: RetryBudgetConfig, clock: Clock) -> None:
        self._config = config
        self.tokens = _TokenWindow(config, clock)
        self.first_attempts = self.retries = self.waiting = 0
        self.asked = self.without_token = self.without_room = self.abandoned = self.retried = 0

    def has_room_for_a_retry(self) -> bool:
        in_flight = self.first_attempts + self.retries + 1
        return self.retries + 1 <= max(self._config.min_retries, self._config.in_flight_ratio * in_flight)


class _Bucket:
    """One part of the window: requests that earned, and tokens that were spent."""

    __slots__ = ("number", "requests", "spent")

    def __init__(self, number: float) -> None:
        self.number = number
        self.requests = 0
        self.spent = 0


@dataclass(frozen=True, slots=True)
class _Token:
    bucket: _Bucket
    reserved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    part: BudgetPart
    told: EarnedTokens
    until_s: float


class _TokenWindow:
    """What the last `window_s` seconds earned and spent, and the reserve; the oldest part is forgotten as a whole.

    Earned and spent are forgotten together, or what a request earned could be spent twice.
    """

    __slots__ = (
        "_bucket_s",
        "_buckets",
        "_min_retries",
        "_newest",
        "_newest_ends_s",
        "_now_s",
        "_part",
        "_ratio",
        "_requests_ever",
        "_reserve",
        "_spent_ever",
    )

    def __init__(self, config: RetryBudgetConfig, clock: Clock) -> None:
        self._ratio = config.token_ratio
        self._min_retries = self._reserve = config.min_retries
        self._now_s = clock.monotonic_s
        self._bucket_s = config.window_s / _BUCKETS
        self._buckets: deque[_Bucket] = deque()
        self._newest = _Bucket(-math.inf)
        self._newest_ends_s = -math.inf
        self._requests_ever = self._spent_ever = 0
        self._part: _Part | None = None

    def earned(self) -> EarnedTokens:
        self._slide()
        return EarnedTokens(
            ratio=self._ratio,
            requests=sum(bucket.requests for bucket in self._buckets),
            spent=sum(bucket.spent for bucket in self._buckets),
            requests_ever=self._requests_ever,
            spent_ever=self._spent_ever,
        )

    def adopt(self, part: BudgetPart, told: EarnedTokens, *, until_s: float) -> None:
        self._part = _Part(part=part, told=told, until_s=until_s)

    def earn(self, *, succeeded: bool) -> None:
        if (now_s := self._now_s()) >= self._newest_ends_s:
            self._slide_to(now_s)
        self._newest.requests += 1
        self._requests_ever += 1
        if succeeded:
            self._reserve = self._min_retries

    def fill_reserve(self) -> None:
        self._reserve = self._min_retries

    def left(self) -> tuple[int, int]:
        """Return how many tokens may be spent of those earned, and then of the reserve."""
        now_s = self._slide()
        # Added up here rather than kept: this is asked about failures only, and there are few parts.
        earned = int(self._ratio * sum(bucket.requests for bucket in self._buckets))
        spent = sum(bucket.spent for bucket in self._buckets)
        reserve = self._reserve
        unspent = earned - spent
        if self._part is not None and now_s <= self._part.until_s:
            part, told = self._part.part, self._part.told
            since = self._ratio * (self._requests_ever - told.requests_ever)
            unspent = int(part.tokens + since) - (self._spent_ever - told.spent_ever)
            # Of the reserve an equal part is this process's own, and one at least.
            reserve -= self._min_retries - math.ceil(self._min_retries / part.processes)
        below_minimum = max(0, self._min_retries - max(earned, spent, unspent))
        return max(0, unspent), max(0, min(reserve, below_minimum))

    def try_spend(self) -> _Token | None:
        earned, reserved = self.left()
        if not earned:
            if not reserved:
                return None
            self._reserve -= 1
        self._newest.spent += 1
        self._spent_ever += 1
        return _Token(self._newest, reserved=not earned)

    def give_back(self, token: _Token) -> None:
        token.bucket.spent -= 1
        self._spent_ever -= 1
        if token.reserved:
            self._reserve = min(self._reserve + 1, self._min_retries)

    def _slide(self) -> float:
        if (now_s := self._now_s()) >= self._newest_ends_s:
            self._slide_to(now_s)
        return now_s

    def _slide_to(self, now_s: float) -> None:
        number = now_s // self._bucket_s
        self._newest = _Bucket(number)
        # Rounding may put the end of the part at the very moment in which it is opened.
        self._newest_ends_s = max((number + 1) * self._bucket_s, math.nextafter(now_s, math.inf))
        self._buckets.append(self._newest)
        while self._buckets[0].number <= number - _BUCKETS:
            self._buckets.popleft()
