"""The arithmetic of one quantity: taking, draining, refunds and debts."""

from __future__ import annotations

import math

import pytest

from holdfast.domain.gcra import Gcra


def gcra(*, per_s: float = 1.0, burst: float = 10.0, max_debt_s: float = 1000.0) -> Gcra:
    return Gcra(per_s=per_s, burst=burst, max_debt_s=max_debt_s, now_s=0.0)


def test_new_one_lets_a_burst_through_at_once_and_no_more() -> None:
    quantity = gcra()

    assert quantity.try_take("a", 10.0, 0.0)
    assert not quantity.try_take("b", 0.001, 0.0)


def test_cost_that_does_not_fit_takes_nothing() -> None:
    quantity = gcra()
    quantity.try_take("a", 6.0, 0.0)

    assert not quantity.try_take("b", 5.0, 0.0)
    assert quantity.left(0.0) == 4.0


def test_level_drains_at_the_rate_and_no_further_than_to_a_whole_burst() -> None:
    quantity = gcra(per_s=2.0)
    quantity.try_take("a", 10.0, 0.0)

    assert [quantity.left(now_s) for now_s in (1.0, 4.5, 5.0, 100.0)] == [2.0, 9.0, 10.0, 10.0]


def test_wait_is_until_the_cost_fits_and_then_it_does() -> None:
    quantity = gcra(per_s=0.3)
    quantity.try_take("a", 10.0, 0.0)
    wait_s = quantity.wait_s(7.0, 0.0)

    assert wait_s == pytest.approx(7.0 / 0.3)
    assert not quantity.try_take("b", 7.0, wait_s - 0.001)
    assert quantity.try_take("b", 7.0, wait_s)


def test_wait_for_what_fits_now_is_none() -> None:
    assert gcra().wait_s(10.0, 0.0) == 0.0


def test_wait_for_more_than_a_burst_never_ends() -> None:
    assert gcra().wait_s(10.5, 0.0) == math.inf


def test_refund_of_what_has_not_drained_is_there_at_once() -> None:
    quantity = gcra()
    quantity.try_take("a", 8.0, 0.0)
    quantity.settle("a", 8.0, 3.0, 0.0)

    assert quantity.left(0.0) == 7.0


@pytest.mark.parametrize("order", ["abc", "cba", "bca"])
def test_refunds_of_all_in_any_order_give_the_whole_burst_back(order: str) -> None:
    quantity = gcra()
    for key in "abc":
        quantity.try_take(key, 3.0, 0.0)
    for key in order:
        quantity.settle(key, 3.0, 0.0, 0.0)

    assert quantity.left(0.0) == 10.0


def test_refund_of_what_has_drained_lets_nothing_through_a_second_time() -> None:
    quantity = gcra()
    quantity.try_take("waited out", 10.0, 0.0)
    quantity.try_take("used", 10.0, 10.0)
    quantity.settle("used", 10.0, 10.0, 10.0)
    quantity.settle("waited out", 10.0, 0.0, 10.0)

    assert quantity.left(10.0) == 0.0


def test_refund_of_what_has_drained_in_part_gives_back_the_rest() -> None:
    quantity = gcra()
    quantity.try_take("a", 10.0, 0.0)
    quantity.settle("a", 10.0, 0.0, 4.0)

    assert quantity.left(4.0) == 10.0


def test_what_was_used_drains_before_what_is_only_reserved() -> None:
    quantity = gcra()
    quantity.try_take("reserved", 5.0, 0.0)
    quantity.try_take("used", 5.0, 0.0)
    quantity.settle("used", 5.0, 5.0, 0.0)
    quantity.settle("reserved", 5.0, 0.0, 4.0)

    assert quantity.left(4.0) == 9.0


def test_drain_goes_on_from_what_was_used_to_what_is_reserved() -> None:
    quantity = gcra()
    quantity.try_take("reserved", 5.0, 0.0)
    quantity.try_take("used", 5.0, 0.0)
    quantity.settle("used", 5.0, 5.0, 0.0)
    quantity.settle("reserved", 5.0, 4.0, 8.0)  # three of its five have drained

    assert quantity.left(8.0) == 9.0


