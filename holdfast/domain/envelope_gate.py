"""Which messages are taken.

Responsibility: for a message whose signature was believed: whether it is for us, fresh, and new.
Guarantees: each message is taken once; one that is refused has changed nothing. In a session each side takes the next
    message only; outside of one, see `holdfast.domain.replay`.
Not responsible for: trust, which may have to wait, and the signature: the caller has asked for both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from holdfast.domain.authentication_config import AuthenticationConfig
from holdfast.domain.belief import refuse_unless, require_fresh, to_ms
from holdfast.domain.channel import Channel, ChannelTable
from holdfast.domain.envelope import Direction, Envelope
from holdfast.domain.replay import ReplayCache
from holdfast.ports.authentication import Disbelief
from holdfast.ports.clock import Clock
from holdfast.ports.did import Did

__all__ = ["EnvelopeGate", "require_ours"]


def require_ours(
    envelope: Envelope, config: AuthenticationConfig, *, me: Did, direction: Direction, unix_s: float
) -> None:
    """Raise unless a message is for `me`, for this side, and fresh.

    Raises:
        AuthenticationError: if not.
    """
    refuse_unless(envelope.to == me and envelope.sender != me and envelope.direction is direction, Disbelief.ADDRESS)
    require_fresh(config, issued_ms=envelope.issued_ms, expires_ms=envelope.expires_ms, unix_s=unix_s)


class EnvelopeGate:
    """Takes what comes to a responder.

    Args:
        config: how long messages are good, and how many are remembered.
        me: who the responder is.
        channels: its sessions.
        clock: monotonic time.
        unix_s: the wall clock.
    """

    def __init__(
        self,
        config: AuthenticationConfig,
        *,
        me: Did,
        channels: ChannelTable,
        clock: Clock,
        unix_s: Callable[[], float],
    ) -> None:
        self._config = config
        self._me = me
        self._channels = channels
        self._clock = clock
        self._unix_s = unix_s
        skew_ms = to_ms(config.max_skew_s)
        self._taken = ReplayCache(
            max_entries=config.max_remembered,
            lifetime_ms=to_ms(config.max_lifetime_s) + skew_ms,
            skew_ms=skew_ms,
            opened_ms=to_ms(unix_s()),
        )

    @property
    def remembered(self) -> int:
        """How many messages outside sessions are remembered."""
        return len(self._taken)

    def take(self, envelope: Envelope, *, binding: bytes) -> Channel | None:
        """Take a message, and return its session; None for one outside.

        Args:
            envelope: the message.
            binding: the channel below, on which it came.

        Raises:
            AuthenticationError: if it is not for this side, not fresh, not in order, or not certainly new.
        """
        unix_s = self._unix_s()
        require_ours(envelope, self._config, me=self._me, direction=Direction.TO_RESPONDER, unix_s=unix_s)
        if envelope.session is None:
            self._take_once(envelope, to_ms(unix_s))
            return None
        channel = self._channels.find(envelope.session, now_s=self._clock.monotonic_s())
        refuse_unless(envelope.sender == channel.peer and binding == channel.binding, Disbelief.ADDRESS)
        channel.receive(envelope.seq)
        return channel

    def _take_once(self, envelope: Envelope, now_ms: int) -> None:
        refuse_unless(envelope.seq is None, Disbelief.SYNTAX)
        key = hashlib.sha256(f"{envelope.sender} {envelope.id}".encode("ascii")).digest()
        is_new = self._taken.is_new(key, issued_ms=envelope.issued_ms, now_ms=now_ms)
        refuse_unless(is_new, Disbelief.FRESHNESS)
        refuse_unless(not self._taken.is_full, Disbelief.CAPACITY)
        self._taken.remember(key, issued_ms=envelope.issued_ms)
