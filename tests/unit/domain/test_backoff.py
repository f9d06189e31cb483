from __future__ import annotations

import random
from itertools import pairwise

import pytest

from holdfast.domain.backoff import Backoff, equal_jitter


def test_fail_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 3.0, random=lambda: 1.0)

    assert [backoff.fail() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_fail_pause_is_anything_from_half_of_it() -> None:
    backoff = Backoff(8.0, 8.0, random=random.Random(1).random)
    pauses_s = sorted(backoff.fail() for _ in range(1000))

    assert pauses_s[0] == pytest.approx(4.0, abs=0.1)
    assert pauses_s[-1] == pytest.approx(8.0, abs=0.1)
    assert max(after - before for before, after in pairwise(pauses_s)) < 0.1


def test_fail_of_what_does_not_pass_is_the_longest_from_the_start() -> None:
    assert Backoff(1.0, 60.0, random=lambda: 1.0).fail(at_once=True) == 60.0


def test_succeed_begins_again_with_the_first_pause() -> None:
    backoff = Backoff(1.0, 60.0, random=lambda: 1.0)
    for _ in range(4):
        backoff.fail()

    backoff.succeed()

    assert backoff.fail() == 1.0


def test_fail_a_hundred_thousand_times_is_the_longest_pause() -> None:
    backoff = Backoff(1.0, 60.0, random=lambda: 1.0)

    assert max(backoff.fail() for _ in range(100_000)) == backoff.fail() == 60.0


@pytest.mark.parametrize(("uniform", "pause_s"), [(0.0, 2.0), (0.5, 3.0), (1.0, 4.0)])
def test_equal_jitter_is_half_of_the_pause_and_so_much_of_the_rest_as_chance_says(
    uniform: float, pause_s: float
) -> None:
    assert equal_jitter(4.0, uniform) == pause_s
