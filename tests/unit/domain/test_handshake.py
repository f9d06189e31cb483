"""Attacks on a handshake, one by one: each is refused for its reason, and leaves no session."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import pytest

from holdfast.domain.authentication_config import AuthenticationConfig
from holdfast.domain.channel import Channel, ChannelTable
from holdfast.domain.handshake import Initiator, Responder
from holdfast.domain.handshake_messages import Challenge, Hello, Proof
from holdfast.domain.signed_fields import Purpose
from holdfast.domain.transcript import Transcript
from holdfast.ports.authentication import Disbelief
from holdfast.ports.errors import AuthenticationError
from holdfast.ports.identity import TrustRecord
from holdfast.testing.identity import ForgeableSigner, ForgeableVerifier
from tests.fakes.identity import ALICE, CONFIG, MALLORY, SERVICE, Wall, make_counted_bytes, trusted

ASKS = trusted(ALICE.did, "asks")
ANSWERS = trusted(SERVICE.did, "answers")


class Sides:
    """A responder, and initiators that speak to it."""

    def __init__(self, config: AuthenticationConfig = CONFIG, *, salt: int = 0, wall: Wall | None = None) -> None:
        self.wall = wall or Wall()
        self.config = config
        self.channels = ChannelTable(max_sessions=config.max_sessions, session_s=config.session_s)
        self.responder = self.make_responder(SERVICE, self.channels, salt=salt)
        self._bytes = make_counted_bytes(salt + 1)

    def make_responder(self, signer: ForgeableSigner, channels: ChannelTable, *, salt: int = 7) -> Responder:
        return Responder(
            self.config,
            signer=signer,
            verifier=ForgeableVerifier(),
            channels=channels,
            clock=self.wall.clock,
            unix_s=self.wall.unix_s,
            make_bytes=make_counted_bytes(salt),
        )

    def initiator(
        self, signer: ForgeableSigner = ALICE, *, binding: bytes = b"", audience: str = CONFIG.audience
    ) -> Initiator:
        return Initiator(
            replace(self.config, roles=("answers",), audience=audience),
            signer=signer,
            verifier=ForgeableVerifier(),
            clock=self.wall.clock,
            unix_s=self.wall.unix_s,
            make_bytes=self._bytes,
            binding=binding,
        )

    def challenge(self, hello: Hello, record: TrustRecord | None = ASKS, *, binding: bytes = b"") -> Challenge:
        return self.responder.challenge(hello, record, binding=binding)

    def prove(self, initiator: Initiator, *, binding: bytes = b"") -> tuple[Proof, Channel]:
        return initiator.prove(self.challenge(initiator.hello, binding=binding), ANSWERS)

    def sessions(self) -> int:
        return self.channels.live(self.wall.clock.monotonic_s())


def refusal(attempt: Callable[[], object]) -> Disbelief:
    with pytest.raises(AuthenticationError) as caught:
        attempt()
    return caught.value.reason


def test_handshake_both_sides_end_in_the_same_session() -> None:
    sides = Sides()
    proof, theirs = sides.prove(sides.initiator(binding=b"tls"), binding=b"tls")
    ours = sides.responder.accept(proof, ASKS, binding=b"tls")

    assert ours.session == theirs.session
    assert (ours.peer, theirs.peer) == (ALICE.did, SERVICE.did)
    assert (ours.binding, theirs.binding) == (b"tls", b"tls")
    assert sides.channels.find(ours.session, now_s=sides.wall.clock.monotonic_s()) is ours


def test_handshake_twice_are_two_sessions() -> None:
    sides = Sides()
    names = {sides.responder.accept(sides.prove(sides.initiator())[0], ASKS, binding=b"").session for _ in range(2)}

    assert len(names) == 2
    assert sides.sessions() == 2


@pytest.mark.parametrize(
    "record",
    [
        None,
        trusted(ALICE.did),
        trusted(ALICE.did, "answers"),
        replace(ASKS, revoked=True),
        replace(ASKS, not_before_s=1_800_000_001),
        replace(ASKS, not_after_s=1_800_000_000),
    ],
    ids=["unknown", "without a role", "of another role", "revoked", "too early", "too late"],
)
def test_sender_who_is_not_trusted_is_refused_at_each_step(record: TrustRecord | None) -> None:
    sides = Sides()
    initiator = sides.initiator()
    challenge = sides.challenge(initiator.hello)
    proof, _ = initiator.prove(challenge, ANSWERS)
    others = None if record is None else replace(record, did=SERVICE.did, roles=record.roles - {"answers"})

    assert refusal(lambda: sides.challenge(initiator.hello, record)) is Disbelief.TRUST
    assert refusal(lambda: sides.responder.accept(proof, record, binding=b"")) is Disbelief.TRUST
    assert refusal(lambda: sides.initiator().prove(challenge, others)) is Disbelief.TRUST
    assert sides.sessions() == 0


def test_proof_again_is_refused_while_its_challenge_could_be_good_and_afterwards() -> None:
    sides = Sides()
    proof, _ = sides.prove(sides.initiator())
    sides.responder.accept(proof, ASKS, binding=b"")

    for seconds in (0.0, 29.0, 1.0, 3600.0, 24 * 3600.0):
        sides.wall.advance(seconds)
        assert refusal(lambda: sides.responder.accept(proof, ASKS, binding=b"")) is Disbelief.FRESHNESS


def test_proof_again_after_a_restart_is_refused() -> None:
    sides = Sides()
    proof, _ = sides.prove(sides.initiator())
    sides.responder.accept(proof, ASKS, binding=b"")
    restarted = Sides(wall=sides.wall, salt=3)

    assert refusal(lambda: restarted.responder.accept(proof, ASKS, binding=b"")) is Disbelief.FRESHNESS
    assert restarted.sessions() == 0


@pytest.mark.parametrize(("seconds", "good"), [(29.9, True), (30.0, False)])
def test_proof_is_good_for_as_long_as_its_challenge(seconds: float, good: bool) -> None:
    sides = Sides()
    proof, _ = sides.prove(sides.initiator())
    sides.wall.advance(seconds)

    if good:
        sides.responder.accept(proof, ASKS, binding=b"")
    else:
        assert refusal(lambda: sides.responder.accept(proof, ASKS, binding=b"")) is Disbelief.FRESHNESS
    assert sides.sessions() == int(good)


@pytest.mark.parametrize(("seconds", "good"), [(29.9, True), (30.0, False)])
def test_challenge_that_comes_late_is_refused(seconds: float, good: bool) -> None:
    sides = Sides()
    initiator = sides.initiator()
    challenge = sides.challenge(initiator.hello)
    sides.wall.advance(seconds)

    if good:
        initiator.prove(challenge, ANSWERS)
    else:
        assert refusal(lambda: initiator.prove(challenge, ANSWERS)) is Disbelief.FRESHNESS


def test_second_challenge_for_one_hello_is_refused() -> None:
    sides = Sides()
    initiator = sides.initiator()
    sides.prove(initiator)

    assert refusal(lambda: initiator.prove(sides.challenge(initiator.hello), ANSWERS)) is Disbelief.FRESHNESS


@pytest.mark.parametrize(
    ("off_s", "good"), [(0.0, True), (5.0, True), (5.1, False), (-34.9, True), (-35.0, False), (3600.0, False)]
)
def test_hello_of_a_clock_that_differs_is_taken_up_to_the_skew(off_s: float, good: bool) -> None:
    sides = Sides()
    hello = sides.initiator().hello
    hello = replace(hello, issued_ms=hello.issued_ms + int(off_s * 1000))

    if good:
        sides.challenge(hello)
    else:
        assert refusal(lambda: sides.challenge(hello)) is Disbelief.FRESHNESS


def test_clock_that_steps_back_by_an_hour_makes_no_used_or_expired_challenge_good() -> None:
    sides = Sides()
    used, _ = sides.prove(sides.initiator())
    unused, _ = sides.prove(sides.initiator())
    sides.responder.accept(used, ASKS, binding=b"")
    sides.wall.advance(31.0)
    sides.wall.set_by(-3600.0)

    assert refusal(lambda: sides.responder.accept(used, ASKS, binding=b"")) is Disbelief.FRESHNESS
    assert refusal(lambda: sides.responder.accept(unused, ASKS, binding=b"")) is Disbelief.FRESHNESS


def test_wrong_audience_is_refused() -> None:
    sides = Sides()

    assert refusal(lambda: sides.challenge(sides.initiator(audience="another.example").hello)) is Disbelief.ADDRESS


def test_reflection_of_a_hello_or_a_challenge_to_its_sender_is_refused() -> None:
    sides = Sides()
    both = trusted(SERVICE.did, "asks", "answers")
    own = sides.initiator(SERVICE)

    assert refusal(lambda: sides.challenge(own.hello, both)) is Disbelief.ADDRESS
    mirror = sides.make_responder(ALICE, ChannelTable(max_sessions=1, session_s=60.0))
    hello = sides.initiator(MALLORY).hello
    challenge = mirror.challenge(hello, trusted(MALLORY.did, "asks"), binding=b"")
    assert refusal(lambda: sides.initiator(ALICE).prove(challenge, trusted(ALICE.did, "answers"))) is Disbelief.ADDRESS


def test_role_swap_the_signature_of_one_role_is_none_of_the_other() -> None:
    sides = Sides()
    initiator = sides.initiator()
    challenge = sides.challenge(initiator.hello)
    proof, _ = initiator.prove(challenge, ANSWERS)
    swapped_proof = replace(proof, signature=_sign(ALICE, proof, Purpose.RESPONDER))
    swapped_challenge = replace(challenge, signature=_sign(SERVICE, proof, Purpose.INITIATOR))
    again = sides.initiator()
    again.hello = initiator.hello

    assert refusal(lambda: sides.responder.accept(swapped_proof, ASKS, binding=b"")) is Disbelief.SIGNATURE
    assert refusal(lambda: again.prove(swapped_challenge, ANSWERS)) is Disbelief.SIGNATURE
    sides.responder.accept(replace(proof, signature=_sign(ALICE, proof, Purpose.INITIATOR)), ASKS, binding=b"")


@pytest.mark.parametrize("purpose", [purpose for purpose in Purpose if purpose is not Purpose.INITIATOR])
def test_cross_protocol_no_signature_for_another_purpose_is_a_proof(purpose: Purpose) -> None:
    sides = Sides()
    proof, _ = sides.prove(sides.initiator())
    forged = replace(proof, signature=_sign(ALICE, proof, purpose))

    assert refusal(lambda: sides.responder.accept(forged, ASKS, binding=b"")) is Disbelief.SIGNATURE


def test_unknown_key_share_whoever_puts_their_name_on_a_handshake_of_others_gets_no_session() -> None:
    sides = Sides()
    initiator = sides.initiator()
    challenge = sides.challenge(initiator.hello)
    proof, _ = initiator.prove(challenge, ANSWERS)
    # As the initiator: the service would take what Alice says for what Mallory says.
    stolen = replace(proof, hello=replace(proof.hello, initiator=MALLORY.did))
    stolen = replace(stolen, signature=_sign(MALLORY, stolen, Purpose.INITIATOR))
    # As the responder: Alice would tell Mallory what is meant for the service.
    misled = sides.initiator()
    forwarded = replace(sides.challenge(misled.hello), responder=MALLORY.did)
    signed = Transcript(hello=misled.hello.encode(), responder=MALLORY.did, nonce=forwarded.nonce, binding=b"")
    forwarded = replace(forwarded, signature=MALLORY.sign(signed.signed_as(Purpose.RESPONDER)))
    for_mallory, _ = misled.prove(forwarded, trusted(MALLORY.did, "answers"))

    record = trusted(MALLORY.did, "asks")
    assert refusal(lambda: sides.responder.accept(stolen, record, binding=b"")) is Disbelief.FRESHNESS
    assert refusal(lambda: sides.responder.accept(for_mallory, ASKS, binding=b"")) is Disbelief.SIGNATURE
    assert sides.sessions() == 0


def test_unknown_key_share_a_challenge_under_another_name_without_their_signature_is_refused() -> None:
    sides = Sides()
    initiator = sides.initiator()
    renamed = replace(sides.challenge(initiator.hello), responder=MALLORY.did)

    record = trusted(MALLORY.did, "answers")
    assert refusal(lambda: initiator.prove(renamed, record)) is Disbelief.SIGNATURE


@pytest.mark.parametrize(("theirs", "ours"), [(b"a", b"b"), (b"a", b""), (b"", b"a")])
def test_channel_binding_that_differs_is_refused(theirs: bytes, ours: bytes) -> None:
    sides = Sides()
    initiator = sides.initiator(binding=theirs)
    challenge = sides.challenge(initiator.hello, binding=ours)
    proof, _ = sides.prove(sides.initiator(binding=theirs), binding=theirs)

    assert refusal(lambda: initiator.prove(challenge, ANSWERS)) is Disbelief.SIGNATURE
    assert refusal(lambda: sides.responder.accept(proof, ASKS, binding=ours)) is Disbelief.FRESHNESS


def test_every_bit_flipped_in_any_message_is_refused_and_leaves_no_session() -> None:
    sides = Sides()
    initiator = sides.initiator()
    challenge = sides.challenge(initiator.hello)
    proof, _ = initiator.prove(challenge, ANSWERS)
    records = {ALICE.did: ASKS, SERVICE.did: ANSWERS}

    def answer(message: bytes) -> object:
        read = Challenge.read(message)
        again = sides.initiator()
        again.hello = initiator.hello
        return again.prove(read, records.get(read.responder))

    def accept(message: bytes) -> object:
        read = Proof.read(message)
        return sides.responder.accept(read, records.get(read.hello.initiator), binding=b"")

    # A ticket is the responder's own, and means nothing to the initiator.
    ticket = range(8 * 92, 8 * 124)
    taken = [flip for flip in _flips(challenge.encode()) if flip[0] not in ticket and _is_believed(answer, flip[1])]
    assert taken == []
    assert [flip for flip in _flips(proof.encode()) if _is_believed(accept, flip[1])] == []
    assert sides.sessions() == 0
    accept(proof.encode())


def test_hello_changed_on_the_way_gives_a_challenge_that_its_sender_refuses() -> None:
    sides = Sides()
    initiator = sides.initiator()

    for _, message in _flips(initiator.hello.encode()):
        try:
            changed = Hello.read(message)
            challenge = sides.challenge(changed, ASKS if changed.initiator == ALICE.did else None)
        except AuthenticationError:
            continue
        assert refusal(lambda challenge=challenge: initiator.prove(challenge, ANSWERS)) is Disbelief.SIGNATURE  # type: ignore[misc] # bound at once
    initiator.prove(sides.challenge(initiator.hello), ANSWERS)


@pytest.mark.parametrize("signature", [bytes(64), b"\1" + bytes(63), b"\xff" * 64], ids=["zero", "one", "ones"])
def test_empty_signature_is_refused(signature: bytes) -> None:
    sides = Sides()
    proof, _ = sides.prove(sides.initiator())
    initiator = sides.initiator()
    challenge = replace(sides.challenge(initiator.hello), signature=signature)

    forged = replace(proof, signature=signature)
    assert refusal(lambda: sides.responder.accept(forged, ASKS, binding=b"")) is Disbelief.SIGNATURE
    assert refusal(lambda: initiator.prove(challenge, ANSWERS)) is Disbelief.SIGNATURE


def test_ticket_that_was_made_up_is_refused_without_looking_at_the_signature() -> None:
    sides = Sides()
    proof, _ = sides.prove(sides.initiator())

    made_up = replace(proof, ticket=bytes(32))
    assert refusal(lambda: sides.responder.accept(made_up, ASKS, binding=b"")) is Disbelief.FRESHNESS


def test_sessions_beyond_the_bound_are_refused_until_one_has_ended() -> None:
    sides = Sides(replace(CONFIG, max_sessions=2, session_s=60.0))
    for _ in range(2):
        sides.responder.accept(sides.prove(sides.initiator())[0], ASKS, binding=b"")
    proof, _ = sides.prove(sides.initiator())

    assert refusal(lambda: sides.responder.accept(proof, ASKS, binding=b"")) is Disbelief.CAPACITY
    sides.wall.advance(60.0)
    sides.responder.accept(sides.prove(sides.initiator())[0], ASKS, binding=b"")
    assert sides.sessions() == 1


@pytest.mark.slow
def test_ten_thousand_half_open_handshakes_take_no_memory_and_keep_nobody_out() -> None:
    sides = Sides()
    sides.challenge(sides.initiator().hello)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(10_000):
        sides.challenge(sides.initiator().hello)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert grown < 10_000  # a byte for each would be more
    assert sides.sessions() == 0
    sides.responder.accept(sides.prove(sides.initiator())[0], ASKS, binding=b"")
    assert sides.sessions() == 1


def _sign(signer: ForgeableSigner, proof: Proof, purpose: Purpose) -> bytes:
    transcript = Transcript(hello=proof.hello.encode(), responder=SERVICE.did, nonce=proof.nonce, binding=b"")
    return signer.sign(transcript.signed_as(purpose))


def _flips(message: bytes) -> list[tuple[int, bytes]]:
    """Return the message with each bit flipped, and which it is."""
    number, bits = int.from_bytes(message, "big"), 8 * len(message)
    return [(bit, (number ^ 1 << bits - 1 - bit).to_bytes(len(message), "big")) for bit in range(bits)]


def _is_believed(read: Callable[[bytes], object], message: bytes) -> bool:
    try:
        read(message)
    except AuthenticationError:
        return False
    return True
