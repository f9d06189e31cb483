from __future__ import annotations

import pytest

from holdfast.adapters.inference.stems import stem


@pytest.mark.parametrize(
    "forms",
    [
        ("retry", "retries", "retried", "retrying"),
        ("stop", "stops", "stopped", "stopping"),
        ("cause", "causes", "caused", "causing"),
        ("breaker", "breakers"),
        ("process", "processes", "processed"),
        ("state", "states", "stated"),
        ("call", "calls", "called", "calling"),
        ("index", "indexes", "indexed"),
    ],
)
def test_stem_of_all_forms_is_one(forms: tuple[str, ...]) -> None:
    assert len({stem(form) for form in forms}) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("bus", "bu"), ("is", "i"), ("class", "clas"), ("thing", "th"), ("red", "r"), ("using", "us")]
)
def test_stem_keeps_what_only_looks_like_an_ending(one: str, other: str) -> None:
    assert stem(one) != stem(other)


@pytest.mark.parametrize("word", ["", "s", "es", "ed", "ing", "überlast", "断路器", "x1"])
def test_stem_of_short_and_foreign_words_is_the_word(word: str) -> None:
    assert stem(word) == word
