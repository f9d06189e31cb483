"""What both sides of a handshake sign.

Responsibility: one value that says everything that was agreed on, and the name of the session that follows from it.
Guarantees: it covers the version, both DIDs, both nonces, the audience, the time and the channel; whoever changes any
    of these on the way leaves two sides with two different transcripts, and so with no signature that both believe.
Not responsible for: which of it is acceptable: see `holdfast.domain.handshake`.
Sources: the transcript hash of RFC 8446 section 4.4.1; SIGMA (Krawczyk 2003) on signing the peer's name; RFC 5056 on
    channel binding.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from holdfast.domain.signed_fields import Purpose, signed_fields
from holdfast.ports.did import Did

__all__ = ["Transcript"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A handshake, as one side saw it.

    Args:
        hello: the first message, as it travelled: version, initiator, nonce, time and audience.
        responder: who answered it.
        nonce: the responder's.
        binding: what names the channel below, such as a ``tls-exporter`` value; never sent, but seen by each side for
            itself. Empty for none.
    """

    hello: bytes
    responder: Did
    nonce: bytes
    binding: bytes

    def signed_as(self, purpose: Purpose) -> bytes:
        """Return what is signed by the initiator or by the responder; the one never passes for the other."""
        return signed_fields(purpose, self.hello, self.responder.encode("ascii"), self.nonce, self.binding)

    @property
    def session(self) -> str:
        """The name of the session: the SHA-256 of the transcript, in hexadecimal digits."""
        return hashlib.sha256(self.signed_as(Purpose.RESPONDER)).hexdigest()
