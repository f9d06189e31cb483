"""Identities for tests, without cryptography.

Responsibility: a `Signer` and a `Verifier` that are quick, the same in every run, and need no extra.
Guarantees: they pass the contract of their ports; the DIDs are of points that `Did` accepts.
Not responsible for: security: there is no secret, and anybody can forge these signatures. Never use them but in tests.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from itertools import count

from holdfast.ports.did import Did
from holdfast.ports.errors import DidError
from holdfast.ports.identity import Signer, Verifier

__all__ = ["ForgeableSigner", "ForgeableVerifier"]


class ForgeableSigner:
    """Signs so that a `ForgeableVerifier`, and nobody else, is convinced.

    Args:
        name: whoever has the same name is the same identity.

    Example:
        >>> alice = ForgeableSigner("alice")
        >>> ForgeableVerifier().verify(alice.did, b"hello", alice.sign(b"hello"))
        True
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._did = _did_of(name)

    @property
    def did(self) -> Did:
        """Whose signatures these are."""
        return self._did

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`."""
        return _signature(self._did, message)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"


class ForgeableVerifier:
    """Believes whatever a `ForgeableSigner` signed, and whatever anybody forged."""

    def verify(self, did: Did, message: bytes, signature: bytes) -> bool:
        """Return whether `signature` is that of `message` by `did`."""
        return signature == _signature(did, message)


def _signature(did: Did, message: bytes) -> bytes:
    return hashlib.sha512(did.encode("ascii") + message).digest()


def _did_of(name: str) -> Did:
    # About every other number is a point of the curve.
    for attempt in count():  # pragma: no branch - ends by returning
        with suppress(DidError):
            return Did.of_key(hashlib.sha256(f"{attempt} {name}".encode()).digest())
    raise AssertionError  # pragma: no cover - `count` has no end


_: tuple[type[Signer], type[Verifier]] = (ForgeableSigner, ForgeableVerifier)
