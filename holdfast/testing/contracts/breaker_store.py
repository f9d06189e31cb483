"""What every store of shared circuit breakers must hold.

Responsibility: the contract of `holdfast.ports.breaker_store.BreakerStore`, as a pytest class to derive from.
Guarantees: a store that passes ends every opening by its own time, lets one probe be under way at once, closes a
    breaker after as many successes as were asked for, takes no word of a claim that is over, and agrees with
    `holdfast.ports.breaker_record` on random histories.
Not responsible for: other processes, a store that is away or emptied, and its own clock: they need the real thing.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Final

import anyio
import pytest

from holdfast.ports.answer_record import as_us
from holdfast.ports.breaker_record import BreakerRecord
from holdfast.ports.breaker_store import BreakerStore, BreakerView, Opening, ProbeResult, ProbeTerms
from holdfast.ports.statistics import BreakerState
from holdfast.testing.cancellation import sweep_cancellation
from holdfast.testing.clock import ManualClock

__all__ = ["BreakerHistory", "BreakerStep", "BreakerStoreContract"]

_STEPS: Final = 30

# Moments meet the ends of openings and leases, and fall just before and behind them.
_DURATIONS_S: Final = (0.0, 0.000_001, 0.5, 1.0, 1.0, 2.0, 4.999_999, 5.0, 5.000_001, 60.0)

_OPENING: Final = Opening(lasts_s=5.0, earlier=1)
_TERMS: Final = ProbeTerms(lease_s=60.0, successes=2, failures_allowed=1, reopening=Opening(lasts_s=10.0, earlier=2))

_Ask = Callable[[BreakerStore], Awaitable[BreakerView]]
_Expect = Callable[[BreakerRecord, int], BreakerRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerStep:
    """One step of a random history: time passes, and a store is asked something.

    Args:
        pause_s: what passes before.
        ask: asks a store.
        expect: what the rule makes of the same question.
    """

    pause_s: float
    ask: _Ask
    expect: _Expect


class BreakerHistory:
    """Makes the steps of one history: openings, claims and results, also of those whose time is over.

    Args:
        name: of the breaker.
        seed: of every choice.
        now_us: when it begins, on the store's clock.
    """

    def __init__(self, name: str, *, seed: int, now_us: int) -> None:
        self.name = name
        self.now_us = now_us
        self.record = BreakerRecord()
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def step(self) -> BreakerStep:
        """Return the next step, which `follow` has to be told of."""
        match self._random.choice(("look", "open", "claim", "claim", "claim", "settle", "settle", "settle")):
            case "look":
                ask, expect = self._look()
            case "open":
                ask, expect = self._open()
            case "claim":
                ask, expect = self._claim()
            case _:
                ask, expect = self._settle()
        return BreakerStep(pause_s=self._random.choice(_DURATIONS_S), ask=ask, expect=expect)

    def follow(self, step: BreakerStep) -> BreakerView:
        """Return what the rule says, and go on from there."""
        self.now_us += as_us(step.pause_s)
        self.record = step.expect(self.record, self.now_us)
        return self.record.view(self.now_us)

    def _look(self) -> tuple[_Ask, _Expect]:
        return lambda store: store.look(self.name), lambda record, _: record

    def _open(self) -> tuple[_Ask, _Expect]:
        opening = self._opening()
        return lambda store: store.open(self.name, opening), lambda record, now_us: record.opened(now_us, opening)

    def _claim(self) -> tuple[_Ask, _Expect]:
        probe, terms = self._probe(), self._terms()
        return (
            lambda store: store.claim(self.name, probe, terms),
            lambda record, now_us: record.claimed(now_us, probe, terms),
        )

    def _settle(self) -> tuple[_Ask, _Expect]:
        probe, terms, result = self._probe(), self._terms(), self._random.choice([*ProbeResult, ProbeResult.SUCCEEDED])
        return (
            lambda store: store.settle(self.name, probe, result, terms),
            lambda record, now_us: record.settled(now_us, probe, result, terms),
        )

    def _probe(self) -> str:
        return self._random.choice("ab")

    def _opening(self) -> Opening:
        return Opening(lasts_s=self._random.choice(_DURATIONS_S), earlier=self._random.randrange(5))

    def _terms(self) -> ProbeTerms:
        return ProbeTerms(
            lease_s=self._random.choice(_DURATIONS_S[1:]),
            successes=self._random.randint(1, 3),
            failures_allowed=self._random.randrange(2),
            reopening=self._opening(),
        )


class BreakerStoreContract(ABC):
    """Derive from it, name the class ``Test…`` and open your store; pytest does the rest."""

    pytestmark = pytest.mark.anyio

    histories = 40
    """How many random histories the store is taken through."""

    @abstractmethod
    def open_store(self, clock: ManualClock) -> AbstractAsyncContextManager[BreakerStore]:
        """Return this test's store, which is empty, open for the length of an ``async with`` block.

        Args:
            clock: the store's time.
        """

    @pytest.fixture(autouse=True)
    def _begin(self) -> None:
        self.clock = ManualClock()

    async def _half_open(self, store: BreakerStore) -> None:
        await store.open("b", _OPENING)
        self.clock.advance(5.0)

    async def test_look_at_an_unknown_breaker_finds_it_closed(self) -> None:
        """With nothing known of it."""
        async with self.open_store(self.clock) as store:
            assert await store.look("b") == BreakerView()

    async def test_open_lasts_to_the_moment_that_was_named(self) -> None:
        """Then it is half-open, until somebody says more."""
        async with self.open_store(self.clock) as store:
            opened = await store.open("b", _OPENING)
            self.clock.advance(4.0)
            later = await store.look("b")
            self.clock.advance(1.0)
            ended = await store.look("b")

            assert (opened.state, opened.lasts_s, opened.earlier) == (BreakerState.OPEN, 5.0, 1)
            assert (later.state, later.lasts_s, later.number) == (BreakerState.OPEN, 1.0, opened.number)
            assert (ended.state, ended.lasts_s, ended.probe) == (BreakerState.HALF_OPEN, 0.0, None)

    async def test_open_while_it_is_open_lasts_until_the_later_end(self) -> None:
        """And counts as the same opening."""
        async with self.open_store(self.clock) as store:
            first = await store.open("b", _OPENING)
            shorter = await store.open("b", Opening(lasts_s=1.0, earlier=1))
            longer = await store.open("b", Opening(lasts_s=7.0, earlier=2))

            assert (shorter.lasts_s, shorter.number) == (5.0, first.number)
            assert (longer.lasts_s, longer.earlier, longer.number) == (7.0, 2, first.number)

    async def test_open_of_another_name_has_nothing_to_do_with_it(self) -> None:
        """However alike the names are."""
        async with self.open_store(self.clock) as store:
            await store.open("b", _OPENING)

            for name in ("B", "b ", "b:", "b}", "{b}", "", "b\u00e4\U0001f600"):
                assert await store.look(name) == BreakerView()
                await store.open(name, Opening(lasts_s=1.0, earlier=3))
            assert (await store.look("b")).earlier == 1

    async def test_claim_by_many_at_once_is_granted_to_one(self) -> None:
        """The others are told whose it is."""
        async with self.open_store(self.clock) as store:
            await self._half_open(store)
            seen: list[BreakerView] = []

            async def claim(probe: str) -> None:
                seen.append(await store.claim("b", probe, _TERMS))

            async with anyio.create_task_group() as tasks:
                for number in range(8):
                    tasks.start_soon(claim, f"{number}")

            assert len(seen) == 8
            assert len({view.probe for view in seen} - {None}) == 1

    @pytest.mark.parametrize("is_open", [True, False])
    async def test_claim_of_what_is_not_half_open_is_granted_to_nobody(self, is_open: bool) -> None:  # noqa: FBT001 - parametrised
        """A closed one needs none, an open one takes none."""
        async with self.open_store(self.clock) as store:
            if is_open:
                await store.open("b", _OPENING)

            view = await store.claim("b", "a", _TERMS)

            assert (view.state, view.probe) == (BreakerState.OPEN if is_open else BreakerState.CLOSED, None)

    async def test_claim_again_by_its_own_claim_is_granted_and_no_longer(self) -> None:
        """Who did not hear the answer may ask again."""
        async with self.open_store(self.clock) as store:
            await self._half_open(store)
            first = await store.claim("b", "a", _TERMS)
            self.clock.advance(59.0)
            again = await store.claim("b", "a", _TERMS)
            self.clock.advance(1.0)

            assert (again.probe, again.number) == ("a", first.number)
            assert (await store.look("b")).state is BreakerState.OPEN

    async def test_settle_as_often_succeeded_as_was_asked_for_closes_it(self) -> None:
        """And it is known how long ago, and what was opened before."""
        async with self.open_store(self.clock) as store:
            await self._half_open(store)
            await store.claim("b", "1", _TERMS)
            once = await store.settle("b", "1", ProbeResult.SUCCEEDED, _TERMS)
            await store.claim("b", "2", _TERMS)
            twice = await store.settle("b", "2", ProbeResult.SUCCEEDED, _TERMS)
            self.clock.advance(3.0)

            assert (once.state, once.probe) == (BreakerState.HALF_OPEN, None)
            assert (twice.state, twice.closed_s, twice.earlier) == (BreakerState.CLOSED, 0.0, 1)
            assert (await store.look("b")).closed_s == 3.0

    async def test_settle_more_often_failed_than_allowed_opens_it_again(self) -> None:
        """For as long as the last of them says, and with what was counted before forgotten."""
        async with self.open_store(self.clock) as store:
            await self._half_open(store)
            view = BreakerView()
            for probe, result in (("1", ProbeResult.FAILED), ("2", ProbeResult.SUCCEEDED), ("3", ProbeResult.FAILED)):
                assert (await store.claim("b", probe, _TERMS)).probe == probe
                view = await store.settle("b", probe, result, _TERMS)
            self.clock.advance(10.0)
            await store.claim("b", "4", _TERMS)

            assert (view.state, view.lasts_s, view.earlier) == (BreakerState.OPEN, 10.0, 2)
            after = await store.settle("b", "4", ProbeResult.SUCCEEDED, _TERMS)
            assert after.state is BreakerState.HALF_OPEN

    async def test_settle_given_back_lets_the_next_one_probe(self) -> None:
        """And counts as nothing."""
        async with self.open_store(self.clock) as store:
            await self._half_open(store)
            for number in range(5):
                assert (await store.claim("b", f"{number}", _TERMS)).probe == f"{number}"
                view = await store.settle("b", f"{number}", ProbeResult.GIVEN_BACK, _TERMS)

                assert (view.state, view.probe) == (BreakerState.HALF_OPEN, None)

    async def test_probe_whose_lease_ends_has_opened_it_at_that_moment(self) -> None:
        """As its claim said, whenever somebody looks."""
        async with self.open_store(self.clock) as store:
            await self._half_open(store)
            await store.claim("b", "a", _TERMS)
            self.clock.advance(62.0)

            view = await store.look("b")

            assert (view.state, view.lasts_s, view.earlier, view.probe) == (BreakerState.OPEN, 8.0, 2, None)

    @pytest.mark.parametrize("result", list(ProbeResult))
    async def test_settle_of_a_claim_that_is_over_changes_nothing(self, result: ProbeResult) -> None:
        """Whether its lease ended, it was settled before, or an opening came between."""
        async with self.open_store(self.clock) as store:
            await self._half_open(store)
            await store.claim("b", "late", _TERMS)
            self.clock.advance(70.0)
            await store.claim("b", "next", _TERMS)
            before = await store.look("b")

            assert await store.settle("b", "late", result, _TERMS) == before
            opened = await store.open("b", _OPENING)
            assert await store.settle("b", "next", result, _TERMS) == opened
            assert await store.settle("never known", "late", result, _TERMS) == BreakerView()

    async def test_numbers_grow_with_each_change_and_each_claim(self) -> None:
        """Also within one moment."""
        async with self.open_store(self.clock) as store:
            views = [await store.look("b"), await store.open("b", Opening(lasts_s=0.0, earlier=1))]
            views.append(await store.claim("b", "1", _TERMS))
            views.append(await store.open("b", Opening(lasts_s=0.0, earlier=2)))
            for probe in ("2", "3"):
                views.append(await store.claim("b", probe, _TERMS))
                views.append(await store.settle("b", probe, ProbeResult.SUCCEEDED, _TERMS))
            numbers = [view.number for view in views]

            assert views[-1].state is BreakerState.CLOSED
            assert numbers == sorted(numbers)
            assert len(set(numbers)) == len(numbers) - 1  # the first success changes no state

    async def test_store_and_rule_agree_on_random_histories(self) -> None:
        """To every microsecond; numbers begin where the store's time does, and grow at the same steps."""
        seed = random.SystemRandom().randrange(2**32)
        async with self.open_store(self.clock) as store:
            for number in range(self.histories):
                now_us = as_us(self.clock.monotonic_s())
                history = BreakerHistory(f"breaker {number}", seed=seed + number, now_us=now_us)
                before = expected_before = BreakerView()
                for _ in range(_STEPS):
                    step = history.step()
                    self.clock.advance(step.pause_s)
                    view, expected = await step.ask(store), history.follow(step)
                    assert replace(view, number=0) == replace(expected, number=0), f"seed {seed + number}"
                    assert view.number >= before.number, f"seed {seed + number}"
                    assert (view.number > before.number) is (expected.number > expected_before.number)
                    before, expected_before = view, expected

    async def test_cancellation_at_any_moment_leaves_whole_changes_only(self) -> None:
        """A claim that was cut off can be given back by whoever made it."""
        async with self.open_store(self.clock) as store:

            async def scenario() -> None:
                await store.open("b", Opening(lasts_s=0.0, earlier=0))
                await store.claim("b", "cut", _TERMS)
                await store.settle("b", "cut", ProbeResult.FAILED, _TERMS)
                await store.look("b")

            async def check() -> None:
                await store.settle("b", "cut", ProbeResult.GIVEN_BACK, _TERMS)
                await store.open("b", Opening(lasts_s=0.0, earlier=0))
                assert (await store.claim("b", "next", _TERMS)).probe == "next"
                await store.settle("b", "next", ProbeResult.GIVEN_BACK, _TERMS)

            await sweep_cancellation(scenario, check)
