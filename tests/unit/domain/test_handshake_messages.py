from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.handshake_messages import Challenge, Hello, Proof
from holdfast.ports.authentication import Disbelief
from holdfast.ports.errors import AuthenticationError
from tests.fakes.identity import ALICE, SERVICE

HELLO = Hello(initiator=ALICE.did, nonce=b"n" * 32, issued_ms=1_800_000_000_000, audience=b"holdfast.example")
CHALLENGE = Challenge(responder=SERVICE.did, nonce=b"m" * 32, ticket=b"t" * 32, signature=b"s" * 64)
PROOF = Proof(nonce=b"m" * 32, ticket=b"t" * 32, signature=b"s" * 64, hello=HELLO)

READERS: list[tuple[bytes, Callable[[bytes], object]]] = [
    (HELLO.encode(), Hello.read),
    (CHALLENGE.encode(), Challenge.read),
    (PROOF.encode(), Proof.read),
]


def refusal(read: Callable[[bytes], object], message: bytes) -> Disbelief:
    with pytest.raises(AuthenticationError) as caught:
        read(message)
    return caught.value.reason


def test_read_what_was_written_is_the_same() -> None:
    assert Hello.read(HELLO.encode()) == HELLO
    assert Challenge.read(CHALLENGE.encode()) == CHALLENGE
    assert Proof.read(PROOF.encode()) == PROOF


@given(st.sampled_from(READERS), st.data())
def test_read_whatever_can_be_read_has_one_spelling(
    case: tuple[bytes, Callable[[bytes], Hello | Challenge | Proof]], data: st.DataObject
) -> None:
    message, read = case
    changed = bytearray(message)
    for place in data.draw(st.lists(st.integers(0, len(message) - 1), max_size=4)):
        changed[place] = data.draw(st.integers(0, 255))
    try:
        found = read(bytes(changed))
    except AuthenticationError:
        return

    assert found.encode() == bytes(changed)


@pytest.mark.parametrize(
    ("message", "read", "shortest"),
    [(HELLO.encode(), Hello.read, 101), (CHALLENGE.encode(), Challenge.read, 188), (PROOF.encode(), Proof.read, 233)],
)
def test_read_nothing_and_any_truncation_of_the_fixed_part_is_refused(
    message: bytes, read: Callable[[bytes], object], shortest: int
) -> None:
    assert {refusal(read, message[:length]) for length in range(shortest)} == {Disbelief.SIZE}


@pytest.mark.parametrize(
    ("message", "read"),
    [
        (HELLO.encode() + b"a" * 300, Hello.read),
        (CHALLENGE.encode() + b"\0", Challenge.read),
        (PROOF.encode() + b"a" * 300, Proof.read),
    ],
)
def test_read_more_than_there_can_be_is_refused(message: bytes, read: Callable[[bytes], object]) -> None:
    assert refusal(read, message) is Disbelief.SIZE


@pytest.mark.parametrize(("message", "read"), READERS)
@pytest.mark.parametrize("mark", [b"HFH2", b"HFC0", b"hfp1", b"HFE1", b"\0\0\0\0"])
def test_read_another_mark_or_version_is_refused(message: bytes, read: Callable[[bytes], object], mark: bytes) -> None:
    assert refusal(read, mark + message[4:]) is Disbelief.SYNTAX


@pytest.mark.parametrize("did", [b"did:key:z" + b"1" * 47, b"\xff" * 56, b" " * 56, b"did:web:" + b"a" * 48])
def test_read_somebody_who_is_none_is_refused(did: bytes) -> None:
    hello, challenge = (message[:4] + did + message[60:] for message in (HELLO.encode(), CHALLENGE.encode()))

    assert refusal(Hello.read, hello) is Disbelief.IDENTITY
    assert refusal(Challenge.read, challenge) is Disbelief.IDENTITY
    assert refusal(Proof.read, PROOF.encode()[:132] + hello) is Disbelief.IDENTITY
