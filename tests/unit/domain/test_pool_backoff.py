from __future__ import annotations

import pytest

from holdfast.domain.pool_backoff import CreationBackoff
from holdfast.domain.pool_config import PoolConfig

CONFIG = PoolConfig(creation_backoff_s=1.0, max_creation_backoff_s=2.0)
ERROR = ConnectionRefusedError("no")


def test_backoff_before_any_failure_is_none() -> None:
    backoff = CreationBackoff(CONFIG, lambda: 0.5)

    assert backoff.left_s(0.0) == 0.0
    assert backoff.error is None


@pytest.mark.parametrize(("uniform", "pause_s"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_backoff_after_a_failure_is_half_fixed_and_half_random(uniform: float, pause_s: float) -> None:
    backoff = CreationBackoff(CONFIG, lambda: uniform)

    backoff.fail(ERROR, 10.0)

    assert backoff.left_s(10.0) == pytest.approx(pause_s)
    assert backoff.left_s(10.0 + pause_s) == 0.0
    assert backoff.error is ERROR


def test_backoff_after_failures_in_a_row_grows_by_half_up_to_its_longest() -> None:
    backoff = CreationBackoff(CONFIG, lambda: 1.0)
    pauses_s: list[float] = []
    now_s = 0.0

    for _ in range(4):
        backoff.fail(ERROR, now_s)
        pauses_s.append(backoff.left_s(now_s))
        now_s += pauses_s[-1]

    assert pauses_s == pytest.approx([1.0, 1.5, 2.0, 2.0])


def test_backoff_after_a_second_failure_within_the_pause_is_no_longer() -> None:
    backoff = CreationBackoff(CONFIG, lambda: 1.0)
    later = ConnectionResetError("again")

    backoff.fail(ERROR, 0.0)
    backoff.fail(later, 0.6)

    assert backoff.left_s(0.6) == pytest.approx(0.4)
    assert backoff.error is later


def test_backoff_after_a_success_begins_anew() -> None:
    backoff = CreationBackoff(CONFIG, lambda: 1.0)
    backoff.fail(ERROR, 0.0)
    backoff.fail(ERROR, 1.0)

    backoff.succeed()

    assert backoff.left_s(1.0) == 0.0
    assert backoff.error is None
    backoff.fail(ERROR, 1.0)
    assert backoff.left_s(1.0) == pytest.approx(1.0)
