"""Two identities prove themselves to each other.

Responsibility: the three messages ``hello``, ``challenge`` and ``proof``, and the session that follows.
Guarantees: whoever completes it knows that the other side holds its key, wanted to speak to this side and to nobody
    else, in this role, for this audience, on this channel, and just now. A challenge is good once, for
    `max_lifetime_s`, and in the process that made it. Nothing at all is kept of a handshake that is not complete, so
    however many are begun take no memory and keep nobody out. Whoever is refused has changed nothing.
Not responsible for: secrecy: whoever is on the way reads all of it; run it inside TLS, and give its channel binding.
    Looking up who is trusted, which may have to wait: the caller does, with the DID that the message names.
Sources: SIGMA (Krawczyk 2003) without its key exchange; ISO/IEC 9798-3 mutual authentication in three passes; SYN
    cookies (Bernstein 1996; RFC 4987 section 3.6) for the ticket.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from holdfast.domain.authentication_config import AuthenticationConfig
from holdfast.domain.belief import refuse_unless, require_fresh, require_trusted, to_ms
from holdfast.domain.channel import Channel, ChannelTable
from holdfast.domain.handshake_messages import NONCE_BYTES, Challenge, Hello, Proof
from holdfast.domain.signed_fields import Purpose
from holdfast.domain.transcript import Transcript
from holdfast.ports.authentication import Disbelief
from holdfast.ports.clock import Clock
from holdfast.ports.identity import Signer, TrustRecord, Verifier

__all__ = ["Initiator", "Responder"]

_TIME_BYTES: Final = 8


class Responder:
    """The side that is spoken to.

    Args:
        config: whom to believe, and for how long.
        signer: who this side is.
        verifier: says whose a signature is.
        channels: where sessions are kept.
        clock: monotonic time.
        unix_s: the wall clock.
        make_bytes: makes that many bytes that nobody can guess.
    """

    def __init__(  # noqa: PLR0913 - what it needs of the outside
        self,
        config: AuthenticationConfig,
        *,
        signer: Signer,
        verifier: Verifier,
        channels: ChannelTable,
        clock: Clock,
        unix_s: Callable[[], float],
        make_bytes: Callable[[int], bytes],
    ) -> None:
        self._config = config
        self._signer = signer
        self._verifier = verifier
        self._channels = channels
        self._clock = clock
        self._unix_s = unix_s
        self._make_bytes = make_bytes
        self._audience = config.audience.encode()
        self._secret = make_bytes(hashlib.sha256().digest_size)

    def challenge(self, hello: Hello, record: TrustRecord | None, *, binding: bytes) -> Challenge:
        """Return the answer to `hello`, and keep nothing.

        Args:
            hello: the message.
            record: what is known about its sender.
            binding: the channel below.

        Raises:
            AuthenticationError: if its sender may not ask, or it is old, from the future, or meant for somebody else.
        """
        unix_s = self._unix_s()
        require_trusted(record, roles=self._config.roles, unix_s=unix_s)
        refuse_unless(hello.audience == self._audience and hello.initiator != self._signer.did, Disbelief.ADDRESS)
        expires_ms = hello.issued_ms + to_ms(self._config.max_lifetime_s)
        require_fresh(self._config, issued_ms=hello.issued_ms, expires_ms=expires_ms, unix_s=unix_s)
        made = to_ms(self._clock.monotonic_s()).to_bytes(_TIME_BYTES, "big")
        transcript = self._transcript(hello, made + self._make_bytes(NONCE_BYTES - _TIME_BYTES), binding)
        return Challenge(
            responder=transcript.responder,
            nonce=transcript.nonce,
            ticket=self._ticket(transcript),
            signature=self._signer.sign(transcript.signed_as(Purpose.RESPONDER)),
        )

    def accept(self, proof: Proof, record: TrustRecord | None, *, binding: bytes) -> Channel:
        """Return the session that `proof` completes.

        Args:
            proof: the message.
            record: what is known about its sender.
            binding: the channel below.

        Raises:
            AuthenticationError: if its sender may not ask, it answers no challenge of this process, channel and last
                seconds, or one that was used, there are too many sessions, or its signature is not its sender's.
        """
        require_trusted(record, roles=self._config.roles, unix_s=self._unix_s())
        transcript = self._transcript(proof.hello, proof.nonce, binding)
        refuse_unless(hmac.compare_digest(proof.ticket, self._ticket(transcript)), Disbelief.FRESHNESS)
        now_s = self._clock.monotonic_s()
        made_ms = int.from_bytes(proof.nonce[:_TIME_BYTES], "big")
        refuse_unless(to_ms(now_s) - made_ms < to_ms(self._config.max_lifetime_s), Disbelief.FRESHNESS)
        channel = Channel(session=transcript.session, peer=proof.hello.initiator, binding=binding)
        self._channels.require_room(channel.session, now_s=now_s)
        signed = transcript.signed_as(Purpose.INITIATOR)
        refuse_unless(self._verifier.verify(channel.peer, signed, proof.signature), Disbelief.SIGNATURE)
        self._channels.begin(channel, now_s=now_s)
        return channel

    def _transcript(self, hello: Hello, nonce: bytes, binding: bytes) -> Transcript:
        return Transcript(hello=hello.encode(), responder=self._signer.did, nonce=nonce, binding=binding)

    def _ticket(self, transcript: Transcript) -> bytes:
        return hmac.digest(self._secret, transcript.signed_as(Purpose.RESPONDER), "sha256")


class Initiator:
    """The side that begins, for one handshake.

    Args:
        config: whom to believe, and for how long; `roles` are those that a responder needs one of.
        signer: who this side is.
        verifier: says whose a signature is.
        clock: monotonic time.
        unix_s: the wall clock.
        make_bytes: makes that many bytes that nobody can guess.
        binding: the channel below; empty for none.
    """

    def __init__(  # noqa: PLR0913 - as above
        self,
        config: AuthenticationConfig,
        *,
        signer: Signer,
        verifier: Verifier,
        clock: Clock,
        unix_s: Callable[[], float],
        make_bytes: Callable[[int], bytes],
        binding: bytes = b"",
    ) -> None:
        self._config = config
        self._signer = signer
        self._verifier = verifier
        self._clock = clock
        self._unix_s = unix_s
        self._binding = binding
        self._began_s = clock.monotonic_s()
        self._complete = False
        self.hello = Hello(
            initiator=signer.did,
            nonce=make_bytes(NONCE_BYTES),
            issued_ms=to_ms(unix_s()),
            audience=config.audience.encode(),
        )

    def prove(self, challenge: Challenge, record: TrustRecord | None) -> tuple[Proof, Channel]:
        """Return the answer to `challenge`, and the session.

        Args:
            challenge: the message.
            record: what is known about its sender.

        Raises:
            AuthenticationError: if its sender may not answer, it is this side itself, the challenge came too late or is
                a second one, or its signature is not its sender's for this handshake.
        """
        require_trusted(record, roles=self._config.roles, unix_s=self._unix_s())
        refuse_unless(challenge.responder != self._signer.did, Disbelief.ADDRESS)
        late = self._clock.monotonic_s() - self._began_s >= self._config.max_lifetime_s
        refuse_unless(not late and not self._complete, Disbelief.FRESHNESS)
        transcript = Transcript(
            hello=self.hello.encode(), responder=challenge.responder, nonce=challenge.nonce, binding=self._binding
        )
        signed = transcript.signed_as(Purpose.RESPONDER)
        refuse_unless(self._verifier.verify(challenge.responder, signed, challenge.signature), Disbelief.SIGNATURE)
        self._complete = True
        proof = Proof(
            nonce=challenge.nonce,
            ticket=challenge.ticket,
            signature=self._signer.sign(transcript.signed_as(Purpose.INITIATOR)),
            hello=self.hello,
        )
        return proof, Channel(session=transcript.session, peer=challenge.responder, binding=self._binding)
