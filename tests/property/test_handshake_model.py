"""Handshakes in any order, with anything said twice, late, or to somebody else."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfast.domain.channel import ChannelTable
from holdfast.domain.handshake import Initiator, Responder
from holdfast.domain.handshake_messages import Challenge, Proof
from holdfast.ports.errors import AuthenticationError
from holdfast.testing.identity import ForgeableSigner, ForgeableVerifier
from tests.fakes.identity import ALICE, CONFIG, MALLORY, SERVICE, Wall, make_counted_bytes, trusted

SMALL = replace(CONFIG, max_sessions=3, session_s=60.0)
LIFETIME_S = SMALL.max_lifetime_s
PEOPLE = (ALICE, MALLORY)


class HandshakeMachine(RuleBasedStateMachine):
    """A session is there exactly if its initiator proved itself to this responder, once, in time, with room left."""

    def __init__(self) -> None:
        super().__init__()
        self.wall = Wall()
        self.bytes = make_counted_bytes(1)
        self.restarts = 0
        self.begun: list[Initiator] = []
        self.challenged: list[tuple[Initiator, Challenge, float, int]] = []
        self.proved: list[tuple[Proof, ForgeableSigner, float, int]] = []
        self.signers: dict[int, ForgeableSigner] = {}
        self.open()

    def open(self) -> None:
        self.accepted: set[bytes] = set()
        self.ends_s: list[float] = []
        self.channels = ChannelTable(max_sessions=SMALL.max_sessions, session_s=SMALL.session_s)
        self.responder = Responder(
            SMALL,
            signer=SERVICE,
            verifier=ForgeableVerifier(),
            channels=self.channels,
            clock=self.wall.clock,
            unix_s=self.wall.unix_s,
            make_bytes=make_counted_bytes(100 + self.restarts),
        )

    @property
    def now_s(self) -> float:
        return self.wall.clock.monotonic_s()

    @rule(who=st.sampled_from(PEOPLE))
    def begin(self, who: ForgeableSigner) -> None:
        initiator = Initiator(
            replace(SMALL, roles=("answers",)),
            signer=who,
            verifier=ForgeableVerifier(),
            clock=self.wall.clock,
            unix_s=self.wall.unix_s,
            make_bytes=self.bytes,
        )
        self.begun.append(initiator)
        self.signers[id(initiator)] = who

    @rule(choice=st.integers(0, 100))
    def challenge(self, choice: int) -> None:
        if not self.begun:
            return
        initiator = self.begun[choice % len(self.begun)]
        try:
            record = trusted(initiator.hello.initiator, "asks")
            challenge = self.responder.challenge(initiator.hello, record, binding=b"")
        except AuthenticationError:
            return
        self.challenged.append((initiator, challenge, self.now_s, self.restarts))

    @rule(choice=st.integers(0, 100))
    def prove(self, choice: int) -> None:
        if not self.challenged:
            return
        initiator, challenge, made_s, restarts = self.challenged[choice % len(self.challenged)]
        try:
            proof, _ = initiator.prove(challenge, trusted(SERVICE.did, "answers"))
        except AuthenticationError:
            return
        self.proved.append((proof, self.signers[id(initiator)], made_s, restarts))

    @rule(choice=st.integers(0, 100), thief=st.sampled_from([*PEOPLE, None]))
    def accept(self, choice: int, thief: ForgeableSigner | None) -> None:
        if not self.proved:
            return
        proof, prover, made_s, restarts = self.proved[choice % len(self.proved)]
        good = (
            thief in {None, prover}
            and restarts == self.restarts
            and proof.nonce not in self.accepted
            and self.now_s - made_s < LIFETIME_S
            and sum(end_s > self.now_s for end_s in self.ends_s) < SMALL.max_sessions
        )
        if thief is not None:
            proof = replace(proof, hello=replace(proof.hello, initiator=thief.did))
        try:
            channel = self.responder.accept(proof, trusted(proof.hello.initiator, "asks"), binding=b"")
        except AuthenticationError:
            assert not good
            return

        assert good
        assert channel.peer == prover.did
        self.accepted.add(proof.nonce)
        self.ends_s.append(self.now_s + SMALL.session_s)

    @rule(seconds=st.sampled_from([0.5, 10.0, 29.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.wall.advance(seconds)

    @rule(seconds=st.sampled_from([-3600.0, -4.0, 4.0, 3600.0]))
    def set_the_wall_clock(self, seconds: float) -> None:
        self.wall.set_by(seconds)

    @rule()
    def restart(self) -> None:
        self.restarts += 1
        self.open()

    @invariant()
    def sessions_are_those_that_were_accepted_and_have_not_ended(self) -> None:
        live = sum(end_s > self.now_s for end_s in self.ends_s)

        assert self.channels.live(self.now_s) == live <= SMALL.max_sessions


TestHandshake = HandshakeMachine.TestCase
TestHandshake.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
