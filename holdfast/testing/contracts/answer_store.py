"""What every store of shared answers must hold.

Responsibility: the contract of `holdfast.ports.answer_store.AnswerStore`, as a pytest class to derive from.
Guarantees: a store that passes lets one claimant at a time call for a key, fences off all others, tells outcomes to
    whom they are due and to nobody else, and agrees with `holdfast.ports.answer_record` on random histories.
Not responsible for: other processes, a store that is away or emptied, and its own clock: they need the real thing.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

import anyio
import pytest

from holdfast.ports.answer_record import AnswerRecord, as_us, claimed, extended, released, settled
from holdfast.ports.answer_store import AnswerClaim, AnswerStore, Busy, Told, Won
from holdfast.testing.cancellation import sweep_cancellation
from holdfast.testing.clock import ManualClock

__all__ = ["AnswerHistory", "AnswerStep", "AnswerStoreContract"]

_KEY: Final = b"k" * 32
_OTHER: Final = b"o" * 32
_LEASE_S: Final = 5.0
_STEPS: Final = 30

# Moments meet the ends of leases and of outcomes, and fall just before and behind them.
_DURATIONS_S: Final = (0.0, 0.001, 0.5, 1.0, 1.0, 2.0, 4.999, 5.0, 5.001)
_SET_BACK_S: Final = (-0.5, -1.0, -1.000001, -3600.0)

_Ask = Callable[[AnswerStore], Awaitable[object]]
_Expect = Callable[[AnswerRecord | None, int], tuple[AnswerRecord | None, object]]


def _claim(
    claimant: str = "a", *, key: bytes = _KEY, awaited: int | None = None, unusable: int | None = None
) -> AnswerClaim:
    return AnswerClaim(key=key, claimant=claimant, lease_s=_LEASE_S, awaited=awaited, unusable=unusable)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerStep:
    """One step of a random history: time passes, and a store is asked something.

    Args:
        pause_s: what passes before; below 0 where the clock is set back.
        ask: asks a store.
        expect: what the rule makes of the same question, and what it hears.
    """

    pause_s: float
    ask: _Ask
    expect: _Expect


class AnswerHistory:
    """Makes the steps of one history: three claimants, who ask for whatever may be refused as well as granted.

    Args:
        key: what they are after.
        seed: of every choice.
        now_us: when it begins, on the store's clock.
        is_set_back: whether that clock is set back now and then.
    """

    def __init__(self, key: bytes, *, seed: int, now_us: int, is_set_back: bool = False) -> None:
        self.key = key
        self.now_us = now_us
        self.record: AnswerRecord | None = None
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._pauses_s = _DURATIONS_S + (_SET_BACK_S if is_set_back else ())
        self._tokens: list[int] = []

    def step(self) -> AnswerStep:
        """Return the next step, which `follow` has to be told of."""
        match self._random.choice(("claim", "claim", "claim", "extend", "settle", "settle", "release")):
            case "claim":
                ask, expect = self._claim()
            case "extend":
                ask, expect = self._extend()
            case "settle":
                ask, expect = self._settle()
            case _:
                ask, expect = self._release()
        return AnswerStep(pause_s=self._random.choice(self._pauses_s), ask=ask, expect=expect)

    def follow(self, step: AnswerStep) -> object:
        """Return what the rule hears, and go on from there."""
        self.now_us += as_us(step.pause_s)
        self.record, heard = step.expect(self.record, self.now_us)
        if isinstance(heard, Won):
            self._tokens.append(heard.token)
        return heard

    def _token(self) -> int:
        return self._random.choice(self._tokens[-3:]) if self._tokens else 1

    def _maybe_token(self) -> int | None:
        return self._token() + self._random.choice((-1, 0, 0, 1)) if self._random.random() < 0.5 else None

    def _claim(self) -> tuple[_Ask, _Expect]:
        claim = AnswerClaim(
            key=self.key,
            claimant=self._random.choice("abc"),
            lease_s=self._random.choice(_DURATIONS_S[1:]),
            awaited=self._maybe_token(),
            unusable=self._maybe_token() if self._random.random() < 0.3 else None,
        )
        return lambda store: store.claim(claim), lambda record, now_us: claimed(record, claim, now_us)

    def _extend(self) -> tuple[_Ask, _Expect]:
        token, lease_s = self._token(), self._random.choice(_DURATIONS_S[1:])
        return (
            lambda store: store.extend(self.key, token=token, lease_s=lease_s),
            lambda record, now_us: _changed(record, extended(record, token=token, lease_s=lease_s, now_us=now_us)),
        )

    def _settle(self) -> tuple[_Ask, _Expect]:
        token, outcome = self._token(), self._random.randbytes(self._random.randrange(40))
        keep_s, tell_s = self._random.choice(_DURATIONS_S), self._random.choice(_DURATIONS_S)
        return (
            lambda store: store.settle(self.key, token=token, outcome=outcome, keep_s=keep_s, tell_s=tell_s),
            lambda record, now_us: _changed(
                record,
                settled(record, token=token, outcome=outcome, keep_s=keep_s, tell_s=tell_s, now_us=now_us),
            ),
        )

    def _release(self) -> tuple[_Ask, _Expect]:
        claimant = self._random.choice("abc")
        return (
            lambda store: store.release(self.key, claimant=claimant),
            lambda record, now_us: (released(record, claimant=claimant, now_us=now_us) or record, None),
        )


def _changed(before: AnswerRecord | None, after: AnswerRecord | None) -> tuple[AnswerRecord | None, bool]:
    return (before, False) if after is None else (after, True)


class AnswerStoreContract(ABC):
    """Derive from it, name the class ``Test…`` and open your store; pytest does the rest."""

    pytestmark = pytest.mark.anyio

    histories = 40
    """How many random histories the store is taken through."""

    @abstractmethod
    def open_store(self, clock: ManualClock) -> AbstractAsyncContextManager[AnswerStore]:
        """Return this test's store, which is empty, open for the length of an ``async with`` block.

        Args:
            clock: the store's time.
        """

    async def let_pass(self, seconds: float) -> None:
        """Let time pass; override it where the store cannot be given a clock, and advance `self.clock` as well."""
        self.clock.advance(seconds)

    @pytest.fixture(autouse=True)
    def _begin(self) -> None:
        self.clock = ManualClock()

    async def _won(self, store: AnswerStore, claim: AnswerClaim | None = None) -> int:
        heard = await store.claim(_claim() if claim is None else claim)
        assert isinstance(heard, Won)
        return heard.token

    async def _settle(
        self, store: AnswerStore, token: int, outcome: bytes = b"42", *, keep_s: float = 300.0, tell_s: float = 10.0
    ) -> bool:
        return await store.settle(_KEY, token=token, outcome=outcome, keep_s=keep_s, tell_s=tell_s)

    async def test_claim_of_many_at_once_is_won_by_one(self) -> None:
        """The others hear whose token to wait for, and for how long."""
        async with self.open_store(self.clock) as store:
            heard: list[Told | Won | Busy] = []

            async def claim(name: str) -> None:
                heard.append(await store.claim(_claim(name)))

            async with anyio.create_task_group() as tasks:
                for number in range(8):
                    tasks.start_soon(claim, f"{number}")

            (won,) = (each for each in heard if isinstance(each, Won))
            assert heard.count(Busy(token=won.token, left_s=_LEASE_S)) == 7

    async def test_claim_of_another_key_has_nothing_to_do_with_it(self) -> None:
        """Neither with who is at it, nor with what came of it."""
        async with self.open_store(self.clock) as store:
            token = await self._won(store)
            other = await self._won(store, _claim("b", key=_OTHER))
            assert await self._settle(store, token)

            busy = await store.claim(_claim("c", key=_OTHER, awaited=other))
            assert busy == Busy(token=other, left_s=_LEASE_S)

    async def test_claim_made_again_by_the_same_claimant_is_won_again(self) -> None:
        """Who did not hear the answer may ask again; the lease begins anew."""
        async with self.open_store(self.clock) as store:
            token = await self._won(store)
            await self.let_pass(3.0)

            assert await store.claim(_claim()) == Won(token=token)
            assert await store.claim(_claim("b")) == Busy(token=token, left_s=_LEASE_S)

    async def test_claim_while_the_outcome_is_kept_is_told_it(self) -> None:
        """Every byte, to everybody, until it is too old."""
        outcome = bytes(range(256)) * 40
        async with self.open_store(self.clock) as store:
            token = await self._won(store)
            assert await self._settle(store, token, outcome, keep_s=300.0)
            await self.let_pass(299.999)

            assert await store.claim(_claim("b")) == Told(token=token, outcome=outcome)
            await self.let_pass(0.001)
            assert isinstance(await store.claim(_claim("c")), Won)

    async def test_claim_by_who_waited_is_told_an_outcome_that_is_not_kept(self) -> None:
        """Also while a newcomer has the key already."""
        async with self.open_store(self.clock) as store:
            first = await self._won(store)
            assert await self._settle(store, first, b"failed", keep_s=0.0, tell_s=10.0)
            second = await self._won(store, _claim("new"))
            await self.let_pass(4.0)

            assert second > first
            assert await store.claim(_claim("b", awaited=first)) == Told(token=first, outcome=b"failed")
            assert await store.claim(_claim("c", awaited=second)) == Busy(token=second, left_s=1.0)
            assert await store.claim(_claim("d")) == Busy(token=second, left_s=1.0)
            await self.let_pass(1.0)
            assert await store.claim(_claim("b", awaited=first)) == Told(token=first, outcome=b"failed")
            assert await self._won(store, _claim("d")) > second

    async def test_claim_by_who_waited_for_an_earlier_one_is_told_the_outcome_of_a_later_one(self) -> None:
        """It was on its way while he waited."""
        async with self.open_store(self.clock) as store:
            first = await self._won(store)
            await store.release(_KEY, claimant="a")
            second = await self._won(store, _claim("b"))
            assert await self._settle(store, second, b"failed", keep_s=0.0, tell_s=10.0)

            assert await store.claim(_claim("c", awaited=first)) == Told(token=second, outcome=b"failed")

    async def test_claim_by_who_waited_for_too_long_is_told_nothing(self) -> None:
        """The next in turn is as good as any newcomer."""
        async with self.open_store(self.clock) as store:
            token = await self._won(store)
            assert await self._settle(store, token, keep_s=0.0, tell_s=10.0)
            await self.let_pass(10.0)

            assert isinstance(await store.claim(_claim("b", awaited=token)), Won)

    async def test_claim_by_who_cannot_read_the_outcome_is_won_by_one(self) -> None:
        """And the outcome stays for those who can."""
        async with self.open_store(self.clock) as store:
            first = await self._won(store)
            assert await self._settle(store, first)

            second = await self._won(store, _claim("b", unusable=first))

            assert await store.claim(_claim("c", unusable=first)) == Busy(token=second, left_s=_LEASE_S)
            assert await store.claim(_claim("d")) == Told(token=first, outcome=b"42")
            assert await self._settle(store, second, b"43")
            assert await store.claim(_claim("c", unusable=first)) == Told(token=second, outcome=b"43")

    async def test_claim_when_the_lease_is_over_is_won_by_one_other(self) -> None:
        """Not before."""
        async with self.open_store(self.clock) as store:
            first = await self._won(store)
            await self.let_pass(4.999)
            assert isinstance(await store.claim(_claim("b", awaited=first)), Busy)
            await self.let_pass(0.001)

            second = await self._won(store, _claim("b", awaited=first))

            assert second > first
            assert await store.claim(_claim("c", awaited=first)) == Busy(token=second, left_s=_LEASE_S)

    async def test_token_of_a_claim_that_is_over_changes_nothing(self) -> None:
        """Whether somebody else has the key, has had it, or nobody has."""
        async with self.open_store(self.clock) as store:
            first = await self._won(store)
            await self.let_pass(5.0)
            assert not await store.extend(_KEY, token=first, lease_s=_LEASE_S)
            assert not await self._settle(store, first, b"late")

            second = await self._won(store, _claim("b"))
            assert not await store.extend(_KEY, token=first, lease_s=_LEASE_S)
            assert not await self._settle(store, first, b"late")
            await store.release(_KEY, claimant="a")
            assert await store.claim(_claim("c")) == Busy(token=second, left_s=_LEASE_S)

            assert await self._settle(store, second)
            assert not await self._settle(store, first, b"late")
            assert await store.claim(_claim("c")) == Told(token=second, outcome=b"42")

    async def test_token_that_never_was_changes_nothing(self) -> None:
        """Of a key that nobody has claimed."""
        async with self.open_store(self.clock) as store:
            assert not await store.extend(_KEY, token=1, lease_s=_LEASE_S)
            assert not await self._settle(store, 1)
            await store.release(_KEY, claimant="a")

            assert isinstance(await store.claim(_claim()), Won)

    async def test_extend_begins_the_lease_anew(self) -> None:
        """As often as it is asked for in time."""
        async with self.open_store(self.clock) as store:
            token = await self._won(store)
            for _ in range(5):
                await self.let_pass(4.0)
                assert await store.extend(_KEY, token=token, lease_s=_LEASE_S)

            assert await store.claim(_claim("b")) == Busy(token=token, left_s=_LEASE_S)

    async def test_settle_made_again_says_again_that_it_was_done(self) -> None:
        """Who did not hear that may ask again; the first outcome stays."""
        async with self.open_store(self.clock) as store:
            token = await self._won(store)
            assert await self._settle(store, token)

            assert await self._settle(store, token, b"43")
            assert await store.claim(_claim("b")) == Told(token=token, outcome=b"42")

    async def test_release_lets_the_next_one_have_the_key(self) -> None:
        """Only one's own claim."""
        async with self.open_store(self.clock) as store:
            first = await self._won(store)
            await store.release(_KEY, claimant="b")
            assert isinstance(await store.claim(_claim("b", awaited=first)), Busy)
            await store.release(_KEY, claimant="a")

            assert await self._won(store, _claim("b", awaited=first)) > first
            assert not await self._settle(store, first)

    async def test_tokens_of_one_key_grow(self) -> None:
        """Also within one moment, and over a release that leaves nothing to know."""
        async with self.open_store(self.clock) as store:
            tokens: list[int] = []
            for pause_s in (0.0, 0.0, 1.0, 400.0, 0.0):
                tokens.append(await self._won(store))
                await store.release(_KEY, claimant="a")
                await self.let_pass(pause_s)

            assert tokens == sorted(set(tokens))

    async def test_store_and_rule_agree_on_random_histories(self) -> None:
        """To every token, every byte and every microsecond."""
        seed = random.SystemRandom().randrange(2**32)
        async with self.open_store(self.clock) as store:
            for number in range(self.histories):
                now_us = await self._won(store)  # a token that follows no other is the store's time
                await store.release(_KEY, claimant="a")
                history = AnswerHistory(number.to_bytes(32), seed=seed + number, now_us=now_us)
                for _ in range(_STEPS):
                    step = history.step()
                    await self.let_pass(step.pause_s)
                    assert await step.ask(store) == history.follow(step), f"seed {seed + number}"
                await self.let_pass(_LEASE_S)

    async def test_cancellation_at_any_moment_leaves_whole_changes_only(self) -> None:
        """Whatever was cut off, it happened or it did not; the key is free when the lease is over."""
        async with self.open_store(self.clock) as store:

            async def scenario() -> None:
                token = await self._won(store)
                await store.extend(_KEY, token=token, lease_s=_LEASE_S)
                await self._settle(store, token, keep_s=0.0, tell_s=0.0)
                await store.release(_KEY, claimant="a")

            async def check() -> None:
                heard = await store.claim(_claim("b"))
                assert isinstance(heard, Won) or heard == Busy(token=heard.token, left_s=_LEASE_S)
                await self.let_pass(_LEASE_S)
                await self._won(store, _claim("c"))
                await store.release(_KEY, claimant="c")

            await sweep_cancellation(scenario, check)
