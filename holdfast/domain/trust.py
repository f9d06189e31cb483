"""How the list of who is trusted may change.

Responsibility: trusting an identity, and revoking one.
Guarantees: whoever is revoked stays so: no change trusts them again.
Not responsible for: keeping the list: see `holdfast.ports.identity.TrustList`; giving a place to another identity: see
    `holdfast.domain.rotation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from holdfast.ports.did import Did
from holdfast.ports.errors import TrustChangeError
from holdfast.ports.identity import TrustChange, TrustRecord

__all__ = ["revoke_trust", "trust_as"]


def trust_as(record: TrustRecord) -> TrustChange:
    """Return the change by which `record` says all that is known about its identity.

    The change raises `TrustChangeError` if the identity is revoked.

    Example:
        >>> from holdfast.testing import ForgeableSigner
        >>> record = TrustRecord(did=ForgeableSigner("alice").did, roles=frozenset({"asks"}))
        >>> trust_as(record)({}) == (record,)
        True
    """

    def decide(known: Mapping[Did, TrustRecord]) -> Iterable[TrustRecord]:
        before = known.get(record.did)
        if before is not None and before.revoked:
            raise TrustChangeError(f"{record.did} is revoked, and stays so; trust a new identity instead")
        return (record,)

    return decide


def revoke_trust(did: Did) -> TrustChange:
    """Return the change after which `did` is trusted no more, known before or not; to revoke again changes nothing."""

    def decide(known: Mapping[Did, TrustRecord]) -> Iterable[TrustRecord]:
        before = known.get(did) or TrustRecord(did=did, roles=frozenset())
        return (replace(before, revoked=True),)

    return decide
