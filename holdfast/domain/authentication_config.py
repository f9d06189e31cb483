"""The settings of handshakes and envelopes.

Responsibility: who may ask, how long a message is good for, and how much is kept of those who ask.
Guarantees: refused at construction, naming the setting, when a value cannot work or contradicts another.
Not responsible for: what is done with them: see `holdfast.domain.handshake` and `holdfast.domain.envelope_gate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.domain.validation import require, require_at_least, require_positive

__all__ = ["MAX_AUDIENCE_BYTES", "AuthenticationConfig"]

MAX_AUDIENCE_BYTES: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationConfig:
    """Whom to believe, and for how long. Both sides of a conversation should have the same.

    Args:
        audience: the service that is spoken to, such as ``holdfast.example``; up to 255 bytes of UTF-8.
        roles: one of these is needed by whoever begins; default ``asks``.
        max_message_bytes: the largest message taken; default 2 MiB, a request of `max_request_bytes` with every
            character escaped once.
        max_lifetime_s: seconds for which a message or a challenge is good at most; default 30, unmeasured.
        max_skew_s: seconds by which two clocks may differ; default 5, unmeasured. For as long after the start, messages
            outside a session are refused.
        session_s: seconds for which a session lasts; default 3600, unmeasured.
        max_sessions: how many there are at once; the next one is refused. Default 1000, unmeasured.
        max_remembered: how many messages outside sessions are remembered until they expire, so that none is taken
            twice; the next one is refused. Default 10,000, which is 285 a second.

    Raises:
        ConfigurationError: if a value is out of its range, or a session could end before its challenge does.
    """

    audience: str
    roles: tuple[str, ...] = ("asks",)
    max_message_bytes: int = 2 * 1024 * 1024
    max_lifetime_s: float = 30.0
    max_skew_s: float = 5.0
    session_s: float = 3600.0
    max_sessions: int = 1000
    max_remembered: int = 10_000

    def __post_init__(self) -> None:
        require(
            self.audience.isprintable() and 0 < len(self.audience.encode()) <= MAX_AUDIENCE_BYTES,
            f"must be 1 to {MAX_AUDIENCE_BYTES} bytes of printable text, not {self.audience!r}",
            path="identity.audience",
        )
        require(bool(self.roles), "give at least one role, or nobody may ask", path="identity.roles")
        require_at_least("identity.max_message_bytes", self.max_message_bytes, 1024)
        require_positive("identity.max_lifetime_s", self.max_lifetime_s)
        require_at_least("identity.max_skew_s", self.max_skew_s, 0)
        require_positive("identity.session_s", self.session_s)
        # A session is what remembers that its challenge was used.
        require(
            self.session_s >= self.max_lifetime_s,
            f"must be at least identity.max_lifetime_s, {self.max_lifetime_s!r}, not {self.session_s!r}",
            path="identity.session_s",
        )
        require_at_least("identity.max_sessions", self.max_sessions, 1)
        require_at_least("identity.max_remembered", self.max_remembered, 1)
