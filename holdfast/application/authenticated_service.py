"""The service, for those who prove who they are.

Responsibility: take messages, whatever carries them, and answer each with one that is signed.
Guarantees: nothing reaches the service but what somebody who is trusted signed, for this service, just now, and once;
    its tenant is the DID of whoever signed. All else is refused with one error that does not tell why, and changes
    nothing. Who is trusted is asked for each message, so that a revocation counts at once, in sessions too. The checks
    go from cheap to dear: size, form, DID, trust, then signature; time and order as soon as they can be believed.
Not responsible for: carrying messages; secrecy: run it inside TLS; fairness among those who are trusted: give tenants
    a rate limit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, assert_never

from holdfast.application.signed_body import (
    FAILURE,
    PIECE,
    REPLY,
    WELCOME,
    failure_body,
    read_question,
    reply_body,
)
from holdfast.domain.authentication_config import AuthenticationConfig
from holdfast.domain.authentication_tally import AuthenticationTally, Step
from holdfast.domain.belief import refuse_unless, require_trusted, to_ms
from holdfast.domain.channel import Channel, ChannelTable
from holdfast.domain.envelope import Direction, Envelope, SealedEnvelope, seal
from holdfast.domain.envelope_gate import EnvelopeGate
from holdfast.domain.handshake import Responder
from holdfast.domain.handshake_messages import Hello, Proof
from holdfast.ports.authentication import Disbelief
from holdfast.ports.clock import Clock
from holdfast.ports.did import Did
from holdfast.ports.errors import HoldfastError
from holdfast.ports.events import EventSink, HandshakeCompleted
from holdfast.ports.identity import Signer, TrustStore, Verifier
from holdfast.ports.service import Service
from holdfast.ports.statistics import AuthenticationStatistics

__all__ = ["AuthenticatedService", "Identity"]

_MARK_BYTES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a process is, and whom it believes.

    Args:
        signer: who it is.
        verifier: says whose a signature is.
        trust: knows who is trusted.
    """

    signer: Signer
    verifier: Verifier
    trust: TrustStore


class _Asked(NamedTuple):
    envelope: Envelope
    channel: Channel | None


