"""Asking a service that wants to know who asks.

Responsibility: sign questions, and believe answers.
Guarantees: an answer is believed only if the service that was asked signed it, for this side, for this question, and
    just now; in a session, also in order and with none left out. Who is trusted is asked for each answer.
Not responsible for: carrying messages; asking again: a question that got no answer may have been answered.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import anyio

from holdfast.application.authenticated_service import Identity
from holdfast.application.signed_body import ASK, WELCOME
from holdfast.domain.authentication_config import AuthenticationConfig
from holdfast.domain.belief import refuse_unless, require_trusted, to_ms
from holdfast.domain.channel import Channel
from holdfast.domain.envelope import Direction, Envelope, SealedEnvelope, seal
from holdfast.domain.envelope_gate import require_ours
from holdfast.domain.handshake import Initiator
from holdfast.domain.handshake_messages import Challenge
from holdfast.ports.authentication import Disbelief
from holdfast.ports.clock import Clock
from holdfast.ports.did import Did
from holdfast.ports.errors import ClosedError

__all__ = ["AuthenticatedClient", "AuthenticatedSession", "Question"]

_ID_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was asked, to tell its answers by.

    Args:
        id: which all of them have.
        message: what is sent.
        channel: its session; None for none.
    """

    id: str
    message: bytes
    channel: Channel | None


class AuthenticatedClient:
    """Asks one service.

    Args:
        identity: who asks, and whom to believe.
        config: that of the service, but for `roles`: one of these is needed by the service.
        service: who is asked.
        send: takes a message to the service, and returns its answer.
        clock: monotonic time.
        unix_s: the wall clock, in Unix seconds.
        make_bytes: makes that many bytes that nobody can guess.
        channel_binding: what names the channel below; the service must see the same. Empty for none.
    """

    def __init__(  # noqa: PLR0913 - what it needs of the outside
        self,
        identity: Identity,
        config: AuthenticationConfig,
        *,
        service: Did,
        send: Callable[[bytes], Awaitable[bytes]],
        clock: Clock,
        unix_s: Callable[[], float] = time.time,
        make_bytes: Callable[[int], bytes] = secrets.token_bytes,
        channel_binding: bytes = b"",
    ) -> None:
        self._identity = identity
        self._config = config
        self._service = service
        self._send = send
        self._clock = clock
        self._unix_s = unix_s
        self._make_bytes = make_bytes
        self._binding = channel_binding

    async def connect(self) -> AuthenticatedSession:
        """Begin a session.

        Raises:
            AuthenticationError: the service is not believed.
            TrustStoreError: nobody can say whether it is trusted.
            Exception: whatever `send` raises, and so if this side is not believed.

        Cancellation: there is no session; the service may keep one until it ends by time.
        """
        identity = self._identity
        initiator = Initiator(
            self._config,
            signer=identity.signer,
            verifier=identity.verifier,
            clock=self._clock,
            unix_s=self._unix_s,
            make_bytes=self._make_bytes,
            binding=self._binding,
        )
        challenge = Challenge.read(await self._send(initiator.hello.encode()))
        refuse_unless(challenge.responder == self._service, Disbelief.ADDRESS)
        proof, channel = initiator.prove(challenge, await identity.trust.find(self._service))
        message = proof.encode()
        welcome = await self.read_answer(
            await self._send(message), Question(id=WELCOME, message=message, channel=channel)
        )
        refuse_unless(welcome.type == WELCOME and welcome.final, Disbelief.ADDRESS)
        return AuthenticatedSession(self, channel)

    async def ask(self, body: Mapping[str, object]) -> Envelope:
        """Ask outside of any session, and return the answer, whose `type` is ``reply`` or ``failure``.

        Raises:
            AuthenticationError: the answer is not believed.
            TrustStoreError: nobody can say whether the service is trusted.
            Exception: whatever `send` raises, and so if this side is not believed.
        """
        return await self.exchange(self.question(body))

    def question(self, body: Mapping[str, object], channel: Channel | None = None) -> Question:
        """Return a question to be sent by other means than `send`, such as one whose answer comes in pieces."""
        issued_ms = to_ms(self._unix_s())
        asked = Envelope(
            sender=self._identity.signer.did,
            to=self._service,
            session=None if channel is None else channel.session,
            direction=Direction.TO_RESPONDER,
            seq=None if channel is None else channel.send(),
            issued_ms=issued_ms,
            expires_ms=issued_ms + to_ms(self._config.max_lifetime_s),
            id=self._make_bytes(_ID_BYTES).hex(),
            type=ASK,
            body=body,
            final=True,
        )
        return Question(id=asked.id, message=seal(asked, self._identity.signer), channel=channel)

    async def read_answer(self, message: bytes, question: Question) -> Envelope:
        """Return an answer to `question`, of which there are more unless it says that it is final.

        Raises:
            AuthenticationError: it is not believed.
            TrustStoreError: nobody can say whether the service is trusted.
        """
        refuse_unless(len(message) <= self._config.max_message_bytes, Disbelief.SIZE)
        sealed = SealedEnvelope.read(message)
        refuse_unless(sealed.sender == self._service, Disbelief.ADDRESS)
        record = await self._identity.trust.find(sealed.sender)
        unix_s = self._unix_s()
        require_trusted(record, roles=self._config.roles, unix_s=unix_s)
        answer = sealed.open(self._identity.verifier)
        me, channel = self._identity.signer.did, question.channel
        require_ours(answer, self._config, me=me, direction=Direction.TO_INITIATOR, unix_s=unix_s)
        session = None if channel is None else channel.session
        refuse_unless(answer.id == question.id and answer.session == session, Disbelief.ADDRESS)
        if channel is not None:
            channel.receive(answer.seq)
        return answer

    async def exchange(self, question: Question) -> Envelope:
        """Send `question`, and return its one answer.

        Raises:
            AuthenticationError, TrustStoreError, Exception: as `ask`.
        """
        answer = await self.read_answer(await self._send(question.message), question)
        refuse_unless(answer.final, Disbelief.ADDRESS)
        return answer


class AuthenticatedSession:
    """A session with a service; one question at a time, in the order in which they are asked."""

    def __init__(self, client: AuthenticatedClient, channel: Channel) -> None:
        self._client = client
        self._channel: Channel | None = channel
        self._turn = anyio.Lock()

    async def ask(self, body: Mapping[str, object]) -> Envelope:
        """Ask, and return the answer, whose `type` is ``reply`` or ``failure``.

        Raises:
            ClosedError: an earlier question got no answer that was believed; begin another session.
            AuthenticationError, TrustStoreError, Exception: as `AuthenticatedClient.ask`; the session is over.

        Cancellation: while waiting for earlier questions nothing is left behind; afterwards the session is over.
        """
        async with self._turn:
            channel, self._channel = self._channel, None
            if channel is None:
                raise ClosedError("the session")
            answer = await self._client.exchange(self._client.question(body, channel))
            self._channel = channel
            return answer
