from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.ports.output import MAX_CHECKED_CHARS, MAX_JSON_DEPTH, read_json_answer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_read_json_gives_the_value_that_was_written(value: object) -> None:
    assert read_json_answer(json.dumps(value)) == value


@given(st.text(max_size=80) | st.text(alphabet='[]{}":,.0123456789eE+-truefalsnN \n\\u', max_size=80))
def test_read_json_of_any_text_gives_what_json_can_hold_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert json.dumps(read_json_answer(text), allow_nan=False)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is no JSON from line 1, column 1 on"),
        ('{"a": 1,\n oops}', "is no JSON from line 2, column 2 on"),
        ('{"a": 1} and more', "is no JSON from line 1, column 10 on"),
        ("NaN", "holds a number that is none in JSON"),
        ("[-Infinity]", "holds a number that is none in JSON"),
        ("1e999", "holds a number that is too large"),
        ("-1e309", "holds a number that is too large"),
        ("1" + "0" * 309, "holds a number that is too large"),
        ("9" * 5000, "holds a number that is too large"),
        ("[" * 50_000, "is nested deeper than 64 levels"),
        ('{"a":' * 15_000, "is nested deeper than 64 levels"),
    ],
)
def test_read_json_that_cannot_be_used_says_why(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=rf"^{problem}$"):
        read_json_answer(text)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_read_json_as_deep_as_allowed_is_read_and_one_level_more_is_not(opening: str, closing: str) -> None:
    inside = opening * (MAX_JSON_DEPTH - 1) + "[1]" + closing * (MAX_JSON_DEPTH - 1)

    assert read_json_answer(inside)
    with pytest.raises(ValueError, match="nested deeper"):
        read_json_answer(f"[{inside}]")


def test_read_json_as_deep_as_allowed_and_empty_at_the_bottom_is_read() -> None:
    assert read_json_answer("[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH)
    with pytest.raises(ValueError, match="nested deeper"):
        read_json_answer("[" * (MAX_JSON_DEPTH + 1) + "]" * (MAX_JSON_DEPTH + 1))


def test_read_json_as_long_as_allowed_is_read_and_one_character_more_is_not() -> None:
    assert read_json_answer(f'"{"a" * (MAX_CHECKED_CHARS - 2)}"')
    with pytest.raises(ValueError, match=r"^has more than the 100000 characters that are checked$"):
        read_json_answer(f'"{"a" * (MAX_CHECKED_CHARS - 1)}"')
    with pytest.raises(ValueError, match=r"^has more than the 3 characters"):
        read_json_answer("1234", max_chars=3)


@pytest.mark.parametrize("literal", ["1e308", "-1e308", "1" + "0" * 308, "1e-999", "0"])
def test_read_json_number_that_a_float_comes_near_is_read(literal: str) -> None:
    assert read_json_answer(literal) == json.loads(literal)
