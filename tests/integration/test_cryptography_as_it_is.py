"""What cryptography takes for an Ed25519 public key: the reason for the checks in `holdfast.ports.did`.

If one of these fails, the driver has become stricter; the checks stay, for they do not depend on its version.
"""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

P = 2**255 - 19
Y8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
MESSAGES = [b"%d" % number for number in range(512)]


def _encode(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


ORDERS = {1: _encode(1), 2: _encode(P - 1), 4: _encode(0), 8: _encode(Y8)}
"""A public key of each order that divides 8."""


def _believed(public_key: bytes, signature: bytes) -> int:
    """Return for how many of the messages the signature is believed."""
    believed = 0
    for message in MESSAGES:
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
        except InvalidSignature:
            continue
        believed += 1
    return believed


def test_one_constant_signature_is_believed_for_every_message_of_the_identity_point() -> None:
    constant = _encode(1) + bytes(32)

    assert _believed(ORDERS[1], constant) == len(MESSAGES)


@pytest.mark.parametrize("order", [2, 4, 8])
def test_one_constant_signature_is_believed_for_a_share_of_messages_of_a_point_of_small_order(order: int) -> None:
    constant = _encode(1) + bytes(32)

    assert _believed(ORDERS[order], constant) == pytest.approx(len(MESSAGES) / order, rel=0.3)


@pytest.mark.parametrize(
    "public_key",
    [_encode(P + 1), _encode(1, 1), _encode(P + 1, 1)],
    ids=["y of p + 1", "sign of x = 0", "both"],
)
def test_other_spellings_of_the_identity_point_are_keys_too(public_key: bytes) -> None:
    assert _believed(public_key, _encode(1) + bytes(32)) == len(MESSAGES)


@pytest.mark.parametrize("y", [2, 7, P + 2])
def test_what_is_no_point_is_taken_for_a_key(y: int) -> None:
    assert Ed25519PublicKey.from_public_bytes(_encode(y)).public_bytes_raw() == _encode(y)
