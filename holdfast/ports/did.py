"""Who somebody is: the name of an Ed25519 public key.

Responsibility: the one way in which such a name is spelled, and which keys may have one.
Guarantees: a `Did` exists only for a point of the curve, in its one canonical encoding, that is not of small order, and
    is spelled in the one way that there is; the length is checked before anything is decoded.
Not responsible for: whether its holder is trusted: see `holdfast.ports.identity`; a key with a part of small order,
    which only its holder can make: it is a name like any other, and stands for nobody else.
Sources: the did:key method 0.7 (W3C CCG); the multicodec table, 0xed; RFC 8032 sections 5.1.2 and 5.1.3; base58btc.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Self

from holdfast.ports.errors import DidError

__all__ = ["DID_LENGTH", "Did"]

DID_LENGTH: Final = 56
"""Characters of a DID, always: ``did:key:z`` and the 47 digits that 34 bytes beginning with 0xed take."""

_START: Final = "did:key:z"
_CODEC: Final = b"\xed\x01"
_DIGITS: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}
_KEY_BYTES: Final = 32

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_Y8: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER_Y: Final = frozenset((1, _P - 1, 0, _Y8, _P - _Y8))
"""Of the eight points whose order divides 8: of orders 1, 2, 4 and 8; those of one y differ in their sign only."""


class Did(str):
    """The did:key of an Ed25519 public key, such as ``did:key:z6Mk…``; it is its own text.

    Args:
        text: the DID; anything but its canonical spelling is refused.

    Raises:
        DidError: if it is not the canonical did:key of a safe Ed25519 public key.

    Example:
        >>> Did.of_key(bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"))
        Did('did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw')
        >>> Did("did:key:z6Mk")
        Traceback (most recent call last):
            ...
        holdfast.ports.errors.DidError: not the did:key of an Ed25519 key: its length is 12, not 56

    Complexity: constant; the last 1024 texts that were good are remembered, so that one that comes often costs little.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:  # noqa: D102 - the class says it
        _public_key(text)
        return super().__new__(cls, text)

    @classmethod
    def of_key(cls, public_key: bytes) -> Self:
        """Return the DID of a public key of 32 bytes, encoded as in RFC 8032.

        Raises:
            DidError: if the key is not safe.
        """
        if len(public_key) != _KEY_BYTES:
            raise DidError(f"it stands for {len(public_key)} bytes, not 32")
        number = int.from_bytes(_CODEC + public_key, "big")
        digits = ""
        while number:
            number, value = divmod(number, 58)
            digits = _DIGITS[value] + digits
        return cls(_START + digits)

    @property
    def public_key(self) -> bytes:
        """The public key that it names, in 32 bytes."""
        return _public_key(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


@lru_cache(maxsize=1024)  # the check of the curve takes as long as that of a signature
def _public_key(text: str) -> bytes:
    if len(text) != DID_LENGTH:
        raise DidError(f"its length is {len(text)}, not {DID_LENGTH}")
    if not text.startswith(_START):
        raise DidError(f"it does not begin with {_START!r}")
    number = 0
    for digit in text[len(_START) :]:
        value = _VALUES.get(digit)
        if value is None:
            raise DidError("it holds a character that is no digit of base58btc")
        number = number * 58 + value
    # The 47 digits reach a little further than 34 bytes do.
    decoded = number.to_bytes(len(_CODEC) + _KEY_BYTES + 1, "big")
    if decoded[:1] != b"\0" or decoded[1:3] != _CODEC:
        raise DidError("it names a key of another kind")
    public_key = decoded[3:]
    _check_point(public_key)
    return public_key


def _check_point(public_key: bytes) -> None:
    y = int.from_bytes(public_key, "little") & (1 << 255) - 1
    if y >= _P:
        raise DidError("its key is another spelling of a key, and only one is allowed")
    # Both spellings of the points with x = 0, which have no sign, are among these.
    if y in _SMALL_ORDER_Y:
        raise DidError("its key is of small order: a signature of nobody's would pass for its")
    numerator, denominator = y * y - 1, _D * y * y + 1
    # x² = numerator / denominator has a root exactly if their product is a square (Euler's criterion).
    if pow(numerator * denominator, (_P - 1) // 2, _P) != 1:
        raise DidError("its key is no point of the curve")
