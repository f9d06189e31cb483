"""What signers, verifiers and lists of who is trusted must hold.

Responsibility: the contracts of `Signer` with `Verifier`, and of `TrustList`, as pytest classes to derive from.
Guarantees: a pair that passes believes each signature for its own message and identity only, and tells no secret; a
    list that passes loses no change, makes each as a whole, and trusts nobody by itself.
Not responsible for: forgeries that need mathematics: see the published vectors; files and other processes.
"""

from __future__ import annotations

import copy
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace

import anyio
import pytest

from holdfast.ports.did import Did
from holdfast.ports.errors import TrustChangeError
from holdfast.ports.identity import SIGNATURE_BYTES, Signer, TrustChange, TrustList, TrustRecord, Verifier
from holdfast.testing.identity import ForgeableSigner

__all__ = ["SignerVerifierContract", "TrustListContract"]

_MESSAGE = b"what is signed"
_MESSAGES = (b"", b"\0", _MESSAGE, bytes(range(256)), b"x" * 1_000_000)


class SignerVerifierContract(ABC):
    """Derive from it, name the class ``Test…`` and make your signers and your verifier; pytest does the rest."""

    @abstractmethod
    def make_signer(self, secret: bytes) -> Signer:
        """Return the signer of the identity that these 32 bytes decide."""

    @abstractmethod
    def make_verifier(self) -> Verifier:
        """Return a verifier that believes those signers."""

    @pytest.fixture(autouse=True)
    def _begin(self) -> None:
        self.secret = b"the private key of nobody at all"
        self.signer = self.make_signer(self.secret)
        self.verifier = self.make_verifier()

    @pytest.mark.parametrize("message", _MESSAGES, ids=len)
    def test_signature_of_any_message_is_believed(self, message: bytes) -> None:
        """Any bytes can be signed, no bytes included."""
        signature = self.signer.sign(message)

        assert len(signature) == SIGNATURE_BYTES
        assert self.verifier.verify(self.signer.did, message, signature)

    def test_signature_of_the_same_message_is_the_same(self) -> None:
        """A signature that depends on chance can give the key away when chance fails."""
        assert self.signer.sign(_MESSAGE) == self.make_signer(self.secret).sign(_MESSAGE)

    def test_did_is_decided_by_the_secret(self) -> None:
        """The same key is the same identity, and another key is another."""
        assert self.signer.did == self.make_signer(self.secret).did
        assert self.signer.did != self.make_signer(self.secret[::-1]).did
        assert type(self.signer.did) is Did

    def test_signature_for_another_message_is_not_believed(self) -> None:
        """Nor for one that is longer, shorter or empty."""
        signature = self.signer.sign(_MESSAGE)

        assert [
            message
            for message in (b"", _MESSAGE[:-1], _MESSAGE + b"\0", _MESSAGE.upper())
            if self.verifier.verify(self.signer.did, message, signature)
        ] == []

    def test_signature_of_another_identity_is_not_believed(self) -> None:
        """Whoever signs as themselves does not sign as somebody else."""
        other = self.make_signer(self.secret[::-1])

        assert not self.verifier.verify(other.did, _MESSAGE, self.signer.sign(_MESSAGE))

    def test_signature_with_any_bit_flipped_is_not_believed(self) -> None:
        """There is one signature of a message, and no second one beside it."""
        signature = int.from_bytes(self.signer.sign(_MESSAGE), "big")
        flipped = [(signature ^ 1 << bit).to_bytes(SIGNATURE_BYTES, "big") for bit in range(8 * SIGNATURE_BYTES)]

        assert [one for one in flipped if self.verifier.verify(self.signer.did, _MESSAGE, one)] == []

    def test_signature_of_any_other_length_is_not_believed(self) -> None:
        """It is refused, and is no error: it comes from outside."""
        signature = self.signer.sign(_MESSAGE)
        others = [signature[:length] for length in range(SIGNATURE_BYTES)] + [signature + b"\0", signature * 2]

        assert [one for one in others if self.verifier.verify(self.signer.did, _MESSAGE, one)] == []

    @pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31), b"\xff" * 32], ids=["zero", "identity", "ones"])
    def test_constant_signature_is_not_believed(self, point: bytes) -> None:
        """What passes for keys of small order passes for no other."""
        assert not self.verifier.verify(self.signer.did, _MESSAGE, point + bytes(32))

    def test_secret_is_in_no_text_of_the_signer(self) -> None:
        """A signer ends up in logs and in tracebacks."""
        texts = (repr(self.signer), str(self.signer), f"{self.signer}")
        spelled = (self.secret.hex(), repr(self.secret)[2:-1])

        assert [text for text in texts for secret in spelled if secret in text.lower()] == []

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_secret_is_in_no_pickle_of_the_signer(self, protocol: int) -> None:
        """A signer that cannot be pickled is right; one that can must leave its secret out."""
        pickled = b""
        with suppress(TypeError):
            pickled = pickle.dumps(self.signer, protocol)

        assert self.secret not in pickled

    @pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
    def test_copy_if_there_can_be_one_signs_the_same(self, copied: Callable[[Signer], Signer]) -> None:
        """A copy is refused with `TypeError`, or is as good as the original."""
        signer = self.signer
        with suppress(TypeError):
            signer = copied(self.signer)

        assert signer.sign(_MESSAGE) == self.signer.sign(_MESSAGE)


