"""Rate limits that several processes share.

Responsibility: let each process decide at once, from what it holds of each limit, and settle with the store in the
    background: give back what it does not need, and ask for what it does.
Guarantees: nothing waits; of a limit, all processes together never take more in any window than
    ``burst + rate x window`` while they reach the store and none of them ends; one that ends leaves its share to
    others, who may take as much once more; a process that does not reach the store goes on with its part of the rate
    and with what it held; what it takes alone is told when the store is back.
Not responsible for: what is given to whom: see `holdfast.ports.rate_store`; reservations: see
    `holdfast.domain.rate_limit`; reaching the store: see `holdfast.domain.store_link`.
Why it is done so, and what it costs in precision: adr/0045.

A term is the time from one loss of the store to the next, or the time between two of them, alone. Whenever a round
fails, nobody knows what the store has noted of it; so the term ends, and this process comes back under another name.
What it held in the term it may still use, alone: the store counts that as used once the lease of the old name is over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, MutableMapping
from typing import Final
from weakref import WeakValueDictionary

from holdfast.domain.gcra import SLACK_S, Gcra
from holdfast.domain.store_link import StoreLink, StoreMember
from holdfast.ports.clock import Clock
from holdfast.ports.rate_store import SHARED_RATIO, RateClaim, RateGrant, RateRule, RateStore
from holdfast.ports.statistics import SharedRateStatistics

__all__ = ["SharedRate", "SharedRates"]

_ROUNDS_PER_LEASE: Final = 8
_ROUNDING: Final = 1e-6
_CLAIMS_AT_ONCE: Final = 250
"""Limits that one call of the store settles, so that it is short for all others; unmeasured."""


class _Term:
    """What holds until the store is lost, or found."""

    __slots__ = ("ever_joined", "is_joined", "member", "processes", "share", "since_s", "until_s")

    def __init__(self, before: _Term | None, *, since_s: float, member: str | None = None) -> None:
        self.since_s = since_s
        self.member = member or ""
        self.is_joined = member is not None
        self.ever_joined: bool = self.is_joined or (before is not None and before.ever_joined)
        self.processes: int = 1 if before is None else before.processes
        self.share: float = 0.0 if before is None or self.is_joined else before.share
        self.until_s = 0.0


class SharedRates:
    """This process's part in all limits that are shared. For one event loop.

    Args:
        store: where they are settled.
        link: says when; this is added to it.
        refresh_s: seconds from one round to the next; what is held is held for eight of them.
        make_token: returns a name that nobody else has.
        clock: monotonic time.
    """

    def __init__(
        self, store: RateStore, *, link: StoreLink, refresh_s: float, make_token: Callable[[], str], clock: Clock
    ) -> None:
        self._store = store
        self._link = link
        self._lease_s = _ROUNDS_PER_LEASE * refresh_s
        self._make_token = make_token
        self._clock = clock
        self._term = _Term(None, since_s=clock.monotonic_s())
        self._limits: WeakValueDictionary[str, SharedRate] = WeakValueDictionary()
        # Weakly only while nothing can be told: names that come and go must take no room then. Otherwise what a limit
        # has used is told though nobody keeps it any more.
        self._followed: MutableMapping[str, SharedRate] = WeakValueDictionary()
        self._told = self._terms = 0
        self.refresh_s = refresh_s
        link.add(self)

    def limit(self, name: str, *, per_s: float, burst: float, max_debt_s: float, holds: bool) -> SharedRate:
        """Return this process's part of one limit: the one that is there, by these numbers, or a new one.

        Args:
            name: the same in all processes.
            per_s: as of `Gcra`, and of all processes together, as the two that follow.
            burst: as of `Gcra`.
            max_debt_s: as of `Gcra`.
            holds: whether what is taken counts as used when it is settled, since only then it is known how much it
                is, or when it is taken.
        """
        if (limit := self._limits.get(name)) is not None:
            limit.retune(per_s=per_s, burst=burst, max_debt_s=max_debt_s, now_s=self.now_s())
            return limit
        rule = RateRule(per_s=per_s, burst=burst, most=burst + per_s * max_debt_s)
        limit = self._limits[name] = SharedRate(self, name, rule, holds=holds)
        return limit

    def term(self, now_s: float) -> _Term:
        """Return what holds now."""
        term = self._term
        if term.is_joined and now_s > term.until_s:
            return self._leave()
        return term

    def follow(self, name: str, limit: SharedRate) -> None:
        """Let the store know of a limit from the next round on."""
        self._followed[name] = limit

    def now_s(self) -> float:
        """Return the time."""
        return self._clock.monotonic_s()

    def hurry(self) -> None:
        """Settle soon."""
        self._link.hurry()

    async def refresh(self, *, emptied: bool) -> None:
        """Settle all limits that were used lately; see `StoreMember.refresh`."""
        term = self.term(self._clock.monotonic_s())
        if emptied and term.is_joined:
            term = self._leave()
            for limit in self._followed.values():
                limit.meet(term)
        if not term.is_joined:
            term = self._term = _Term(term, since_s=self.now_s(), member=self._make_token())
            self._followed = dict(self._followed)
            term.until_s = self._clock.monotonic_s() + self._lease_s
            self._terms += 1
        try:
            await self._settle(term)
        except BaseException:
            self._leave()
            raise

    def statistics(self) -> SharedRateStatistics:
        """Return what this process may do, and what it has told."""
        term = self.term(self._clock.monotonic_s())
        return SharedRateStatistics(
            joined=term.is_joined,
            processes=term.processes,
            share=term.share,
            followed=len(self._followed),
            told=self._told,
            terms=self._terms,
        )

    def _leave(self) -> _Term:
        self._term = _Term(self._term, since_s=self.now_s())
        self._followed = WeakValueDictionary(self._followed)
        return self._term

    async def _settle(self, term: _Term) -> None:
        limits = list(self._followed.values())
        least_left, share = 0.0, term.share
        for first in range(0, max(1, len(limits)), _CLAIMS_AT_ONCE):
            some = limits[first : first + _CLAIMS_AT_ONCE]
            now_s = self._clock.monotonic_s()
            claims = [limit.claim(term) for limit in some]
            terms = await self._store.settle(term.member, term.share, claims, lease_s=self._lease_s)
            self._told += len(claims)
            if self._term is not term:
                return  # its lease was over before there was an answer
            # From before it was asked, so that this ends before the store's does, whenever it was answered.
            term.until_s = now_s + self._lease_s
            term.processes = terms.processes
            for limit, claim, grant in zip(some, claims, terms.grants, strict=True):
                least_left = min(least_left, grant.left)
                if limit.take_note(claim, grant):
                    self._followed.pop(claim.name, None)
            share = terms.share
            term.share = max(term.share, share)
        # A part of it can be another's when that much is left everywhere, or it would be given twice.
        if least_left >= -_ROUNDING:
            term.share = share


class SharedRate:
    """This process's part of one limit: as a `Gcra`, made by `SharedRates.limit` only."""

    __slots__ = (
        "__weakref__",
        "_alone",
        "_demand",
        "_demand_before",
        "_has_asked",
        "_holds",
        "_hub",
        "_least",
        "_left",
        "_name",
        "_open",
        "_open_total",
        "_rule",
        "_spent",
        "_stock",
        "_term",
    )

    def __init__(self, hub: SharedRates, name: str, rule: RateRule, *, holds: bool) -> None:
        self._hub = hub
        self._name = name
        self._rule = rule
        self._holds = holds
        self._alone: Gcra | None = None
        self._open: dict[Hashable, float] = {}
        self._begin(0.0)
        self._term = _Term(None, since_s=0.0)  # of which it has not heard
        self.meet(hub.term(hub.now_s()))

    def _begin(self, spent: float) -> None:
        self._open.clear()
        self._open_total = 0.0
        self._spent = spent  # and not told
        self._stock = 0.0  # besides the share, until the store has heard of this
        self._has_asked = False
        self._demand = self._demand_before = 0.0
        self._least = 0.0
        self._left = 0.0

    @property
    def burst(self) -> float:
        """The most that can ever be taken at once: what the others hold without having asked is out of reach."""
        term = self._term
        if not term.is_joined:
            return self._rule.burst
        return self._rule.burst * (1 - SHARED_RATIO * (term.processes - 1) / term.processes)

    def try_take(self, key: Hashable, cost: float, now_s: float) -> bool:
        """Take `cost` if this process holds as much; see `Gcra.try_take`."""
        self.meet(self._hub.term(now_s))
        self._hub.follow(self._name, self)
        if self._alone is not None:
            # Its part of a burst may be less than one call takes, which is then paid off as a debt.
            part = min(cost, self._alone.burst)
            if not self._alone.try_take(key, part, now_s):
                return False
            self._open[key] = part
            return True
        if cost > self.burst:
            return False  # whatever was asked for
        self._demand += cost
        held = self._held()
        if cost > held + self._rule.per_s * SLACK_S:
            self._least = min(self._least or cost, cost)
            self._hub.hurry()
            return False
        self._stock -= cost
        self._open[key] = cost
        if self._holds:
            self._open_total += cost
        else:
            self._spent += cost
        if held < 2 * cost:
            self._hub.hurry()
        return True

    def wait_s(self, cost: float, now_s: float) -> float:
        """Return the seconds until `cost` fits if nothing else is taken, as far as is known; see `Gcra.wait_s`."""
        self.meet(self._hub.term(now_s))
        if cost > self.burst:
            return math.inf
        if self._alone is not None:
            return self._alone.wait_s(min(cost, self._alone.burst), now_s)
        short = cost - self._held()
        return 0.0 if short <= 0 else max(self._hub.refresh_s, (short - self._left) / self._rule.per_s)

    def settle(self, key: Hashable, cost: float, used: float, now_s: float) -> None:
        """Set right that what took `cost` came to `used` units; see `Gcra.settle`.

        What was taken in another term is settled already, except for a debt. What counts as used when it is taken can
        be given back until it is told; after that, the rate gives it back.
        """
        self.meet(self._hub.term(now_s))
        self._hub.follow(self._name, self)
        taken = self._open.pop(key, None)
        if self._alone is not None:
            if taken is not None:
                self._alone.settle(key, taken, used, now_s)
            elif used > cost:
                self._alone.settle(key, cost, used, now_s)
            return
        debt = max(0.0, used - cost)
        refund = 0.0 if taken is None else max(0.0, taken - used)
        if self._holds and taken is not None:
            self._open_total = self._open_total - taken if self._open else 0.0
            self._spent += taken - refund
        else:
            self._spent -= refund
        self._spent += debt
        self._stock += refund - debt

    def retune(self, *, per_s: float, burst: float, max_debt_s: float, now_s: float) -> None:
        """Go by other numbers from now on; see `Gcra.retune`. The store goes by those that it was told last."""
        self.meet(self._hub.term(now_s))
        self._rule = RateRule(per_s=per_s, burst=burst, most=burst + per_s * max_debt_s)
        if self._alone is not None:
            self._alone.retune(
                per_s=per_s / self._term.processes,
                burst=max(1.0, burst / self._term.processes),
                max_debt_s=max_debt_s,
                now_s=now_s,
            )

    def left(self, now_s: float) -> float:
        """Return the units that this process could take now; below 0 while it has a debt."""
        self.meet(self._hub.term(now_s))
        return self._held() if self._alone is None else self._alone.left(now_s)

    def paid_off_in_s(self, now_s: float) -> float:
        """Return the seconds until this is as good as new, as far as is known."""
        self.meet(self._hub.term(now_s))
        if self._alone is not None:
            return self._alone.paid_off_in_s(now_s)
        return self._hub.refresh_s if self._has_asked or self._has_something_to_tell() else 0.0

    def meet(self, term: _Term) -> None:
        """Go on under `term`, if it is another one than until now."""
        if term is self._term:
            return
        rule = self._rule
        alone, self._alone = self._alone, None
        if term.is_joined:
            self._begin(0.0 if alone is None else alone.burst - alone.left(term.since_s))
        else:
            part = self._alone = Gcra(
                per_s=rule.per_s / term.processes,
                burst=max(1.0, rule.burst / term.processes),
                max_debt_s=(rule.most - rule.burst) / rule.per_s,
                now_s=term.since_s,
            )
            if term.ever_joined:
                # What it does not hold of its part may have been used lately, here or by others.
                held = self._held_in(self._term if self._term.is_joined else term)
                part.settle(self, 0.0, part.burst - min(held, part.burst), term.since_s)
            self._begin(0.0)
        self._term = term

    def claim(self, term: _Term) -> RateClaim:
        """Return what the store has to know of this, and what this process would like."""
        self.meet(term)
        share = term.share * self._rule.burst
        if not self._has_asked:
            self._has_asked = True
            self._stock += share
        demand = max(self._demand, self._demand_before)
        wished = max(share, 2 * demand, self._least)
        # Of less than would be of use no more than the share is kept, or two might wait for what the other one holds.
        stock = max(0.0, min(self._stock, share if self._stock < self._least else wished))
        claim = RateClaim(
            name=self._name,
            rule=self._rule,
            spent=self._spent,
            kept=stock + self._open_total,
            wanted=wished - stock,
            least=max(0.0, self._least - stock),
            retires=not (demand or self._open_total or self._spent),
        )
        self._demand_before, self._demand = self._demand, 0.0
        self._spent = self._least = 0.0
        if not self._holds:
            self._open.clear()  # what is told cannot be given back: the rate has done so already, in part
        self._stock = stock
        return claim

    def take_note(self, claim: RateClaim, grant: RateGrant) -> bool:
        """Take what the store has granted, and return whether it need hear no more of this."""
        self._left = grant.left
        if not grant.retired:
            self._stock += grant.granted
            return False
        self._has_asked = False
        self._stock -= claim.kept
        return not self._has_something_to_tell()

    def _has_something_to_tell(self) -> bool:
        return bool(self._spent or self._open_total or self._stock < 0)

    def _held(self) -> float:
        return self._held_in(self._term)

    def _held_in(self, term: _Term) -> float:
        return self._stock if self._has_asked else term.share * self._rule.burst + self._stock


_: type[StoreMember] = SharedRates
