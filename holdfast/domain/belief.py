"""When a message is believed, as far as handshakes and envelopes agree on it.

Responsibility: trust and freshness, and the one way to refuse.
Guarantees: every refusal is an `AuthenticationError`, whose text does not tell why.
Not responsible for: the order of the checks: see `holdfast.domain.handshake` and `holdfast.domain.envelope_gate`.
"""

from __future__ import annotations

from collections.abc import Collection

from holdfast.domain.authentication_config import AuthenticationConfig
from holdfast.ports.authentication import Disbelief
from holdfast.ports.did import Did
from holdfast.ports.errors import AuthenticationError, DidError
from holdfast.ports.identity import TrustRecord

__all__ = ["read_did", "refuse_unless", "require_fresh", "require_trusted", "to_ms"]


def refuse_unless(condition: bool, reason: Disbelief) -> None:  # noqa: FBT001 - reads as a sentence, like assert
    """Raise unless `condition` holds.

    Raises:
        AuthenticationError: with `reason`.
    """
    if not condition:
        raise AuthenticationError(reason)


def read_did(text: bytes) -> Did:
    """Return the DID that came with a message.

    Raises:
        AuthenticationError: if it is none.
    """
    try:
        return Did(text.decode("ascii"))
    except (UnicodeDecodeError, DidError):
        raise AuthenticationError(Disbelief.IDENTITY) from None


def require_trusted(record: TrustRecord | None, *, roles: Collection[str], unix_s: float) -> None:
    """Raise unless somebody is known, trusted now, and has one of the roles.

    Raises:
        AuthenticationError: if not; the same for each of these.
    """
    refuse_unless(
        record is not None and record.is_trusted_at(unix_s) and not record.roles.isdisjoint(roles), Disbelief.TRUST
    )


def require_fresh(config: AuthenticationConfig, *, issued_ms: int, expires_ms: int, unix_s: float) -> None:
    """Raise unless a message is from about now and has not expired.

    Raises:
        AuthenticationError: if it is older or newer than the clocks may differ, or claims to be good for too long.
    """
    now_ms, skew_ms = to_ms(unix_s), to_ms(config.max_skew_s)
    refuse_unless(
        issued_ms < expires_ms <= issued_ms + to_ms(config.max_lifetime_s)
        and issued_ms - skew_ms <= now_ms < expires_ms + skew_ms,
        Disbelief.FRESHNESS,
    )


def to_ms(seconds: float) -> int:
    """Return whole milliseconds, in which messages tell time."""
    return int(seconds * 1000)
