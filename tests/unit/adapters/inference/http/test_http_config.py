from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest

from holdfast.adapters.inference.http import HttpConfig
from holdfast.ports.errors import ConfigurationError


def configured(**numbers: Any) -> HttpConfig:  # noqa: ANN401 - floats and integers
    return HttpConfig(**numbers)


@pytest.mark.parametrize("name", [field.name for field in fields(HttpConfig)])
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
def test_number_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"^http.{name}: must be a finite number above 0, not {value!r}$"):
        configured(**{name: value})


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("connect_timeout_s", "first_byte_timeout_s"),
        ("first_byte_timeout_s", "total_timeout_s"),
        ("idle_timeout_s", "total_timeout_s"),
        ("max_line_bytes", "max_stream_bytes"),
    ],
)
def test_number_that_another_leaves_no_room_for_is_refused_with_both_names(name: str, other: str) -> None:
    most = getattr(HttpConfig(), other)

    with pytest.raises(ConfigurationError, match=f"^http.{name}: must be at most http.{other}, {most!r}, not"):
        configured(**{name: most + 1})


def test_number_may_be_as_large_as_the_one_that_bounds_it() -> None:
    config = HttpConfig(connect_timeout_s=9.0, first_byte_timeout_s=9.0, idle_timeout_s=9.0, total_timeout_s=9.0)

    assert config.connect_timeout_s == config.total_timeout_s
