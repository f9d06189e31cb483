from __future__ import annotations

import copy
import itertools
import json
import pickle
from pathlib import Path

import pytest

from holdfast.ports.did import DID_LENGTH, Did
from holdfast.ports.errors import DidError

ROOT = Path(__file__).parents[3]

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
Y8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7

ALICE = "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw"
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

PUBLISHED = {
    "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp": (
        "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
    ),
    "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG": (
        "4cb5abf6ad79fbf5abbccafcc269d85cd2651ed4b885b5869f241aedf0a5ba29"
    ),
    "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf": (
        "7422b9887598068e32c4448a949adb290d0f4e35b9e01b0ee5f1a1e600fe2674"
    ),
}
"""Of the private keys 0, 1 and 2: test vectors of the did:key method, section A.1."""


def _encode(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


def _text(decoded: bytes, *, start: str = "did:key:z") -> str:
    """Spell bytes as a did:key, whatever they are."""
    number, digits = int.from_bytes(decoded, "big"), ""
    while number:
        number, value = divmod(number, 58)
        digits = BASE58[value] + digits
    return start + digits


SMALL_ORDER = {
    "order 1": _encode(1),
    "order 2": _encode(P - 1),
    "order 4, even": _encode(0),
    "order 4, odd": _encode(0, 1),
    **{f"order 8, {y % 100} {sign}": _encode(y, sign) for y, sign in itertools.product((Y8, P - Y8), (0, 1))},
}

NEGATIVE_ZERO = {"order 1": _encode(1, 1), "order 2": _encode(P - 1, 1)}

NON_CANONICAL = {
    f"p + {more}, sign {sign}": _encode(P + more, sign) for more, sign in itertools.product(range(19), (0, 1))
}


def _order(y: int) -> int | None:
    """Return the order of the points with this y if it divides 8; by doubling x² and y, no root needed."""
    for order in (1, 2, 4, 8):
        if y == 1:
            return order
        x2 = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
        # RFC 8032, section 5.1.4: y of the double is (y² + x²) / (1 - d x² y²).
        y = (y * y + x2) * pow(1 - D * x2 * y * y, -1, P) % P
    return None


@pytest.mark.parametrize(("text", "public_key"), PUBLISHED.items())
def test_did_of_a_published_key_is_the_published_one(text: str, public_key: str) -> None:
    assert Did.of_key(bytes.fromhex(public_key)) == text
    assert Did(text).public_key.hex() == public_key


@pytest.mark.parametrize(
    "vector", json.loads((ROOT / "tests/data/rfc8032.json").read_text()), ids=lambda vector: vector["name"]
)
def test_did_of_each_key_of_the_rfc_gives_the_key_back(vector: dict[str, str]) -> None:
    public_key = bytes.fromhex(vector["public"])

    assert Did(str(Did.of_key(public_key))).public_key == public_key


def test_did_is_its_own_text() -> None:
    did = Did(ALICE)

    assert did == ALICE
    assert hash(did) == hash(ALICE)
    assert str(did) == f"{did}" == ALICE
    assert len(did) == DID_LENGTH
    assert json.dumps([did]) == f'["{ALICE}"]'


def test_repr_names_the_type() -> None:
    assert repr(Did(ALICE)) == f"Did('{ALICE}')"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_is_a_did_again(protocol: int) -> None:
    loaded = pickle.loads(pickle.dumps(Did(ALICE), protocol))  # noqa: S301 - made on the same line

    assert (type(loaded), loaded) == (Did, ALICE)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, Did])
def test_copy_is_a_did_again(copied: type[Did]) -> None:
    again = copied(Did(ALICE))

    assert (type(again), again) == (Did, ALICE)


@pytest.mark.parametrize("name", SMALL_ORDER)
def test_points_called_small_here_are_of_an_order_that_divides_8(name: str) -> None:
    y = int.from_bytes(SMALL_ORDER[name], "little") & (1 << 255) - 1

    assert _order(y) == int(name.split()[1].rstrip(","))


def test_points_of_small_order_are_eight() -> None:
    assert len(set(SMALL_ORDER.values())) == 8


@pytest.mark.parametrize("name", SMALL_ORDER)
def test_key_of_small_order_is_refused(name: str) -> None:
    with pytest.raises(DidError, match="small order"):
        Did.of_key(SMALL_ORDER[name])


@pytest.mark.parametrize("name", SMALL_ORDER)
def test_text_of_a_key_of_small_order_is_refused(name: str) -> None:
    with pytest.raises(DidError, match="small order"):
        Did(_text(b"\xed\x01" + SMALL_ORDER[name]))


