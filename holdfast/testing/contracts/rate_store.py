"""What every store of shared rate limits must hold.

Responsibility: the contract of `holdfast.ports.rate_store.RateStore`, as a pytest class to derive from.
Guarantees: a store that passes gives to all processes together no more than there is, and to one of them exactly what
    `holdfast.domain.gcra` would let through, on random histories.
Not responsible for: a store that is away or emptied: that needs the real thing.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

import pytest

from holdfast.adapters.memory.rates import MemoryRates
from holdfast.domain.gcra import Gcra
from holdfast.ports.clock import Clock
from holdfast.ports.rate_store import SHARED_RATIO, RateClaim, RateGrant, RateRule, RateStore
from holdfast.testing.clock import ManualClock

__all__ = ["RateStoreContract"]

_LEASE_S: Final = 2.0
_RULE: Final = RateRule(per_s=1.0, burst=8.0, most=68.0)
_AT_ONCE: Final = 100
_STEPS: Final = 12


def _claim(  # noqa: PLR0913 - the fields of a claim
    name: str = "a",
    *,
    rule: RateRule = _RULE,
    spent: float = 0.0,
    kept: float = 0.0,
    wanted: float = 0.0,
    least: float = 0.0,
    retires: bool = False,
) -> RateClaim:
    return RateClaim(name=name, rule=rule, spent=spent, kept=kept, wanted=wanted, least=least, retires=retires)


class RateStoreContract(ABC):
    """Derive from it, name the class ``Test…`` and open your store; pytest does the rest.

    Attributes:
        histories: how many random ones are compared by each of the two tests that do so.
    """

    pytestmark = pytest.mark.anyio

    histories = 1_100

    @abstractmethod
    def open_store(self, clock: Clock) -> AbstractAsyncContextManager[RateStore]:
        """Return this test's store, which is empty and tells time by `clock`, for an ``async with`` block."""

    @pytest.fixture(autouse=True)
    def _begin(self) -> None:
        self.clock = ManualClock()

    async def _one(self, store: RateStore, member: str, claim: RateClaim, *, share: float = 0.0) -> RateGrant:
        (grant,) = (await store.settle(member, share, [claim], lease_s=_LEASE_S)).grants
        return grant

    async def test_settle_of_one_process_alone_gives_it_the_whole_share(self) -> None:
        """Nobody else needs any."""
        async with self.open_store(self.clock) as store:
            terms = await store.settle("p", 0.0, [], lease_s=_LEASE_S)

            assert (terms.share, terms.processes, terms.grants) == (SHARED_RATIO, 1, ())

    async def test_settle_of_a_newcomer_gives_it_a_share_when_the_others_have_given_it_up(self) -> None:
        """Until then, they may use it."""
        async with self.open_store(self.clock) as store:
            await store.settle("p", 0.0, [], lease_s=_LEASE_S)
            newcomer = await store.settle("q", 0.0, [], lease_s=_LEASE_S)
            assert (newcomer.share, newcomer.processes) == (0.0, 2)

            half = await store.settle("p", SHARED_RATIO, [], lease_s=_LEASE_S)
            still = await store.settle("q", 0.0, [], lease_s=_LEASE_S)
            assert (half.share, still.share) == (SHARED_RATIO / 2, 0.0)

            await store.settle("p", half.share, [], lease_s=_LEASE_S)
            newcomer = await store.settle("q", 0.0, [], lease_s=_LEASE_S)
            assert newcomer.share == SHARED_RATIO / 2

    async def test_settle_of_a_process_that_was_not_heard_of_for_its_lease_counts_it_no_more(self) -> None:
        """To the moment."""
        async with self.open_store(self.clock) as store:
            await store.settle("p", 0.0, [], lease_s=_LEASE_S)
            self.clock.advance(_LEASE_S - 0.001)
            assert (await store.settle("q", 0.0, [], lease_s=_LEASE_S)).processes == 2
            self.clock.advance(0.001)

            alone = await store.settle("q", 0.0, [], lease_s=_LEASE_S)

            assert (alone.processes, alone.share) == (1, SHARED_RATIO)

    async def test_settle_grants_what_is_wanted_as_far_as_it_goes(self) -> None:
        """What is held is held, and says what is left."""
        async with self.open_store(self.clock) as store:
            first = await self._one(store, "p", _claim(wanted=5.0))
            more = await self._one(store, "p", _claim(kept=5.0, wanted=5.0))

            assert first == RateGrant(granted=5.0, left=3.0, retired=False)
            assert more == RateGrant(granted=3.0, left=0.0, retired=False)

    async def test_settle_grants_nothing_rather_than_less_than_is_of_use(self) -> None:
        """Somebody else may have a use for it."""
        async with self.open_store(self.clock) as store:
            await self._one(store, "p", _claim(wanted=5.0))
            refused = await self._one(store, "q", _claim(wanted=4.0, least=4.0))
            enough = await self._one(store, "q", _claim(wanted=4.0, least=3.0))

            assert (refused.granted, refused.left) == (0.0, 3.0)
            assert enough.granted == 3.0

    async def test_settle_lets_what_is_used_drain_and_what_is_held_not(self) -> None:
        """Whenever it is used, it was paid for."""
        async with self.open_store(self.clock) as store:
            await self._one(store, "p", _claim(wanted=8.0))
            self.clock.advance(1.0)
            held = await self._one(store, "p", _claim(kept=8.0, wanted=8.0))
            used = await self._one(store, "p", _claim(kept=4.0, spent=4.0))
            self.clock.advance(1.0)
            drained = await self._one(store, "p", _claim(kept=4.0))

            assert (held.granted, used.left, drained.left) == (0.0, 0.0, 1.0)

    async def test_settle_takes_back_what_is_not_kept(self) -> None:
        """At once, for whoever comes next."""
        async with self.open_store(self.clock) as store:
            await self._one(store, "p", _claim(wanted=8.0))
            nothing = await self._one(store, "q", _claim(wanted=8.0))
            await self._one(store, "p", _claim(kept=2.0))
            rest = await self._one(store, "q", _claim(wanted=8.0))

            assert (nothing.granted, rest.granted) == (0.0, 6.0)

    async def test_settle_counts_what_a_process_held_as_used_once_its_lease_is_over(self) -> None:
        """It may have used it, and it cannot be asked."""
        async with self.open_store(self.clock) as store:
            await self._one(store, "p", _claim(wanted=6.0))
            self.clock.advance(_LEASE_S)
            left = (await self._one(store, "q", _claim())).left
            self.clock.advance(2.0)

            assert left == 2.0
            assert (await self._one(store, "q", _claim())).left == 4.0

    async def test_settle_counts_what_a_process_held_as_used_once_it_tells_of_other_limits_only(self) -> None:
        """It has forgotten this one, and takes its share of it for granted again."""
        async with self.open_store(self.clock) as store:
            await self._one(store, "p", _claim(wanted=3.0))
            self.clock.advance(_LEASE_S / 2)
            await self._one(store, "p", _claim("b"), share=SHARED_RATIO)
            self.clock.advance(_LEASE_S / 2)
            left = (await self._one(store, "q", _claim())).left

            assert left == 8.0 - 3.0 - 4.0

    async def test_settle_keeps_the_shares_of_those_who_have_not_asked(self) -> None:
        """So that they have something to draw on."""
        async with self.open_store(self.clock) as store:
            await store.settle("p", 0.0, [], lease_s=_LEASE_S)
            granted = await self._one(store, "q", _claim(wanted=8.0))
            asked = await self._one(store, "p", _claim(kept=1.0), share=SHARED_RATIO)

            assert granted == RateGrant(granted=4.0, left=0.0, retired=False)
            assert asked.left == 3.0

    async def test_settle_of_one_that_retires_gives_it_its_share_back_when_there_is_room(self) -> None:
        """Until then it goes on as before."""
        async with self.open_store(self.clock) as store:
            await store.settle("p", 0.0, [], lease_s=_LEASE_S)
            await self._one(store, "p", _claim(spent=6.0))
            too_early = await self._one(store, "p", _claim(retires=True), share=SHARED_RATIO)
            self.clock.advance(2.0)
            retired = await self._one(store, "p", _claim(retires=True), share=SHARED_RATIO)

            assert too_early == RateGrant(granted=0.0, left=2.0, retired=False)
            assert retired == RateGrant(granted=0.0, left=0.0, retired=True)

    async def test_settle_pays_a_debt_off_before_anything_else_and_forgives_what_exceeds_the_most(self) -> None:
        """One absurd report does not end everything."""
        async with self.open_store(self.clock) as store:
            await self._one(store, "p", _claim(spent=1e9))
            self.clock.advance(60.0)
            nothing = await self._one(store, "p", _claim(wanted=1.0))
            self.clock.advance(1.0)
            first = await self._one(store, "p", _claim(wanted=1.0))

            assert (nothing.left, nothing.granted, first.granted) == (0.0, 0.0, 1.0)

    async def test_settle_of_several_limits_mixes_none_of_them_up(self) -> None:
        """In one call."""
        names = ["tokens of tenant 'ä'", "b", "{b}"]
        async with self.open_store(self.clock) as store:
            claims = [_claim(name, wanted=float(wanted)) for wanted, name in enumerate(names, start=1)]
            terms = await store.settle("p", 0.0, claims, lease_s=_LEASE_S)

            assert [grant.granted for grant in terms.grants] == [1.0, 2.0, 3.0]
            again = await store.settle("p", 0.0, [replace(claim, wanted=0.0) for claim in claims], lease_s=_LEASE_S)
            assert {grant.left for grant in again.grants} == {8.0}

    async def test_settle_lets_through_what_gcra_does_on_random_histories(self) -> None:
        """For one process that uses what it gets at once."""
        draw = random.Random(20261121)  # noqa: S311 - histories, no secrets
        async with self.open_store(self.clock) as store:
            for batch in range(0, self.histories, _AT_ONCE):
                rules = [_random_rule(draw) for _ in range(_AT_ONCE)]
                gcras = [
                    Gcra(
                        per_s=rule.per_s,
                        burst=rule.burst,
                        max_debt_s=(rule.most - rule.burst) / rule.per_s,
                        now_s=self.clock.monotonic_s(),
                    )
                    for rule in rules
                ]
                for step in range(_STEPS):
                    self.clock.advance(draw.choice((0.0, 0.5, 1.0, 3.0)))
                    costs = [draw.choice((0.25, 1.0, rule.burst / 2, rule.burst)) for rule in rules]
                    wishes = [
                        _claim(f"{batch + number}", rule=rule, wanted=cost, least=cost)
                        for number, (rule, cost) in enumerate(zip(rules, costs, strict=True))
                    ]
                    granted = (await store.settle("p", 0.0, wishes, lease_s=1e6)).grants
                    fits = [
                        gcra.try_take(step, cost, self.clock.monotonic_s())
                        for gcra, cost in zip(gcras, costs, strict=True)
                    ]
                    assert [grant.granted > 0 for grant in granted] == fits, (batch, step)
                    used = [
                        cost * draw.choice((0.0, 0.5, 1.0, 2.0)) if fit else 0.0
                        for cost, fit in zip(costs, fits, strict=True)
                    ]
                    told = [
                        replace(claim, spent=spent, wanted=0.0, least=0.0)
                        for claim, spent in zip(wishes, used, strict=True)
                    ]
                    left = (await store.settle("p", 0.0, told, lease_s=1e6)).grants
                    for number, gcra in enumerate(gcras):
                        if fits[number]:
                            gcra.settle(step, costs[number], used[number], self.clock.monotonic_s())
                        assert left[number].left == pytest.approx(gcra.left(self.clock.monotonic_s()), abs=1e-6)

    async def test_settle_of_several_processes_follows_the_rules_on_random_histories(self) -> None:
        """Those of the port, as the store in memory applies them; whoever is late loses his lease."""
        draw = random.Random(20261122)  # noqa: S311 - as above
        async with self.open_store(self.clock) as store:
            for batch in range(0, self.histories, _AT_ONCE):
                rules = [_random_rule(draw) for _ in range(_AT_ONCE)]
                model = MemoryRates(clock=self.clock)
                shares = dict.fromkeys(("p", "q", "r"), 0.0)
                self.clock.advance(2 * _LEASE_S)  # so that nobody of the batch before is left
                for step in range(_STEPS):
                    self.clock.advance(draw.choice((0.0, 0.25, 0.5, 2.5)))
                    member = draw.choice(list(shares))
                    claims = [
                        _random_claim(draw, f"{batch + number} of several", rule) for number, rule in enumerate(rules)
                    ]
                    found = await store.settle(f"{member}{batch}", shares[member], claims, lease_s=_LEASE_S)
                    wanted = await model.settle(f"{member}{batch}", shares[member], claims, lease_s=_LEASE_S)
                    shares[member] = found.share
                    assert found.processes == wanted.processes
                    assert found.share == pytest.approx(wanted.share)
                    for ours, theirs in zip(wanted.grants, found.grants, strict=True):
                        assert ours.granted == pytest.approx(theirs.granted, abs=1e-6), (batch, step)
                        assert ours.left == pytest.approx(theirs.left, abs=1e-6), (batch, step)
                        assert ours.retired == theirs.retired, (batch, step)


def _random_rule(draw: random.Random) -> RateRule:
    per_s, burst = draw.choice((0.25, 1.0, 4.0)), draw.choice((1.0, 4.0, 8.0))
    return RateRule(per_s=per_s, burst=burst, most=burst + per_s * draw.choice((0.0, 16.0)))


def _random_claim(draw: random.Random, name: str, rule: RateRule) -> RateClaim:
    kept = draw.choice((0.0, 0.25, rule.burst / 2))
    wanted = draw.choice((0.0, 1.0, rule.burst))
    return RateClaim(
        name=name,
        rule=rule,
        spent=draw.choice((0.0, 0.0, 0.5, 2.0)),
        kept=kept,
        wanted=wanted,
        least=draw.choice((0.0, wanted)),
        retires=draw.random() < 0.25,
    )
