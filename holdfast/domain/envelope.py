"""A signed message.

Responsibility: the frame ``HFE1``, sender (56), signature (64), payload, and what the payload says.
Guarantees: the signature is of the very bytes that travel, and nothing of them is read before it was believed; there is
    one algorithm and no place to name another. A payload is read strictly: every field is there, once, and of its type.
Not responsible for: whether the message is for us, new, and from somebody who is trusted: see
    `holdfast.domain.envelope_gate`; secrecy: run it inside TLS.
Sources: PASETO and DSSE, on signing bytes in place of canonical forms; RFC 8725 on what a choice of algorithm costs.
"""

from __future__ import annotations

import enum
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeGuard

from holdfast.domain.belief import read_did, refuse_unless
from holdfast.domain.signed_fields import Purpose, signed_fields
from holdfast.domain.strict_json import read_strict_json
from holdfast.ports.authentication import Disbelief
from holdfast.ports.did import Did
from holdfast.ports.errors import AuthenticationError
from holdfast.ports.identity import Signer, Verifier

__all__ = ["ENVELOPE_MARK", "Direction", "Envelope", "SealedEnvelope", "seal"]

ENVELOPE_MARK: Final = b"HFE1"

_FRAME: Final = struct.Struct(">4s56s64s")
_MAX_DEPTH: Final = 16
_MAX_INTEGER: Final = 2**53
"""What every JSON reader knows exactly (RFC 7493 section 2.2)."""
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_SESSION: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_KEYS: Final = frozenset(
    ("to", "session", "direction", "seq", "issued_ms", "expires_ms", "id", "type", "body", "final")
)


class Direction(enum.StrEnum):
    """Which side of a conversation a message is for; none is ever good for the other."""

    TO_RESPONDER = "to_responder"
    TO_INITIATOR = "to_initiator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What a message says; its version is the mark of its frame.

    Args:
        sender: who says it.
        to: to whom.
        session: the session that it belongs to; None for none.
        direction: which side it is for.
        seq: its number in the session and direction, from 0; None outside a session.
        issued_ms: Unix time at which it was signed.
        expires_ms: Unix time from which on it is good no more.
        id: what the sender calls it; an answer has that of its question. Letters, digits, ``-`` and ``_``, up to 64.
        type: what the body is; spelled like an id.
        body: an object of JSON.
        final: whether no more messages follow that have the same id and direction.
    """

    sender: Did
    to: Did
    session: str | None
    direction: Direction
    seq: int | None
    issued_ms: int
    expires_ms: int
    id: str
    type: str
    body: Mapping[str, object]
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedEnvelope:
    """A message of which nothing is believed yet.

    Args:
        sender: who is said to have sent it.
        signature: of the payload.
        payload: what is signed.
    """

    sender: Did
    signature: bytes
    payload: bytes

    @classmethod
    def read(cls, frame: bytes) -> SealedEnvelope:
        """Return the parts of a frame, whose size the caller has bounded.

        Raises:
            AuthenticationError: if it is none.
        """
        refuse_unless(len(frame) > _FRAME.size, Disbelief.SIZE)
        mark, sender, signature = _FRAME.unpack_from(frame)
        refuse_unless(mark == ENVELOPE_MARK, Disbelief.SYNTAX)
        return cls(sender=read_did(sender), signature=signature, payload=frame[_FRAME.size :])

    def open(self, verifier: Verifier) -> Envelope:
        """Return what its sender says.

        Raises:
            AuthenticationError: if the signature is not the sender's, or the payload is no envelope.
        """
        refuse_unless(
            verifier.verify(self.sender, _signed(self.sender, self.payload), self.signature), Disbelief.SIGNATURE
        )
        try:
            return _envelope(self.sender, read_strict_json(self.payload, max_depth=_MAX_DEPTH))
        except ValueError:  # DidError and that of an enum included
            raise AuthenticationError(Disbelief.SYNTAX) from None


def seal(envelope: Envelope, signer: Signer) -> bytes:
    """Return the frame of a message, signed by its sender.

    Raises:
        ValueError: if the body cannot be written as JSON.
    """
    fields = {key: getattr(envelope, key) for key in sorted(_KEYS)}
    payload = json.dumps(fields, allow_nan=False, separators=(",", ":")).encode("ascii")
    sender = envelope.sender.encode("ascii")
    return _FRAME.pack(ENVELOPE_MARK, sender, signer.sign(_signed(envelope.sender, payload))) + payload


def _signed(sender: Did, payload: bytes) -> bytes:
    return signed_fields(Purpose.ENVELOPE, ENVELOPE_MARK, sender.encode("ascii"), payload)


def _envelope(sender: Did, value: object) -> Envelope:
    if not _is_object(value) or value.keys() != _KEYS:
        raise ValueError("is no object with these keys")
    final, body = value["final"], value["body"]
    if final is not True and final is not False:
        raise ValueError("final is neither true nor false")
    if not _is_object(body):
        raise ValueError("the body is no object")
    session, seq = value["session"], value["seq"]
    return Envelope(
        sender=sender,
        to=Did(_text(value["to"])),
        session=None if session is None else _text(session, _SESSION),
        direction=Direction(_text(value["direction"])),
        seq=None if seq is None else _whole(seq),
        issued_ms=_whole(value["issued_ms"]),
        expires_ms=_whole(value["expires_ms"]),
        id=_text(value["id"], _NAME),
        type=_text(value["type"], _NAME),
        body=body,
        final=final,
    )


def _is_object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _text(value: object, pattern: re.Pattern[str] | None = None) -> str:
    if not isinstance(value, str) or (pattern is not None and not pattern.fullmatch(value)):
        raise ValueError("is no text of that form")
    return value


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < _MAX_INTEGER:  # a bool is an int too
        raise ValueError("is no whole number of that range")
    return value
