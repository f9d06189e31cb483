from __future__ import annotations

import pytest

from holdfast.ports.search_terms import MAX_SEARCH_TERMS, search_terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Why does the breaker open?", ("breaker", "open"), id="a-question"),
        pytest.param("breaker BREAKER Breaker", ("breaker",), id="each-once"),
        pytest.param("half_open holdfast.domain", ("half", "open", "holdfast", "domain"), id="identifiers"),
        pytest.param("Don't you think it's Ok?", ("think", "ok"), id="apostrophes"),
        pytest.param("Überlast Émile 断路器", ("überlast", "émile", "断路器"), id="unicode"),
        pytest.param('"a" AND b* NEAR(c, 2) -e col:x^y', ("b", "near", "c", "2", "e", "col", "x", "y"), id="operators"),
        pytest.param("nul\x00byte \ud800 surrogate", ("nul", "byte", "surrogate"), id="nul-and-surrogate"),
        pytest.param("what is it?", (), id="only-stop-words"),
        pytest.param("!?…", (), id="no-words"),
        pytest.param("", (), id="empty"),
    ],
)
def test_search_terms_of_a_text_are_its_meaningful_words(text: str, expected: tuple[str, ...]) -> None:
    assert search_terms(text) == expected


def test_search_terms_more_than_the_limit_keeps_the_first() -> None:
    assert search_terms("one two three", limit=2) == ("one", "two")


def test_search_terms_of_a_long_text_are_bounded() -> None:
    assert len(search_terms(" ".join(f"word{number}" for number in range(1000)))) == MAX_SEARCH_TERMS
