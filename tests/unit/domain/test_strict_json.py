from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.strict_json import read_strict_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_read_whatever_was_written_returns_it(value: object, ascii_only: bool) -> None:
    try:
        document = json.dumps(value, ensure_ascii=ascii_only).encode()
        expected = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return

    assert json.dumps(read_strict_json(document, max_depth=20), ensure_ascii=False).encode() == expected


@pytest.mark.parametrize(
    "document",
    [
        b'{"a": 1, "a": 1}',
        b'{"a": 1, "\\u0061": 2}',
        b'[{"b": {"a": 1, "a": 1}}]',
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"1e999",
        b"-1e999",
        b'"\\ud800"',
        b'{"\\uDFFF": 1}',
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"\xed\xa0\x80",
        b"",
        b"{",
        b"{}{}",
        b"{} x",
        b"[1,]",
        b"{'a': 1}",
        b"01",
        b"]]]]",
        b"1" * 5000,
        b"1" + b"0" * 400,
        b"-1" + b"0" * 400,
        '"\N{LINE SEPARATOR}'.encode(),
    ],
    ids=repr,
)
def test_read_what_has_no_or_more_than_one_reading_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the kind is all that is promised
        read_strict_json(document, max_depth=4)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_read_beyond_the_depth_is_refused_and_up_to_it_read(opening: bytes, closing: bytes) -> None:
    read_strict_json(opening * 4 + b"1" + closing * 4, max_depth=4)

    for depth in (5, 1000, 1_000_000):
        with pytest.raises(ValueError, match="deeper than 4"):
            read_strict_json(opening * depth, max_depth=4)


def test_read_brackets_in_texts_are_no_depth() -> None:
    assert read_strict_json(b'["[[[[", "\\"[[[[", {"{{{{\\\\": "]"}]', max_depth=2) == [
        "[[[[",
        '"[[[[',
        {"{{{{\\": "]"},
    ]
