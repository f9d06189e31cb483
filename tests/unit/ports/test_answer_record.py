"""The rule of shared answers where no store can show it: a clock that is set back."""

from __future__ import annotations

import pytest

from holdfast.ports.answer_record import AnswerRecord, as_us, claimed, extended, released, settled
from holdfast.ports.answer_store import AnswerClaim, Busy, Told, Won

NOW_US = 1_800_000_000_000_000
HOUR_US = 3600 * 1_000_000


def claim(claimant: str = "a", *, lease_s: float = 5.0) -> AnswerClaim:
    return AnswerClaim(key=b"k" * 32, claimant=claimant, lease_s=lease_s)


def won(now_us: int = NOW_US) -> AnswerRecord:
    record, heard = claimed(None, claim(), now_us)
    assert heard == Won(token=now_us)
    return record


def answered(*, keep_s: float = 300.0) -> AnswerRecord:
    record = settled(won(), token=NOW_US, outcome=b"42", keep_s=keep_s, tell_s=5.0, now_us=NOW_US)
    assert record is not None
    return record


@pytest.mark.parametrize(("seconds", "us"), [(0.0, 0), (0.000_001, 1), (0.1, 100_000), (5.0, 5_000_000)])
def test_duration_in_whole_microseconds_is_exact(seconds: float, us: int) -> None:
    assert as_us(seconds) == us


def test_clock_set_back_by_an_hour_ends_the_lease_of_one_who_may_be_dead() -> None:
    record, heard = claimed(won(), claim("b"), NOW_US - HOUR_US)

    assert heard == Won(token=NOW_US + 1)
    assert record.held_until_us == NOW_US - HOUR_US + as_us(5.0)


def test_clock_set_back_by_an_hour_fences_off_the_one_who_lives() -> None:
    back_us = NOW_US - HOUR_US

    assert extended(won(), token=NOW_US, lease_s=5.0, now_us=back_us) is None
    assert settled(won(), token=NOW_US, outcome=b"", keep_s=1.0, tell_s=1.0, now_us=back_us) is None
    assert released(won(), claimant="a", now_us=back_us) is None


def test_clock_set_back_by_an_hour_ends_an_answer_that_would_be_kept_for_as_long_again() -> None:
    _, heard = claimed(answered(), claim("b"), NOW_US - HOUR_US)

    assert isinstance(heard, Won)


def test_clock_set_back_by_less_than_a_second_ends_nothing() -> None:
    back_us = NOW_US - as_us(1.0)

    assert claimed(won(), claim("b"), back_us)[1] == Busy(token=NOW_US, left_s=6.0)
    assert claimed(answered(), claim("b"), back_us)[1] == Told(token=NOW_US, outcome=b"42")
    assert extended(won(), token=NOW_US, lease_s=5.0, now_us=back_us) is not None


def test_clock_set_forward_by_an_hour_ends_leases_and_answers() -> None:
    ahead_us = NOW_US + HOUR_US

    assert claimed(won(), claim("b"), ahead_us)[1] == Won(token=ahead_us)
    assert claimed(answered(), claim("b"), ahead_us)[1] == Won(token=ahead_us)


def test_record_says_until_when_it_says_anything() -> None:
    assert won().ends_at_us == NOW_US + as_us(5.0)
    assert answered().ends_at_us == NOW_US + as_us(300.0)
    assert answered(keep_s=0.0).ends_at_us == NOW_US + as_us(5.0)
    given_up = released(won(), claimant="a", now_us=NOW_US)
    assert given_up is not None
    assert given_up.ends_at_us == NOW_US + 1  # until no new token can be this one
