from __future__ import annotations

import math

import pytest

from holdfast.domain.validation import (
    require,
    require_at_least,
    require_between,
    require_not_below,
    require_positive,
    require_ratio,
)
from holdfast.ports.errors import ConfigurationError
from tests.fakes.refusal import refusal

NOT_FINITE = [math.nan, math.inf, -math.inf, 10**400, -(10**400)]


def test_require_condition_that_holds_passes() -> None:
    assert refusal(require, True, "never said", path="a.b") is None


def test_require_condition_that_fails_raises_with_path_and_message() -> None:
    with pytest.raises(ConfigurationError, match=r"^a\.b: give one$") as raised:
        require(False, "give one", path="a.b")

    assert raised.value.path == "a.b"


@pytest.mark.parametrize("value", [1, 0.001, 5e-324])
def test_positive_value_above_zero_passes(value: float) -> None:
    assert refusal(require_positive, "a.b", value) is None


@pytest.mark.parametrize("value", [0, -0.0, -1, *NOT_FINITE])
def test_positive_value_not_above_zero_or_not_finite_raises_with_the_value(value: float) -> None:
    with pytest.raises(ConfigurationError) as raised:
        require_positive("a.b", value)

    assert str(raised.value) == f"a.b: must be a finite number above 0, not {value!r}"


@pytest.mark.parametrize("value", [2, 2.5])
def test_at_least_value_of_the_minimum_or_more_passes(value: float) -> None:
    assert refusal(require_at_least, "a.b", value, 2) is None


@pytest.mark.parametrize("value", [1, 1.999, *NOT_FINITE])
def test_at_least_value_below_the_minimum_or_not_finite_raises_with_both(value: float) -> None:
    with pytest.raises(ConfigurationError) as raised:
        require_at_least("a.b", value, 2)

    assert str(raised.value) == f"a.b: must be a finite number of at least 2, not {value!r}"


@pytest.mark.parametrize("value", [2, 2.5, 3])
def test_between_value_of_either_bound_or_between_them_passes(value: float) -> None:
    assert refusal(require_between, "a.b", value, 2, 3) is None


@pytest.mark.parametrize("value", [1.999, 3.001, *NOT_FINITE])
def test_between_value_beyond_a_bound_or_not_finite_raises_with_both_bounds(value: float) -> None:
    with pytest.raises(ConfigurationError) as raised:
        require_between("a.b", value, 2, 3)

    assert str(raised.value) == f"a.b: must be from 2 to 3, not {value!r}"


@pytest.mark.parametrize("value", [2, 2.5])
def test_not_below_value_of_the_other_or_more_passes(value: float) -> None:
    assert refusal(require_not_below, "a.b", value, "a.c", 2) is None


@pytest.mark.parametrize("value", [1, 1.999, *NOT_FINITE])
def test_not_below_value_below_the_other_or_not_finite_raises_with_both_paths_and_values(value: float) -> None:
    with pytest.raises(ConfigurationError) as raised:
        require_not_below("a.b", value, "a.c", 2)

    assert str(raised.value) == f"a.b: must be at least a.c, 2, not {value!r}"
    assert raised.value.path == "a.b"


@pytest.mark.parametrize("value", [0.001, 0.5, 1, 1.0])
def test_ratio_up_to_one_passes(value: float) -> None:
    assert refusal(require_ratio, "a.b", value) is None


@pytest.mark.parametrize("value", [0, -0.1, 1.001, *NOT_FINITE])
def test_ratio_out_of_range_or_not_finite_raises_with_the_value(value: float) -> None:
    with pytest.raises(ConfigurationError) as raised:
        require_ratio("a.b", value)

    assert str(raised.value) == f"a.b: must be above 0 and at most 1, not {value!r}"
