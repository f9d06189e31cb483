from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.text_size import utf8_size_bytes

texts = st.text(st.characters(), max_size=200)  # lone surrogates included


@given(texts, st.integers(1, 5000))
def test_size_of_any_text_is_that_of_its_encoding(text: str, repeated: int) -> None:
    whole = text * repeated

    assert utf8_size_bytes(whole) == len(whole.encode("utf-8", "surrogatepass"))


@given(texts, st.integers(-5, 1000))
def test_size_of_a_text_that_is_long_enough_is_exact_or_beyond_what_was_asked_for(text: str, enough_bytes: int) -> None:
    exact = len(text.encode("utf-8", "surrogatepass"))
    found = utf8_size_bytes(text, enough_bytes=enough_bytes)

    assert found == exact or enough_bytes < found <= exact


@pytest.mark.parametrize("text", ["\N{GRINNING FACE}" * 5_000_000, "\N{GRINNING FACE}" * 3_000_000])
def test_size_of_megabytes_of_emoji_is_given_up_without_encoding_them(text: str) -> None:
    tracemalloc.start()
    try:
        found = utf8_size_bytes(text, enough_bytes=4_000_000)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 4_000_000 < found <= 5_000_000  # given up as soon as it was enough
    assert peak_bytes < 1_000_000
