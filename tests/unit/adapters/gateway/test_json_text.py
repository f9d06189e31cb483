from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.adapters.gateway.json_text import encode_json, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
parse = partial(parse_json, max_values=100_000)
TEXTS = st.text(st.characters(codec=None, exclude_categories=()))


@given(st.dictionaries(st.text(), VALUES))
def test_parse_gives_back_what_was_encoded(document: dict[str, object]) -> None:
    assert parse(encode_json(document)) == document


@given(TEXTS)
def test_encode_gives_utf_8_whatever_the_text(text: str) -> None:
    encoded = encode_json({"text": text})

    assert json.loads(encoded.decode("utf-8"))["text"] == text
    assert b"\n" not in encoded


def _outcome(parse: Callable[[bytes], object], text: bytes) -> object:
    try:
        return parse(text)
    except ValueError:
        return "refused"


@given(st.binary() | st.sampled_from([b"NaN", b'{"a": [null, -0.5]}', b"\xef\xbb\xbf1", b'"\\ud800"']))
def test_parse_refuses_whatever_is_no_json_and_nothing_else(text: bytes) -> None:
    expected = _outcome(lambda raw: json.loads(json.dumps(json.loads(raw.decode()), allow_nan=False)), text)

    assert _outcome(parse, text) == expected


@pytest.mark.parametrize("depth", [1, 63, 64])
def test_parse_takes_64_levels(depth: int) -> None:
    assert parse(b"[" * depth + b"]" * depth) is not None


@pytest.mark.parametrize("depth", [65, 500, 100_000])
def test_parse_refuses_more_than_64_levels(depth: int) -> None:
    with pytest.raises(ValueError, match="deeper than 64"):
        parse(b"[" * depth + b"]" * depth)


def test_parse_counts_objects_and_arrays_alike() -> None:
    with pytest.raises(ValueError, match="deeper than 64"):
        parse(b'[{"a":' * 33 + b"1" + b"}]" * 33)


@pytest.mark.parametrize("text", [b"[1,2,3]", b'{"a":1,"b":2,"c":3}', b'[{"a":[1]}]', b"[[[1]]]", b'[{},"a b",null]'])
def test_parse_counts_values_at_every_depth(text: bytes) -> None:
    assert parse_json(text, max_values=4) is not None
    with pytest.raises(ValueError, match="has more than 3 values; send fewer"):
        parse_json(text, max_values=3)


@pytest.mark.parametrize(
    "text", [b"NaN", b'{"a": Infinity}', b"[-Infinity]", b"[1e400]", b"-1e400", b"", b"{", b"\xff", b"1" * 5000]
)
def test_parse_refuses_what_is_no_json(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each says something else
        parse(text)
