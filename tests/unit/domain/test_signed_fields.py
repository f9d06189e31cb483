from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.signed_fields import Purpose, signed_fields

FIELDS = st.lists(st.binary(max_size=12), max_size=4)


def test_each_purpose_gives_other_bytes_for_the_same_fields() -> None:
    messages = {signed_fields(purpose, b"a", b"b") for purpose in Purpose}

    assert len(messages) == len(Purpose)


def test_purposes_are_no_beginning_of_each_others_bytes() -> None:
    messages = [signed_fields(purpose) for purpose in Purpose]

    assert [one for one, other in itertools.permutations(messages, 2) if other.startswith(one)] == []


@given(FIELDS, FIELDS)
def test_different_fields_give_different_bytes(one: list[bytes], other: list[bytes]) -> None:
    same = signed_fields(Purpose.FILE, *one) == signed_fields(Purpose.FILE, *other)

    assert same is (one == other)


@given(st.sampled_from(Purpose), st.sampled_from(Purpose), FIELDS, FIELDS)
def test_different_purposes_share_bytes_with_no_fields_at_all(
    one: Purpose, other: Purpose, fields: list[bytes], others: list[bytes]
) -> None:
    same = signed_fields(one, *fields) == signed_fields(other, *others)

    assert same is ((one, fields) == (other, others))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((), b"holdfast/identity/1\0" + b"\0\0\0\0\0\0\0\4file"),
        ((b"",), b"holdfast/identity/1\0" + b"\0\0\0\0\0\0\0\4file" + b"\0\0\0\0\0\0\0\0"),
        ((b"ab",), b"holdfast/identity/1\0" + b"\0\0\0\0\0\0\0\4file" + b"\0\0\0\0\0\0\0\2ab"),
    ],
)
def test_bytes_of_known_fields_are_the_known_ones(fields: tuple[bytes, ...], message: bytes) -> None:
    assert signed_fields(Purpose.FILE, *fields) == message
