from __future__ import annotations

from typing import Any

import pytest

from holdfast.domain.pattern import Pattern
from holdfast.ports.errors import ConfigurationError


@pytest.mark.parametrize(
    ("pattern", "text", "problem"),
    [
        (Pattern(name="p", must_match="4+2"), "it is 442", None),
        (Pattern(name="p", must_match="4+2"), "it is 24", "does not match the pattern '4+2'"),
        (Pattern(name="p", must_match=r"\A\d+\Z"), "42\n", r"does not match the pattern '\\A\\d+\\Z'"),
        (Pattern(name="p", must_not_match="sorry"), "no", None),
        (Pattern(name="p", must_not_match="sorry"), "so sorry", "matches the pattern 'sorry'"),
        (Pattern(name="p", must_match="a", must_not_match="b"), "a", None),
        (Pattern(name="p", must_match="a", must_not_match="b"), "ab", "matches the pattern 'b'"),
        (Pattern(name="p", must_match="a", must_not_match="b"), "b", "does not match the pattern 'a'"),
        (Pattern(name="p", must_match="a", explanation="is not A"), "b", "is not A"),
        (Pattern(name="p", must_not_match="a", explanation="is A"), "a", "is A"),
        (Pattern(name="p", must_match="größe"), "GRÖSSE", "does not match the pattern 'größe'"),
    ],
)
def test_check_searches_the_text_for_both_patterns(pattern: Pattern, text: str, problem: str | None) -> None:
    assert pattern.check(text) == problem


def test_check_text_beyond_the_bound_is_not_searched_and_does_not_pass() -> None:
    pattern = Pattern(name="p", must_match="a", max_chars=3)

    assert pattern.check("aaa") is None
    assert pattern.check("aaaa") == "has more than the 3 characters that are checked"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"^validators\.p: give must_match, must_not_match or both$"),
        ({"must_match": "("}, r"^validators\.p\.must_match: '\(' is no valid pattern: "),
        ({"must_match": "a", "must_not_match": "["}, r"^validators\.p\.must_not_match: '\[' is no valid pattern: "),
        ({"must_match": "a", "max_chars": 0}, r"^validators\.p\.max_chars: .* at least 1, not 0$"),
    ],
)
def test_pattern_that_could_not_work_is_refused_with_its_path(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Pattern(name="p", **given)
