"""Ed25519 signatures.

Responsibility: `Signer` and `Verifier` over the package cryptography.
Guarantees: the private key is in no text and no pickle, and cannot be asked for; a signature of a wrong length, of a
    scalar that is too large, or of a key that `Did` refuses convinces nobody.
Not responsible for: keeping keys: see `holdfast.adapters.identity.key_file`; wiping them from memory, which Python
    cannot promise.
Sources: RFC 8032 section 5.1. OpenSSL, which cryptography uses, takes any 32 bytes for a public key, those of small
    order included; that is why a verifier takes a `Did`, which cannot be made of one.
"""

from __future__ import annotations

from typing import NoReturn, Self, SupportsIndex

from holdfast.ports.did import Did
from holdfast.ports.identity import SIGNATURE_BYTES, Signer, Verifier

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
except ImportError as error:
    raise ImportError(
        "holdfast.adapters.identity needs cryptography: pip install 'holdfast[identity]'", name="cryptography"
    ) from error

__all__ = ["Ed25519Signer", "Ed25519Verifier"]


class Ed25519Signer:
    """Signs with a private key.

    Args:
        private_key: the key, as cryptography holds it.

    Raises:
        TypeError: when it is copied or pickled.

    Example:
        >>> signer = Ed25519Signer.generate()
        >>> Ed25519Verifier().verify(signer.did, b"hello", signer.sign(b"hello"))
        True
    """

    __slots__ = ("_did", "_private_key")

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self._did = Did.of_key(private_key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> Self:
        """Return a new identity, which is lost with this object; `create_key_file` makes one that is kept."""
        return cls(Ed25519PrivateKey.generate())

    @property
    def did(self) -> Did:
        """Whose signatures these are."""
        return self._did

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`."""
        return self._private_key.sign(message)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(did={str(self._did)!r})"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"{type(self).__name__} holds a private key and cannot be copied or pickled; read the key file")


class Ed25519Verifier:
    """Tells whose a signature is."""

    def verify(self, did: Did, message: bytes, signature: bytes) -> bool:
        """Return whether `signature` is that of `message` by `did`."""
        if len(signature) != SIGNATURE_BYTES:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(did.public_key).verify(signature, message)
        except InvalidSignature:
            return False
        return True


_: tuple[type[Signer], type[Verifier]] = (Ed25519Signer, Ed25519Verifier)
