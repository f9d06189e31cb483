from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfast.adapters.identity import Ed25519Signer, Ed25519Verifier
from holdfast.ports.did import Did

VECTORS: list[dict[str, str]] = json.loads(Path(__file__).parents[3].joinpath("data", "rfc8032.json").read_text())
"""Section 7.1 of the RFC, all of it."""

ORDER = 2**252 + 27742317777372353535851937790883648493

SECRET = bytes.fromhex(VECTORS[0]["secret"])
SIGNER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(SECRET))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_sign_published_message_gives_the_published_signature(vector: dict[str, str]) -> None:
    signer = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["secret"])))

    assert signer.did.public_key.hex() == vector["public"]
    assert signer.sign(bytes.fromhex(vector["message"])).hex() == vector["signature"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_verify_published_signature_believes_it(vector: dict[str, str]) -> None:
    public_key, message, signature = (bytes.fromhex(vector[name]) for name in ("public", "message", "signature"))

    assert Ed25519Verifier().verify(Did.of_key(public_key), message, signature)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_verify_published_signature_with_a_scalar_that_is_too_large_does_not_believe_it(vector: dict[str, str]) -> None:
    public_key, message, signature = (bytes.fromhex(vector[name]) for name in ("public", "message", "signature"))
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    second = signature[:32] + scalar.to_bytes(32, "little")

    assert not Ed25519Verifier().verify(Did.of_key(public_key), message, second)


def test_generate_gives_another_identity_each_time() -> None:
    assert Ed25519Signer.generate().did != Ed25519Signer.generate().did


def test_repr_names_the_did_and_nothing_else() -> None:
    assert repr(SIGNER) == f"Ed25519Signer(did='{SIGNER.did}')"


def test_signer_has_no_attributes_to_look_through() -> None:
    with pytest.raises(TypeError):
        vars(SIGNER)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_is_refused(protocol: int) -> None:
    with pytest.raises(TypeError, match="holds a private key and cannot be copied or pickled"):
        pickle.dumps(SIGNER, protocol)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copy_is_refused(copied: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="holds a private key and cannot be copied or pickled"):
        copied(SIGNER)


def test_log_of_a_signer_holds_nothing_of_the_key(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("tests").warning("%s %r %s", SIGNER, [SIGNER], {"signer": SIGNER})

    assert str(SIGNER.did) in caplog.text
    assert SECRET.hex() not in caplog.text
    assert repr(SECRET)[2:-1] not in caplog.text
