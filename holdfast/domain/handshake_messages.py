"""The three messages of a handshake, as they travel.

Responsibility: write and read them.
Guarantees: every field stands at a fixed place and the only one of variable length comes last, so that each message is
    written in one way and read in one way, and no length has to be believed. There is no choice of algorithm in them.
Not responsible for: whether what they say is true: see `holdfast.domain.handshake`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from holdfast.domain.authentication_config import MAX_AUDIENCE_BYTES
from holdfast.domain.belief import read_did, refuse_unless
from holdfast.ports.authentication import Disbelief
from holdfast.ports.did import Did

__all__ = ["NONCE_BYTES", "Challenge", "Hello", "Proof"]

NONCE_BYTES: Final = 32

_HELLO: Final = struct.Struct(">4s56s32sQ")
_CHALLENGE: Final = struct.Struct(">4s56s32s32s64s")
_PROOF: Final = struct.Struct(">4s32s32s64s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """I want to speak to that service.

    Args:
        initiator: who begins.
        nonce: theirs, for this one handshake.
        issued_ms: Unix time.
        audience: the service that is meant, as UTF-8.
    """

    MARK: ClassVar[bytes] = b"HFH1"

    initiator: Did
    nonce: bytes
    issued_ms: int
    audience: bytes

    @classmethod
    def read(cls, message: bytes) -> Self:
        """Return the hello with these bytes.

        Raises:
            AuthenticationError: if they are none.
        """
        refuse_unless(_HELLO.size < len(message) <= _HELLO.size + MAX_AUDIENCE_BYTES, Disbelief.SIZE)
        mark, initiator, nonce, issued_ms = _HELLO.unpack_from(message)
        refuse_unless(mark == cls.MARK, Disbelief.SYNTAX)
        return cls(initiator=read_did(initiator), nonce=nonce, issued_ms=issued_ms, audience=message[_HELLO.size :])

    def encode(self) -> bytes:
        """Return the message."""
        return _HELLO.pack(self.MARK, self.initiator.encode("ascii"), self.nonce, self.issued_ms) + self.audience


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """I am that service; now prove who you are.

    Args:
        responder: who answers.
        nonce: theirs, for this one handshake.
        ticket: by which the responder recognises its own challenge; it keeps none.
        signature: the responder's, of the transcript.
    """

    MARK: ClassVar[bytes] = b"HFC1"

    responder: Did
    nonce: bytes
    ticket: bytes
    signature: bytes

    @classmethod
    def read(cls, message: bytes) -> Self:
        """Return the challenge with these bytes.

        Raises:
            AuthenticationError: if they are none.
        """
        refuse_unless(len(message) == _CHALLENGE.size, Disbelief.SIZE)
        mark, responder, nonce, ticket, signature = _CHALLENGE.unpack(message)
        refuse_unless(mark == cls.MARK, Disbelief.SYNTAX)
        return cls(responder=read_did(responder), nonce=nonce, ticket=ticket, signature=signature)

    def encode(self) -> bytes:
        """Return the message."""
        return _CHALLENGE.pack(self.MARK, self.responder.encode("ascii"), self.nonce, self.ticket, self.signature)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """This is who I am.

    Args:
        nonce: of the challenge.
        ticket: of the challenge.
        signature: the initiator's, of the transcript.
        hello: what the challenge answered.
    """

    MARK: ClassVar[bytes] = b"HFP1"

    nonce: bytes
    ticket: bytes
    signature: bytes
    hello: Hello

    @classmethod
    def read(cls, message: bytes) -> Self:
        """Return the proof with these bytes.

        Raises:
            AuthenticationError: if they are none.
        """
        refuse_unless(len(message) > _PROOF.size, Disbelief.SIZE)
        mark, nonce, ticket, signature = _PROOF.unpack_from(message)
        refuse_unless(mark == cls.MARK, Disbelief.SYNTAX)
        return cls(nonce=nonce, ticket=ticket, signature=signature, hello=Hello.read(message[_PROOF.size :]))

    def encode(self) -> bytes:
        """Return the message."""
        return _PROOF.pack(self.MARK, self.nonce, self.ticket, self.signature) + self.hello.encode()
