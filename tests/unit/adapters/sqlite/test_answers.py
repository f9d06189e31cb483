"""Shared answers in a file: what they take, and what outlives a process."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from holdfast.adapters.sqlite.answers import SqliteAnswers
from holdfast.adapters.sqlite.shared_store import SqliteStore
from holdfast.ports.answer_store import AnswerClaim, Busy, Told, Won
from holdfast.testing import ManualClock

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared.sqlite3"


def claim(number: int, claimant: str = "a") -> AnswerClaim:
    return AnswerClaim(key=number.to_bytes(32), claimant=claimant, lease_s=5.0)


async def answer(answers: SqliteAnswers, number: int, outcome: bytes, *, keep_s: float = 300.0) -> None:
    won = await answers.claim(claim(number))
    assert isinstance(won, Won)
    assert await answers.settle(number.to_bytes(32), token=won.token, outcome=outcome, keep_s=keep_s, tell_s=1.0)


def kept(path: Path) -> int:
    with sqlite3.connect(path) as beside:
        count: int = beside.execute("SELECT count(*) FROM answers").fetchone()[0]
    beside.close()
    return count


async def test_answers_and_claims_outlive_the_process(path: Path) -> None:
    async with SqliteStore(path, clock=ManualClock()) as store:
        answers = SqliteAnswers(store)
        await answer(answers, 1, b"42")
        won = await answers.claim(claim(2))
        assert isinstance(won, Won)

    async with SqliteStore(path, clock=ManualClock(7.0)) as store:
        answers = SqliteAnswers(store)

        assert isinstance(await answers.claim(claim(1, "b")), Told)
        assert isinstance(await answers.claim(claim(2, "b")), Busy)


async def test_outcomes_that_would_have_ended_first_make_room(path: Path) -> None:
    async with SqliteStore(path, clock=ManualClock()) as store:
        answers = SqliteAnswers(store, max_bytes=1000)
        for number, keep_s in enumerate((200.0, 100.0, 300.0)):
            await answer(answers, number, b"x" * 300, keep_s=keep_s)

        await answer(answers, 3, b"x" * 350)

        heard = [await answers.claim(claim(number, "b")) for number in range(4)]
        assert [type(each) for each in heard] == [Told, Won, Told, Told]


async def test_outcome_larger_than_all_may_be_drops_the_others_and_is_kept(path: Path) -> None:
    async with SqliteStore(path, clock=ManualClock()) as store:
        answers = SqliteAnswers(store, max_bytes=1000)
        await answer(answers, 1, b"x" * 300)

        await answer(answers, 2, b"x" * 1001)

        assert kept(path) == 1
        assert isinstance(await answers.claim(claim(2, "b")), Told)


async def test_claim_that_is_held_makes_no_room(path: Path) -> None:
    async with SqliteStore(path, clock=ManualClock()) as store:
        answers = SqliteAnswers(store, max_bytes=10)
        await answers.claim(claim(1))

        await answer(answers, 2, b"x" * 10)
        await answer(answers, 3, b"x" * 10)

        assert isinstance(await answers.claim(claim(1, "b")), Busy)


async def test_what_has_ended_is_removed_a_few_at_a_time(path: Path) -> None:
    clock = ManualClock()
    async with SqliteStore(path, clock=clock) as store:
        answers = SqliteAnswers(store)
        for number in range(20):
            await answer(answers, number, b"42", keep_s=10.0)
        clock.advance(10.0)

        await answers.claim(claim(100))
        assert kept(path) == 20 - 16 + 1
        await answers.claim(claim(101))
        assert kept(path) == 2


async def test_those_who_wait_write_nothing(path: Path) -> None:
    clock = ManualClock()
    async with SqliteStore(path, clock=clock) as store:
        answers = SqliteAnswers(store)
        await answers.claim(claim(1))
        with sqlite3.connect(path) as beside:
            before = beside.execute("PRAGMA data_version").fetchone()
            for _ in range(5):
                clock.advance(0.1)
                assert isinstance(await answers.claim(claim(1, "b")), Busy)

            assert beside.execute("PRAGMA data_version").fetchone() == before
        beside.close()