def test_oldest_reservation_drains_first() -> None:
    quantity = gcra()
    quantity.try_take("older", 5.0, 0.0)
    quantity.try_take("newer", 5.0, 0.0)
    quantity.settle("newer", 5.0, 0.0, 5.0)

    assert quantity.left(5.0) == 10.0
    quantity.settle("older", 5.0, 5.0, 5.0)
    assert quantity.left(5.0) == 10.0


def test_drain_ends_in_the_middle_of_a_reservation() -> None:
    quantity = gcra()
    quantity.try_take("older", 4.0, 0.0)
    quantity.try_take("newer", 4.0, 0.0)

    assert quantity.left(6.0) == 8.0
    quantity.settle("newer", 4.0, 3.0, 6.0)  # two of them have drained
    assert quantity.left(6.0) == 9.0


def test_more_used_than_taken_is_a_debt_that_is_paid_off_first() -> None:
    quantity = gcra()
    quantity.try_take("a", 4.0, 0.0)
    quantity.settle("a", 4.0, 25.0, 0.0)

    assert quantity.left(0.0) == -15.0
    assert quantity.wait_s(1.0, 0.0) == 16.0


def test_debt_beyond_the_most_that_is_kept_is_forgiven() -> None:
    quantity = gcra(max_debt_s=20.0)
    quantity.try_take("a", 4.0, 0.0)
    quantity.settle("a", 4.0, 1e18, 0.0)

    assert quantity.left(0.0) == -20.0


def test_paid_off_is_a_new_ones_state() -> None:
    quantity = gcra(per_s=2.0)

    assert quantity.paid_off_in_s(0.0) == 0.0
    quantity.try_take("a", 5.0, 0.0)
    assert quantity.paid_off_in_s(0.0) == 2.5
    assert quantity.paid_off_in_s(2.5) == 0.0


def test_clock_that_steps_back_gives_nothing_and_delays_nothing() -> None:
    quantity = gcra()
    quantity.try_take("a", 10.0, 3600.0)

    assert quantity.left(0.0) == 0.0
    assert quantity.wait_s(10.0, 0.0) == 10.0
    assert quantity.left(10.0) == 10.0


def test_cost_of_nothing_always_fits_until_there_is_a_debt() -> None:
    quantity = gcra()
    quantity.try_take("a", 10.0, 0.0)

    assert quantity.try_take("b", 0.0, 0.0)
    quantity.settle("b", 0.0, 1.0, 0.0)
    assert not quantity.try_take("c", 0.0, 0.0)


def test_refund_of_all_leaves_no_rounding_error() -> None:
    quantity = gcra()
    costs = {"a": 0.1, "b": 0.2, "c": 0.3}
    for key, cost in costs.items():
        quantity.try_take(key, cost, 0.0)
    for key, cost in costs.items():
        quantity.settle(key, cost, 0.0, 0.0)

    assert quantity.paid_off_in_s(0.0) == 0.0


def test_drain_of_all_leaves_no_rounding_error() -> None:
    quantity = gcra()
    for key, cost in {"a": 0.1, "b": 0.2, "c": 0.3}.items():
        quantity.try_take(key, cost, 0.0)

    assert quantity.paid_off_in_s(5.0) == 0.0


@pytest.mark.parametrize("cost", [0.1, 1 / 3, 0.7])
def test_rounding_neither_refuses_whoever_waited_nor_adds_up(cost: float) -> None:
    quantity = gcra(per_s=1 / 7)
    now_s = 0.1
    for number in range(2000):
        now_s += quantity.wait_s(cost, now_s)
        assert quantity.try_take(number, cost, now_s)
        quantity.settle(number, cost, cost, now_s)

    assert 2000 * cost <= 10.0 + now_s / 7 + 1e-6
