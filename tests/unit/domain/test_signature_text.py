from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.signature_text import SIGNATURE_CHARS, read_signature, write_signature

TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0-Pw"


@given(st.binary(min_size=64, max_size=64))
def test_signature_goes_through_its_text_unchanged(signature: bytes) -> None:
    text = write_signature(signature)

    assert len(text) == SIGNATURE_CHARS
    assert read_signature(text) == signature


def test_text_of_a_known_signature_is_the_known_one() -> None:
    assert write_signature(bytes(range(64))) == TEXT


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT[:-1],
        f"{TEXT}=",
        f"{TEXT}==",
        f"{TEXT}\n",
        f" {TEXT[1:]}",
        TEXT.replace("-", "+"),
        f"{TEXT[:-1]}x",
        f"é{TEXT[1:]}",
        f"\ufffd{TEXT[1:]}",
        TEXT * 1000,
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no signature, which is 86 characters of base64url"):
        read_signature(text)


def test_each_signature_has_one_text() -> None:
    read = []
    for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
        try:
            read.append(read_signature(TEXT[:-1] + last))
        except ValueError:
            continue

    assert len(read) == len(set(read)) == 4
