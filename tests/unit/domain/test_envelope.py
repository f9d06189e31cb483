from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from holdfast.domain.envelope import ENVELOPE_MARK, Envelope, SealedEnvelope, seal
from holdfast.domain.signed_fields import Purpose, signed_fields
from holdfast.ports.authentication import Disbelief
from holdfast.ports.errors import AuthenticationError
from holdfast.testing.identity import ForgeableSigner, ForgeableVerifier
from tests.fakes.identity import ALICE, MALLORY, SERVICE, Wall, envelope

GOOD = envelope(Wall(), body={"a": [1, None, "ä", {"b": 2.5}]})
FRAME = seal(GOOD, ALICE)
PAYLOAD: dict[str, Any] = json.loads(FRAME[124:])


def opened(frame: bytes) -> Envelope:
    return SealedEnvelope.read(frame).open(ForgeableVerifier())


def refusal(frame: bytes) -> Disbelief:
    with pytest.raises(AuthenticationError) as caught:
        opened(frame)
    return caught.value.reason


def framed(payload: bytes, signer: ForgeableSigner = ALICE, purpose: Purpose = Purpose.ENVELOPE) -> bytes:
    """Return a frame whose signature is right, whatever the payload is."""
    did = signer.did.encode()
    return ENVELOPE_MARK + did + signer.sign(signed_fields(purpose, ENVELOPE_MARK, did, payload)) + payload


def written(values: Mapping[str, Any]) -> bytes:
    return framed(json.dumps(values).encode())


@pytest.mark.parametrize(
    "sent",
    [
        GOOD,
        replace(GOOD, session="0123456789abcdef" * 4, seq=0, final=False),
        replace(GOOD, body={}),
        replace(GOOD, seq=2**53 - 1, issued_ms=0, expires_ms=0),
    ],
)
def test_open_what_was_sealed_is_the_same(sent: Envelope) -> None:
    assert opened(seal(sent, ALICE)) == sent


def test_open_a_payload_of_other_layout_is_read_for_the_bytes_are_signed_and_not_their_meaning() -> None:
    spaced = framed(json.dumps(PAYLOAD, indent=3, sort_keys=True, ensure_ascii=False).encode())

    assert opened(spaced) == GOOD


def test_open_every_bit_flipped_is_refused() -> None:
    number, bits = int.from_bytes(FRAME, "big"), 8 * len(FRAME)
    reasons = [refusal((number ^ 1 << bit).to_bytes(len(FRAME), "big")) for bit in range(bits)]

    assert len(reasons) == bits
    assert set(reasons) == {Disbelief.SYNTAX, Disbelief.IDENTITY, Disbelief.SIGNATURE}


def test_open_every_truncation_and_anything_appended_is_refused() -> None:
    assert {refusal(FRAME[:length]) for length in range(125)} == {Disbelief.SIZE}
    assert {refusal(FRAME[:length]) for length in range(125, len(FRAME))} == {Disbelief.SIGNATURE}
    assert {refusal(FRAME + more) for more in (b"\0", b" ", b"\n", FRAME)} == {Disbelief.SIGNATURE}


@pytest.mark.parametrize("signature", [b"", bytes(64), b"\1" + bytes(63)], ids=["stripped", "empty", "constant"])
def test_open_stripped_or_empty_signature_is_refused(signature: bytes) -> None:
    assert refusal(FRAME[:60] + signature + FRAME[124:]) is Disbelief.SIGNATURE


@pytest.mark.parametrize("mark", [b"HFE0", b"HFE2", b"HFH1", b"HFP1", b"none", b'{"al'])
def test_open_another_version_or_algorithm_is_refused(mark: bytes) -> None:
    assert refusal(mark + FRAME[4:]) is Disbelief.SYNTAX


def test_open_algorithm_named_in_the_payload_is_refused() -> None:
    assert refusal(written({**PAYLOAD, "alg": "none"})) is Disbelief.SYNTAX


def test_open_message_of_another_sender_with_this_ones_name_is_refused() -> None:
    renamed = FRAME[:4] + MALLORY.did.encode() + FRAME[60:]

    assert refusal(renamed) is Disbelief.SIGNATURE


@pytest.mark.parametrize("purpose", [purpose for purpose in Purpose if purpose is not Purpose.ENVELOPE])
def test_open_signature_for_another_purpose_is_refused(purpose: Purpose) -> None:
    payload = json.dumps(PAYLOAD).encode()

    assert opened(framed(payload)) == GOOD
    assert refusal(framed(payload, purpose=purpose)) is Disbelief.SIGNATURE


def test_open_nothing_of_the_payload_is_read_before_its_signature_was_believed() -> None:
    bomb = b"[" * 1_000_000
    unsigned = FRAME[:124] + bomb

    assert refusal(unsigned) is Disbelief.SIGNATURE
    assert refusal(framed(bomb)) is Disbelief.SYNTAX


@pytest.mark.parametrize(
    "payload",
    [
        b"null",
        b"[]",
        b"{}",
        b"",
        b" ",
        b"\xff",
        json.dumps(PAYLOAD).encode()[:-1] + b', "to": "x"}',
        json.dumps(PAYLOAD).encode()[:-1] + b', "\\u0074o": "x"}',
        json.dumps({**PAYLOAD, "body": {"a": float("nan")}}).encode(),
        json.dumps({**PAYLOAD, "body": {"a": float("inf")}}).encode(),
        json.dumps(PAYLOAD).encode().replace(b'"final": true', b'"final": true, "final": true'),
        json.dumps({**PAYLOAD, "body": {"a": "\ud800"}}).encode(),
        json.dumps({**PAYLOAD, "body": {"a": json.loads("[" * 15 + "]" * 15)}}).encode(),
    ],
)
def test_open_signed_payload_that_is_no_strict_json_object_is_refused(payload: bytes) -> None:
    assert refusal(framed(payload or b"\0")) is Disbelief.SYNTAX


@pytest.mark.parametrize("key", sorted(PAYLOAD))
def test_open_a_field_too_few_is_refused(key: str) -> None:
    assert refusal(written({name: value for name, value in PAYLOAD.items() if name != key})) is Disbelief.SYNTAX


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("to", [None, 1, "", "did:key:z6Mk", SERVICE.did.upper(), f" {SERVICE.did}"]),
        ("session", ["", "a" * 63, "A" * 64, "g" * 64, 0, False, "a" * 64 + "\n"]),
        ("direction", ["", None, "TO_RESPONDER", "both", 0]),
        ("seq", ["0", 0.0, 1e3, True, -1, 2**53, [0]]),
        ("issued_ms", [None, "0", 0.5, True, -1, 2**53]),
        ("expires_ms", [None, "0", 0.5, False, -1, 2**53]),
        ("id", ["", None, 1, "a b", "a\n", "ä", "a" * 65, "../x"]),
        ("type", ["", None, 1, "a b", "a" * 65]),
        ("body", [None, [], "", 1, "{}"]),
        ("final", [None, 0, 1, "true", []]),
        ("from", [ALICE.did]),
    ],
)
def test_open_field_of_another_type_or_form_is_refused(field: str, values: list[object]) -> None:
    reasons = [refusal(written({**PAYLOAD, field: value})) for value in values]

    assert reasons == [Disbelief.SYNTAX] * len(values)


def test_seal_a_body_that_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        seal(replace(GOOD, body={"a": float("nan")}), ALICE)


def test_sender_is_refused_before_the_signature_is_looked_at() -> None:
    assert refusal(FRAME[:4] + b"did:key:z" + b"1" * 47 + FRAME[60:]) is Disbelief.IDENTITY