def _record(name: str, *roles: str, revoked: bool = False) -> TrustRecord:
    return TrustRecord(did=ForgeableSigner(name).did, roles=frozenset(roles), revoked=revoked)


def _put(*records: TrustRecord) -> TrustChange:
    return lambda _known: records


_ALICE = _record("alice", "asks", "answers")
_BOB = TrustRecord(did=ForgeableSigner("bob").did, roles=frozenset(), not_before_s=0, not_after_s=253_402_300_799)


class TrustListContract(ABC):
    """Derive from it, name the class ``Test…`` and open your list; pytest does the rest."""

    pytestmark = pytest.mark.anyio

    @abstractmethod
    def open_list(self) -> AbstractAsyncContextManager[TrustList]:
        """Return this test's list, which is empty, open for the length of an ``async with`` block."""

    async def test_find_in_an_empty_list_finds_nobody(self) -> None:
        """Nobody is trusted who was not put there."""
        async with self.open_list() as trust:
            assert await trust.find(_ALICE.did) is None
            assert dict(await trust.records()) == {}

    async def test_find_what_was_put_returns_all_of_it(self) -> None:
        """Roles, times and revocation come back as they were."""
        async with self.open_list() as trust:
            gone = _record("gone", "asks", revoked=True)
            put = await trust.change(_put(_ALICE, _BOB, gone))

            assert put == (_ALICE, _BOB, gone)
            assert [await trust.find(record.did) for record in put] == list(put)

    async def test_find_somebody_else_finds_nobody(self) -> None:
        """One record is about one identity."""
        async with self.open_list() as trust:
            await trust.change(_put(_ALICE))

            assert await trust.find(_BOB.did) is None

    async def test_records_come_in_order_of_the_dids(self) -> None:
        """The same list is always told in the same way."""
        async with self.open_list() as trust:
            many = [_record(f"{number}") for number in range(9)]
            await trust.change(_put(*many))

            assert list(await trust.records()) == sorted(record.did for record in many)

    async def test_change_replaces_the_record_of_the_same_did_and_keeps_the_others(self) -> None:
        """There is one record for each identity."""
        async with self.open_list() as trust:
            await trust.change(_put(_ALICE, _BOB))
            revoked = replace(_ALICE, revoked=True)
            await trust.change(_put(revoked))

            assert dict(await trust.records()) == {_ALICE.did: revoked, _BOB.did: _BOB}

    async def test_change_is_decided_on_the_list_as_it_is(self) -> None:
        """Whoever decides sees every change that was made before."""
        async with self.open_list() as trust:
            await trust.change(_put(_ALICE))
            seen: list[Mapping[Did, TrustRecord]] = []

            def decide(known: Mapping[Did, TrustRecord]) -> Iterable[TrustRecord]:
                seen.append(dict(known))
                return ()

            assert await trust.change(decide) == ()
            assert seen == [{_ALICE.did: _ALICE}]

    async def test_change_that_is_refused_leaves_the_list_as_it_was(self) -> None:
        """A change is made as a whole or not at all."""
        async with self.open_list() as trust:
            await trust.change(_put(_ALICE))

            def refuse(known: Mapping[Did, TrustRecord]) -> Iterable[TrustRecord]:
                yield from (replace(record, revoked=True) for record in known.values())
                raise TrustChangeError("no")

            with pytest.raises(TrustChangeError, match="no"):
                await trust.change(refuse)

            assert dict(await trust.records()) == {_ALICE.did: _ALICE}

    async def test_changes_at_once_are_all_made(self) -> None:
        """None is decided on what another one has replaced meanwhile."""
        async with self.open_list() as trust:

            def grow(known: Mapping[Did, TrustRecord]) -> Iterable[TrustRecord]:
                return (_record(f"{len(known)}"),)

            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(trust.change, grow)

            assert set(await trust.records()) == {_record(f"{number}").did for number in range(8)}