@pytest.mark.parametrize("name", NEGATIVE_ZERO)
def test_key_with_a_sign_where_x_is_zero_is_refused(name: str) -> None:
    with pytest.raises(DidError, match="small order"):
        Did.of_key(NEGATIVE_ZERO[name])


@pytest.mark.parametrize("name", NON_CANONICAL)
def test_key_with_a_second_spelling_of_y_is_refused(name: str) -> None:
    with pytest.raises(DidError, match="another spelling"):
        Did.of_key(NON_CANONICAL[name])


@pytest.mark.parametrize("y", [2, 7, P - 2, P - 7])
@pytest.mark.parametrize("sign", [0, 1])
def test_key_that_is_no_point_is_refused(y: int, sign: int) -> None:
    with pytest.raises(DidError, match="no point of the curve"):
        Did.of_key(_encode(y, sign))


@pytest.mark.parametrize("y", [3, 4, P - 3])
@pytest.mark.parametrize("sign", [0, 1])
def test_key_that_is_any_other_point_is_accepted(y: int, sign: int) -> None:
    assert Did.of_key(_encode(y, sign)).public_key == _encode(y, sign)


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(DidError, match=f"{length} bytes, not 32"):
        Did.of_key(b"\x05" * length)


@pytest.mark.parametrize(
    "alias",
    [
        f" {ALICE}",
        f"{ALICE} ",
        f"{ALICE}\n",
        f"{ALICE}#{ALICE[8:]}",
        f"{ALICE}?versionId=1",
        f"{ALICE}/path",
        ALICE.replace("did:key:", "did:key:1.1:"),
        ALICE.replace("did:key:z", "did:key:z1"),
        ALICE[:-1],
        "",
        ALICE * 100_000,
    ],
    ids=lambda alias: f"{len(alias)}",
)
def test_alias_of_another_length_is_refused_before_it_is_decoded(alias: str) -> None:
    with pytest.raises(DidError, match=f"its length is {len(alias)}, not 56"):
        Did(alias)


@pytest.mark.parametrize(
    "alias",
    [
        ALICE.upper(),
        ALICE.replace("did:key:z", "DID:key:z"),
        ALICE.replace("did:key:z", "did:KEY:z"),
        ALICE.replace("did:key:z", "did:key:Z"),
        ALICE.replace("did:key:z", "did:key:u"),
        ALICE.replace("did:key:z", "did:web:z"),
        f" {ALICE[:-1]}",
        ALICE.replace("did", "ｄid"),
    ],
)
def test_alias_that_begins_otherwise_is_refused(alias: str) -> None:
    with pytest.raises(DidError, match="does not begin with 'did:key:z'"):
        Did(alias)


@pytest.mark.parametrize("character", ["0", "O", "I", "l", "+", " ", "\n", "\0", "é", "６", "\ud800", "_"])
@pytest.mark.parametrize("place", [9, 30, 55])
def test_text_with_a_character_that_is_no_digit_is_refused(character: str, place: int) -> None:
    with pytest.raises(DidError, match="no digit of base58btc"):
        Did(ALICE[:place] + character + ALICE[place + 1 :])


@pytest.mark.parametrize(
    "decoded",
    [
        b"\xec\x01" + bytes(31) + b"\x05",
        b"\xee\x01" + bytes(31) + b"\x05",
        b"\xed\x02" + bytes(31) + b"\x05",
        b"\xed\x00" + bytes(31) + b"\x05",
    ],
    ids=["x25519", "0xee", "0x016d", "no varint"],
)
def test_text_of_a_key_of_another_kind_is_refused(decoded: bytes) -> None:
    with pytest.raises(DidError, match="another kind"):
        Did(_text(decoded))


@pytest.mark.parametrize("digit", ["1", "z"])
def test_text_of_a_number_out_of_bounds_is_refused(digit: str) -> None:
    with pytest.raises(DidError, match="another kind"):
        Did(f"did:key:z{digit * 47}")


def test_every_change_of_one_character_is_refused_or_is_somebody_else() -> None:
    changed = 0
    for place in range(DID_LENGTH):
        for character in "1z":
            text = ALICE[:place] + character + ALICE[place + 1 :]
            try:
                did = Did(text)
            except DidError:
                continue
            changed += 1
            assert (did == ALICE) is (text == ALICE)
            assert (did.public_key == Did(ALICE).public_key) is (text == ALICE)

    assert changed > 10


def test_refusal_repeats_nothing_of_the_text() -> None:
    with pytest.raises(DidError) as refused:
        Did("secret \x1b[31m")

    assert str(refused.value) == f"not the did:key of an Ed25519 key: {refused.value.problem}"
    assert "secret" not in str(refused.value)
