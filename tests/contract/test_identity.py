from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfast.adapters.identity.ed25519 import Ed25519Signer, Ed25519Verifier
from holdfast.adapters.identity.trust_file import FileTrustList
from holdfast.adapters.memory.trust import MemoryTrustList
from holdfast.ports.identity import Signer, TrustList, Verifier
from holdfast.testing.contracts.identity import SignerVerifierContract, TrustListContract
from holdfast.testing.identity import ForgeableSigner, ForgeableVerifier


class TestEd25519(SignerVerifierContract):
    def make_signer(self, secret: bytes) -> Signer:
        return Ed25519Signer(Ed25519PrivateKey.from_private_bytes(secret))

    def make_verifier(self) -> Verifier:
        return Ed25519Verifier()


class TestForgeable(SignerVerifierContract):
    def make_signer(self, secret: bytes) -> Signer:
        return ForgeableSigner(secret.hex()[:8])

    def make_verifier(self) -> Verifier:
        return ForgeableVerifier()


class TestMemoryTrustList(TrustListContract):
    def open_list(self) -> AbstractAsyncContextManager[TrustList]:
        return nullcontext(MemoryTrustList())


@pytest.mark.real_time
class TestFileTrustList(TrustListContract):
    @pytest.fixture(autouse=True)
    def _fresh(self, tmp_path: Path) -> None:
        self.path = tmp_path / "trust.json"
        self.path.write_text('{"version": 1, "trusted": []}')

    def open_list(self) -> AbstractAsyncContextManager[TrustList]:
        return nullcontext(FileTrustList(self.path))
