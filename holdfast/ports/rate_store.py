"""Rate limits that several processes share.

Responsibility: what a process tells of a limit and is given of it, the rules by which it is given, and where that is
    decided.
Guarantees: every value is frozen; the rules are pure, so that each store can be held to them.
Not responsible for: deciding about a request: see `holdfast.domain.shared_rates`, which does so without asking.

A limit is a level that drains at its rate, as in `holdfast.domain.gcra`. What processes hold and may still use stands
in the level beside what was used, and does not drain: whenever it is used, it was paid for. So whatever the processes
do, and however late they tell, what is used in any window is at most ``burst + rate x window``.

A process that has not told of a limit lately counts as holding its share of it, so that a tenant's first request there
has something to draw on. The shares of all processes together are never more than half of a burst. Of a limit that some
have told of, the parts of all others are left alone, also of one that has just come; so a process gives up a part of
its share, for a newcomer, as soon as there is that much left of all limits that it has told of, and not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

__all__ = [
    "SHARED_RATIO",
    "RateClaim",
    "RateGrant",
    "RateRule",
    "RateStore",
    "RateTerms",
    "fair_share",
    "untouched_ratio",
]

SHARED_RATIO: Final = 0.5
"""Of each burst, what processes hold together before they have asked for anything; unmeasured."""

_SLACK_S: Final = 1e-6  # as in `holdfast.domain.gcra`: a rounding error is no reason to grant nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRule:
    """One limit on one quantity.

    Args:
        per_s: units that are paid off in a second; above 0.
        burst: units that all processes may take at once; above 0.
        most: the highest level; what is used beyond it is forgiven. At least `burst`.
    """

    per_s: float
    burst: float
    most: float

    def after(self, used: float, elapsed_s: float) -> float:
        """Return what is left of what was used; a clock that stepped back pays nothing off."""
        return max(0.0, used - max(0.0, elapsed_s) * self.per_s)

    def with_used(self, used: float, spent: float) -> float:
        """Return what was used once `spent` was used too."""
        return min(used + spent, self.most)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateClaim:
    """What a process tells of one limit, and would like of it.

    Args:
        name: of the limit, the same in all processes.
        rule: how much there is.
        spent: units used since it told the last time.
        kept: units it holds and may still use; what it held beyond them is given back.
        wanted: units it would like besides.
        least: of these, as few as are of use to it; with less it would rather have none.
        retires: whether it would like to hold its share and no more, and tell nothing until it uses some.
    """

    name: str
    rule: RateRule
    spent: float
    kept: float
    wanted: float
    least: float
    retires: bool

    def granted(self, left: float) -> float:
        """Return how much it gets if `left` units are held by nobody."""
        granted = min(self.wanted, max(0.0, left - self.kept))
        return granted if granted + self.rule.per_s * _SLACK_S >= self.least else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RateGrant:
    """What became of a claim.

    Args:
        granted: units that the process may use besides those it kept.
        left: units that nobody holds now; below 0 while there is a debt.
        retired: whether it holds its share instead of both.
    """

    granted: float
    left: float
    retired: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RateTerms:
    """What a process may do until the next time.

    Args:
        share: of each burst that it may hold without having asked, from 0 to 1.
        processes: how many share the limits now.
        grants: one for each claim, in order.
    """

    share: float
    processes: int
    grants: tuple[RateGrant, ...]


def fair_share(processes: int, *, others: float) -> float:
    """Return the share of one process.

    Args:
        processes: how many there are.
        others: the sum of the shares that the others may still believe they have.
    """
    return max(0.0, min(SHARED_RATIO / processes, SHARED_RATIO - others))


def untouched_ratio(processes: int, *, silent: int, shares: float) -> float:
    """Return which part of a burst is left alone for those who have not told of it.

    Args:
        processes: how many there are.
        silent: how many of them have not.
        shares: the sum of the shares that these may believe they have.
    """
    return max(shares, SHARED_RATIO * silent / processes)


class RateStore(Protocol):
    """Keeps what is used and held of limits.

    Atomicity: each call is one change, or none. Order: shares are settled first, then each claim, in order. Time: the
    store's own; a process that was not heard of for its lease is gone, and what it held of a limit that it has not told
    of for so long counts as used. Duplication: a call that is made twice counts twice, so whoever does not know whether
    a call was made tells the rest under another name. Cancellation: the call was made, or not. Errors:
    `StoreUnavailableError` and `StoreRefusedError`.
    """

    async def settle(self, member: str, share: float, claims: Sequence[RateClaim], *, lease_s: float) -> RateTerms:
        """Note what a process used, and return what it may use.

        Args:
            member: names the process; nobody else uses it.
            share: the share by which it goes; 0 at first.
            claims: what it tells of each limit that it has used lately.
            lease_s: seconds from now for which what it holds is held for it.
        """
        ...