class AuthenticatedService:
    """Stands in front of a service. Open one with `holdfast.application.open_authenticated_service`.

    Attributes:
        service: what is asked, for its health, and to drain it.

    Args:
        service: what is asked.
        identity: who answers, and who may ask.
        config: for how long, and how much of it.
        clock: monotonic time.
        unix_s: the wall clock, in Unix seconds.
        make_bytes: makes that many bytes that nobody can guess.
        events: told who proved themselves, and of each refusal.
    """

    def __init__(  # noqa: PLR0913 - what it needs of the outside
        self,
        service: Service,
        identity: Identity,
        config: AuthenticationConfig,
        *,
        clock: Clock,
        unix_s: Callable[[], float],
        make_bytes: Callable[[int], bytes],
        events: EventSink | None = None,
    ) -> None:
        self.service = service
        self._identity = identity
        self._config = config
        self._clock = clock
        self._unix_s = unix_s
        self._events = events
        self._tally = AuthenticationTally(events=events)
        self._channels = ChannelTable(max_sessions=config.max_sessions, session_s=config.session_s)
        self._responder = Responder(
            config,
            signer=identity.signer,
            verifier=identity.verifier,
            channels=self._channels,
            clock=clock,
            unix_s=unix_s,
            make_bytes=make_bytes,
        )
        self._gate = EnvelopeGate(config, me=identity.signer.did, channels=self._channels, clock=clock, unix_s=unix_s)

    @property
    def did(self) -> Did:
        """Who answers."""
        return self._identity.signer.did

    async def handle(self, message: bytes, *, channel_binding: bytes = b"") -> bytes:
        """Return the answer to `message`: a challenge to a hello, a welcome to a proof, a reply to a question.

        A question that was believed always has a signed answer, which is a failure if the service raised an error of
        Holdfast.

        Args:
            message: as it came.
            channel_binding: what names the channel that it came on, such as a ``tls-exporter`` value; empty for none.

        Raises:
            AuthenticationError: it is not believed; tell whoever sent it nothing but that.
            TrustStoreError: nobody can say who is trusted.

        Cancellation: as that of the service. The question counts as asked.
        """
        believed = await self._believe(message, channel_binding)
        return believed if isinstance(believed, bytes) else await self._answer(believed)

    async def stream(
        self, message: bytes, deliver: Callable[[bytes], Awaitable[None]], *, channel_binding: bytes = b""
    ) -> None:
        """Hand the answer to `deliver` while it comes: pieces of the text, and at last the reply or a failure.

        The last answer, and no other, says that it is final, so that whoever reads them knows when one was cut off. In
        a session their order is certain too; outside of one it is not, but the reply at the end has the whole text.

        Args:
            message: as for `handle`; a hello or a proof has one answer.
            deliver: takes one answer, and waits while whoever reads is too far behind. What it raises ends the request
                and is raised as it is.
            channel_binding: as for `handle`.

        Raises:
            AuthenticationError, TrustStoreError: as `handle`; nothing was delivered.

        Cancellation: as that of the service; nothing more is delivered.
        """
        believed = await self._believe(message, channel_binding)
        if isinstance(believed, bytes):
            await deliver(believed)
            return
        asked = believed
        undelivered: Exception | None = None
        try:
            async with self.service.stream(read_question(asked.envelope)) as stream:
                async for text in stream:
                    piece = self._seal_answer(asked, PIECE, {"text": text}, final=False)
                    try:
                        await deliver(piece)
                    except Exception as error:
                        undelivered = error  # not the service's, whatever its kind
                        raise
                reply = await stream.reply()
        except HoldfastError as error:
            if error is undelivered:
                raise
            answer = self._seal_answer(asked, FAILURE, failure_body(error))
        else:
            # Not in the block, which may still fail: each answer of a session takes a number.
            answer = self._seal_answer(asked, REPLY, reply_body(reply))
        await deliver(answer)

    def statistics(self) -> AuthenticationStatistics:
        """Return what became of the messages."""
        return self._tally.statistics(
            sessions=self._channels.live(self._clock.monotonic_s()), remembered=self._gate.remembered
        )

    async def _believe(self, message: bytes, binding: bytes) -> bytes | _Asked:
        """Return the answer to a step of a handshake, or the question that was believed."""
        step = _step_of(message)
        with self._tally.check(step):
            refuse_unless(len(message) <= self._config.max_message_bytes, Disbelief.SIZE)
            match step:
                case Step.HELLO:
                    return await self._challenge(Hello.read(message), binding)
                case Step.PROOF:
                    return await self._begin(Proof.read(message), binding)
                case Step.ENVELOPE:
                    return await self._take(SealedEnvelope.read(message), binding)
                case _:
                    assert_never(step)

    async def _challenge(self, hello: Hello, binding: bytes) -> bytes:
        record = await self._identity.trust.find(hello.initiator)
        return self._responder.challenge(hello, record, binding=binding).encode()

    async def _begin(self, proof: Proof, binding: bytes) -> bytes:
        record = await self._identity.trust.find(proof.hello.initiator)
        channel = self._responder.accept(proof, record, binding=binding)
        if self._events is not None:
            self._events.emit(HandshakeCompleted(peer=channel.peer))
        return self._seal(channel.peer, channel, id=WELCOME, type=WELCOME, body={})

    async def _take(self, sealed: SealedEnvelope, binding: bytes) -> _Asked:
        record = await self._identity.trust.find(sealed.sender)
        require_trusted(record, roles=self._config.roles, unix_s=self._unix_s())
        envelope = sealed.open(self._identity.verifier)
        return _Asked(envelope, self._gate.take(envelope, binding=binding))

    async def _answer(self, asked: _Asked) -> bytes:
        try:
            reply = await self.service.submit(read_question(asked.envelope))
        except HoldfastError as error:
            return self._seal_answer(asked, FAILURE, failure_body(error))
        return self._seal_answer(asked, REPLY, reply_body(reply))

    def _seal_answer(self, asked: _Asked, kind: str, body: Mapping[str, object], *, final: bool = True) -> bytes:
        question = asked.envelope
        return self._seal(question.sender, asked.channel, id=question.id, type=kind, body=body, final=final)

    def _seal(
        self,
        to: Did,
        channel: Channel | None,
        *,
        id: str,  # noqa: A002 - as there
        type: str,  # noqa: A002 - as there
        body: Mapping[str, object],
        final: bool = True,
    ) -> bytes:
        issued_ms = to_ms(self._unix_s())
        answer = Envelope(
            sender=self.did,
            to=to,
            session=None if channel is None else channel.session,
            direction=Direction.TO_INITIATOR,
            seq=None if channel is None else channel.send(),
            issued_ms=issued_ms,
            expires_ms=issued_ms + to_ms(self._config.max_lifetime_s),
            id=id,
            type=type,
            body=body,
            final=final,
        )
        return seal(answer, self._identity.signer)


def _step_of(message: bytes) -> Step:
    # Whatever is none of these is refused as an envelope.
    return {Hello.MARK: Step.HELLO, Proof.MARK: Step.PROOF}.get(message[:_MARK_BYTES], Step.ENVELOPE)
