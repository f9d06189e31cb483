from __future__ import annotations

import pytest

from holdfast.domain.admission_overload import OverloadWatch


def watch() -> OverloadWatch:
    return OverloadWatch(after_s=30.0, wait_s=3.0, now_s=100.0)


def arrive(watched: OverloadWatch, *at_s: float, waited_s: float = 4.0) -> None:
    for now_s in at_s:
        watched.count_arrival(now_s, oldest_s=now_s - waited_s)


def serve(watched: OverloadWatch, *at_s: float, waited_s: float = 4.0) -> None:
    for now_s in at_s:
        watched.count_served(now_s, oldest_s=now_s - waited_s)


def test_line_into_which_more_comes_than_is_served_is_overloaded_once_the_whole_time_is_over() -> None:
    watched = watch()
    arrive(watched, 110.0, 111.0)
    serve(watched, 112.0)
    arrive(watched, 120.0, 121.0)
    serve(watched, 122.0)
    assert watched.since_s is None
    arrive(watched, 130.0)

    assert watched.since_s == 130.0


def test_burst_that_is_being_worked_off_is_no_overload_however_long_it_takes() -> None:
    watched = watch()
    arrive(watched, *([100.0] * 1000))
    serve(watched, *range(101, 400))

    assert watched.since_s is None


def test_line_into_which_as_much_comes_as_is_served_is_not_overloaded() -> None:
    watched = watch()
    for second in range(101, 200):
        arrive(watched, second)
        serve(watched, second)

    assert watched.since_s is None


def test_line_that_moves_on_before_anyone_has_waited_for_too_long_is_not_overloaded() -> None:
    watched = watch()
    arrive(watched, *range(101, 200), waited_s=3.0)

    assert watched.since_s is None


def test_line_that_nobody_is_served_from_is_not_overloaded_while_nobody_comes() -> None:
    watched = watch()
    arrive(watched, 100.0)
    serve(watched, 300.0, 400.0)

    assert watched.since_s is None


def test_line_that_was_worked_off_for_a_while_is_overloaded_once_more_comes_again() -> None:
    watched = watch()
    serve(watched, *range(101, 200))
    arrive(watched, *range(200, 241))

    assert watched.since_s == 220.0


def test_line_into_which_more_comes_than_is_served_for_a_third_of_the_time_only_is_not_overloaded() -> None:
    watched = watch()
    for start_s in (110.0, 130.0, 150.0):
        arrive(watched, start_s, start_s + 1.0)
        serve(watched, start_s + 10.0, start_s + 11.0, start_s + 12.0)

    assert watched.since_s is None


@pytest.mark.parametrize("at_s", [130.0, 500.0])
def test_line_of_which_nothing_was_heard_for_a_third_of_the_time_is_judged_from_then_on(at_s: float) -> None:
    watched = watch()
    arrive(watched, 110.0)
    arrive(watched, at_s, at_s + 1.0, at_s + 9.0)
    assert watched.since_s is None
    arrive(watched, at_s + 10.0)

    assert watched.since_s == at_s + 10.0


@pytest.mark.parametrize("later_s", [136.0, 500.0])
def test_line_that_is_overloaded_stays_so_until_it_is_empty(later_s: float) -> None:
    watched = watch()
    arrive(watched, 110.0, 120.0, 130.0)
    serve(watched, *([later_s] * 10), later_s + 10.0, waited_s=0.0)

    assert watched.since_s == 130.0
