from __future__ import annotations

import math

import anyio
import pytest

from holdfast.domain.deadline import Deadline
from holdfast.ports.errors import ConfigurationError
from holdfast.testing import ManualClock, VirtualClock


def test_deadline_after_a_timeout_is_that_long_from_now() -> None:
    deadline = Deadline.after(5.0, ManualClock(100.0))

    assert deadline.at_s == 105.0


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, math.inf, math.nan])
def test_deadline_after_a_timeout_that_is_none_raises(timeout_s: float) -> None:
    with pytest.raises(ConfigurationError, match="timeout_s"):
        Deadline.after(timeout_s, ManualClock())


def test_remaining_while_time_passes_shrinks_to_zero_and_stays() -> None:
    clock = ManualClock()
    deadline = Deadline.after(5.0, clock)
    seen = [deadline.remaining_s()]
    for _ in range(3):
        clock.advance(2.0)
        seen.append(deadline.remaining_s())

    assert seen == [5.0, 3.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("elapsed_s", "passed"), [(0.0, False), (4.998, False), (4.9991, True), (5.0, True), (6.0, True)]
)
def test_has_passed_within_a_millisecond_of_the_moment_is_true(elapsed_s: float, passed: bool) -> None:
    clock = ManualClock()
    deadline = Deadline.after(5.0, clock)
    clock.advance(elapsed_s)

    assert deadline.has_passed() is passed


@pytest.mark.anyio
async def test_has_passed_right_after_a_scope_ended_at_the_deadline_is_true() -> None:
    clock = VirtualClock()
    deadline = Deadline.after(1 / 3, clock)
    with anyio.CancelScope(deadline=anyio.current_time() + deadline.remaining_s()) as scope:
        await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert deadline.has_passed()


def test_postpone_to_a_later_deadline_takes_its_moment() -> None:
    clock = ManualClock(0.0)
    deadline = Deadline(5.0, clock)
    deadline.postpone_to(Deadline(8.0, clock))

    assert deadline.at_s == 8.0


def test_postpone_to_an_earlier_deadline_changes_nothing() -> None:
    clock = ManualClock(0.0)
    deadline = Deadline(5.0, clock)
    deadline.postpone_to(Deadline(3.0, clock))

    assert deadline.at_s == 5.0


def test_copy_that_is_postponed_leaves_the_original() -> None:
    clock = ManualClock(0.0)
    deadline = Deadline(5.0, clock)
    copied = deadline.copy()
    copied.postpone_to(Deadline(8.0, clock))
    clock.advance(6.0)

    assert (deadline.remaining_s(), copied.remaining_s()) == (0.0, 2.0)


def test_lift_makes_it_never_pass() -> None:
    clock = ManualClock(0.0)
    deadline = Deadline(5.0, clock)
    deadline.lift()
    clock.advance(1e9)

    assert not deadline.has_passed()


def test_repr_names_the_moment() -> None:
    assert repr(Deadline(5.0, ManualClock())) == "Deadline(at_s=5.0)"
