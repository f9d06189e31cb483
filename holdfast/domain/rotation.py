"""An identity gives its place to another one.

Responsibility: the statement by which it does, and what follows for those who trust it.
Guarantees: nobody can give a place that is not theirs, or take one that was not given to them: both keys sign both
    DIDs, each for its own part. The new identity has the roles and the times of the old one, and not one more; the old
    one is revoked in the same change, so that a statement works once, and none works for who finds the old key later.
Not responsible for: telling others: whoever trusts the old identity applies the statement to their own list. A thief of
    the old key can make a statement too, and the one that is applied first counts: revoke a stolen key instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

from holdfast.domain.signature_text import SIGNATURE_CHARS, read_signature, write_signature
from holdfast.domain.signed_fields import Purpose, signed_fields
from holdfast.ports.did import DID_LENGTH, Did
from holdfast.ports.errors import TrustChangeError
from holdfast.ports.identity import Signer, TrustChange, TrustRecord, Verifier

__all__ = ["ROTATION_CHARS", "Rotation", "apply_rotation", "rotate"]

_MARK: Final = "HFR1"

ROTATION_CHARS: Final = len(_MARK) + 2 * (1 + DID_LENGTH) + 2 * (1 + SIGNATURE_CHARS)
"""Characters of a statement, always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """The statement, believed or not.

    Args:
        old: who gives its place.
        new: who takes it.
        left: the signature of `old`.
        succeeded: the signature of `new`.
    """

    old: Did
    new: Did
    left: bytes
    succeeded: bytes

    @property
    def text(self) -> str:
        """The statement as one line, to be handed to those who trust the old identity."""
        return " ".join((_MARK, self.old, self.new, write_signature(self.left), write_signature(self.succeeded)))

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the statement with this text; whether to believe it is `apply_rotation`'s to say.

        Raises:
            TrustChangeError: if it is no such statement.
            DidError: if it names an identity that is none.
        """
        parts = text.split(" ") if len(text) == ROTATION_CHARS else []
        if len(parts) != 5 or parts[0] != _MARK:
            raise TrustChangeError(f"the statement is none: it must be one line that begins with {_MARK}")
        try:
            left, succeeded = read_signature(parts[3]), read_signature(parts[4])
        except ValueError:
            raise TrustChangeError("the statement holds what is no signature") from None
        return cls(old=Did(parts[1]), new=Did(parts[2]), left=left, succeeded=succeeded)

    def is_signed(self, verifier: Verifier) -> bool:
        """Return whether both identities signed it."""
        fields = _fields(self.old, self.new)
        return verifier.verify(self.old, signed_fields(Purpose.LEAVE, *fields), self.left) and verifier.verify(
            self.new, signed_fields(Purpose.SUCCEED, *fields), self.succeeded
        )


def rotate(old: Signer, new: Signer) -> Rotation:
    """Return the statement by which `old` gives its place to `new`.

    Raises:
        TrustChangeError: if they are the same.

    Example:
        >>> from holdfast.testing import ForgeableSigner, ForgeableVerifier
        >>> rotation = rotate(ForgeableSigner("last year"), ForgeableSigner("this year"))
        >>> Rotation.read(rotation.text).is_signed(ForgeableVerifier())
        True
    """
    if old.did == new.did:
        raise TrustChangeError(f"{old.did} cannot give its place to itself; make a new identity")
    fields = _fields(old.did, new.did)
    return Rotation(
        old=old.did,
        new=new.did,
        left=old.sign(signed_fields(Purpose.LEAVE, *fields)),
        succeeded=new.sign(signed_fields(Purpose.SUCCEED, *fields)),
    )


def apply_rotation(rotation: Rotation, *, verifier: Verifier, unix_s: float) -> TrustChange:
    """Return the change by which the new identity takes the place of the old one.

    The change raises `TrustChangeError` if the old identity is not trusted at that time, if anything is known about the
    new one, or if either of them did not sign.

    Args:
        rotation: the statement.
        verifier: says whether the signatures are theirs.
        unix_s: now.
    """

    def decide(known: Mapping[Did, TrustRecord]) -> Iterable[TrustRecord]:
        before = known.get(rotation.old)
        if before is None or not before.is_trusted_at(unix_s):
            raise TrustChangeError(f"{rotation.old} is not trusted, and so has no place to give")
        if rotation.new in known:
            raise TrustChangeError(f"{rotation.new} is in the list already; make a new identity")
        if not rotation.is_signed(verifier):
            raise TrustChangeError("the statement is not signed by both identities")
        return replace(before, revoked=True), replace(before, did=rotation.new)

    return decide


def _fields(old: Did, new: Did) -> tuple[bytes, bytes]:
    return old.encode("ascii"), new.encode("ascii")
