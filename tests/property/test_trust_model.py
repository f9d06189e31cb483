"""Lists of who is trusted under any history of trust, revocation, rotation, time and restarts, in both stores."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import anyio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from holdfast.adapters.identity import FileTrustList
from holdfast.adapters.memory import MemoryTrustList
from holdfast.domain.rotation import Rotation, apply_rotation, rotate
from holdfast.domain.trust import revoke_trust, trust_as
from holdfast.ports.did import Did
from holdfast.ports.errors import TrustChangeError
from holdfast.ports.identity import TrustChange, TrustList, TrustRecord
from holdfast.testing import ForgeableSigner, ForgeableVerifier

SIGNERS = [ForgeableSigner(name) for name in ("a", "b", "c", "d")]
signers = st.sampled_from(SIGNERS)
roles = st.frozensets(st.sampled_from(["asks", "answers"]), max_size=2)
times = st.tuples(st.none() | st.integers(0, 40), st.none() | st.integers(60, 100))


class TrustMachine(RuleBasedStateMachine):
    @initialize(durable=st.booleans())
    def begin(self, *, durable: bool) -> None:
        self.resources = ExitStack()
        self.path: Path | None = None
        self.trust: TrustList = MemoryTrustList()
        if durable:
            self.path = Path(self.resources.enter_context(tempfile.TemporaryDirectory())) / "trust.json"
            self.path.write_text('{"version": 1, "trusted": []}')
            self.trust = FileTrustList(self.path)
        self.known: dict[Did, TrustRecord] = {}
        self.places: dict[Did, frozenset[str]] = {}
        self.now_s = 50

    def teardown(self) -> None:
        self.resources.close()

    def _change(self, change: TrustChange) -> bool:
        try:
            anyio.run(self.trust.change, change)
        except TrustChangeError:
            return False
        return True

    @rule(signer=signers, roles=roles, times=times)
    def trust_somebody(
        self, signer: ForgeableSigner, roles: frozenset[str], times: tuple[int | None, int | None]
    ) -> None:
        before = self.known.get(signer.did)
        record = TrustRecord(did=signer.did, roles=roles, not_before_s=times[0], not_after_s=times[1])

        assert self._change(trust_as(record)) is (before is None or not before.revoked)

        if before is None or not before.revoked:
            self.known[signer.did] = record

    @rule(signer=signers)
    def revoke(self, signer: ForgeableSigner) -> None:
        assert self._change(revoke_trust(signer.did))

        before = self.known.get(signer.did, TrustRecord(did=signer.did, roles=frozenset()))
        self.known[signer.did] = replace(before, revoked=True)

    @rule(old=signers, new=signers, forged=st.booleans())
    def hand_over(self, old: ForgeableSigner, new: ForgeableSigner, *, forged: bool) -> None:
        if old.did == new.did:
            return
        rotation = Rotation.read(rotate(old, new).text)
        if forged:
            rotation = replace(rotation, succeeded=rotation.left)
        before = self.known.get(old.did)
        allowed = before is not None and before.is_trusted_at(self.now_s) and new.did not in self.known and not forged

        assert self._change(apply_rotation(rotation, verifier=ForgeableVerifier(), unix_s=self.now_s)) is allowed

        if before is not None and allowed:
            self.known[old.did] = replace(before, revoked=True)
            self.known[new.did] = replace(before, did=new.did)

    @rule(unix_s=st.integers(0, 120))
    def set_the_clock(self, unix_s: int) -> None:
        self.now_s = unix_s

    @rule()
    def restart(self) -> None:
        if self.path is not None:
            self.trust = FileTrustList(self.path)

    @invariant()
    def list_is_the_one_that_was_asked_for(self) -> None:
        if hasattr(self, "trust"):
            assert dict(anyio.run(self.trust.records)) == self.known

    @invariant()
    def nobody_revoked_is_trusted_at_any_time(self) -> None:
        if hasattr(self, "trust"):
            for record in anyio.run(self.trust.records).values():
                assert not (record.revoked and any(record.is_trusted_at(unix_s) for unix_s in range(0, 130, 10)))


TestTrust = TrustMachine.TestCase
TestTrust.settings = settings(max_examples=30, stateful_step_count=15)
