from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.domain.trust import revoke_trust, trust_as
from holdfast.ports.errors import TrustChangeError
from holdfast.ports.identity import TrustRecord
from holdfast.testing import ForgeableSigner

ALICE = TrustRecord(did=ForgeableSigner("alice").did, roles=frozenset({"asks"}), not_after_s=20)
BOB = TrustRecord(did=ForgeableSigner("bob").did, roles=frozenset({"answers"}))


def test_trust_somebody_unknown_gives_the_record() -> None:
    assert tuple(trust_as(ALICE)({BOB.did: BOB})) == (ALICE,)


def test_trust_somebody_known_replaces_roles_and_times() -> None:
    wider = replace(ALICE, roles=frozenset({"asks", "answers"}), not_after_s=None)

    assert tuple(trust_as(wider)({ALICE.did: ALICE})) == (wider,)


def test_trust_somebody_revoked_is_refused() -> None:
    with pytest.raises(TrustChangeError, match=f"{ALICE.did} is revoked, and stays so"):
        trust_as(ALICE)({ALICE.did: replace(ALICE, revoked=True)})


def test_revoke_somebody_known_keeps_the_rest_of_the_record() -> None:
    assert tuple(revoke_trust(ALICE.did)({ALICE.did: ALICE})) == (replace(ALICE, revoked=True),)


def test_revoke_somebody_unknown_is_remembered() -> None:
    revoked = TrustRecord(did=ALICE.did, roles=frozenset(), revoked=True)

    assert tuple(revoke_trust(ALICE.did)({})) == (revoked,)


def test_revoke_again_changes_nothing() -> None:
    revoked = replace(ALICE, revoked=True)

    assert tuple(revoke_trust(ALICE.did)({ALICE.did: revoked})) == (revoked,)
