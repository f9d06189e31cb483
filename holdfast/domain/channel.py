"""Sessions between two identities, once each has proved itself.

Responsibility: the order of the messages in a session, and how many sessions there are.
Guarantees: in each direction the messages are taken in the order in which they were sent, each once and none left out;
    the sessions are bounded by count and by time, and the time is monotonic; a name is never used twice while a
    challenge for it could be good.
Not responsible for: proving: see `holdfast.domain.handshake`; conversations, which are `holdfast.domain.session`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.domain.belief import refuse_unless
from holdfast.ports.authentication import Disbelief
from holdfast.ports.did import Did
from holdfast.ports.errors import AuthenticationError

__all__ = ["Channel", "ChannelTable"]


@dataclass(eq=False, slots=True, kw_only=True)
class Channel:
    """One side of a session.

    Args:
        session: its name.
        peer: who is at the other side.
        binding: the channel below on which it was begun, as in `holdfast.domain.transcript.Transcript`.
        received: how many messages came.
        sent: how many went.
    """

    session: str
    peer: Did
    binding: bytes
    received: int = 0
    sent: int = 0

    def receive(self, seq: int | None) -> None:
        """Note that a message came.

        Raises:
            AuthenticationError: if it is not the next one.
        """
        refuse_unless(seq == self.received, Disbelief.FRESHNESS)
        self.received += 1

    def send(self) -> int:
        """Return the number of the next message that goes."""
        seq, self.sent = self.sent, self.sent + 1
        return seq


class ChannelTable:
    """The sessions of one responder.

    Args:
        max_sessions: how many there are at once; when there are as many the next one is refused.
        session_s: seconds for which each one lasts.
    """

    __slots__ = ("_channels", "_max_sessions", "_session_s")

    def __init__(self, *, max_sessions: int, session_s: float) -> None:
        self._max_sessions = max_sessions
        self._session_s = session_s
        # All last equally long, so the first is the next to end.
        self._channels: dict[str, tuple[Channel, float]] = {}

    def live(self, now_s: float) -> int:
        """Return how many sessions there are."""
        self._drop_ended(now_s)
        return len(self._channels)

    def begin(self, channel: Channel, *, now_s: float) -> None:
        """Keep a session, which `require_room` has let in."""
        self._channels[channel.session] = channel, now_s + self._session_s

    def require_room(self, session: str, *, now_s: float) -> None:
        """Raise unless a session of that name can begin.

        Raises:
            AuthenticationError: if there is one of that name, or there are too many.
        """
        self._drop_ended(now_s)
        refuse_unless(session not in self._channels, Disbelief.FRESHNESS)
        refuse_unless(len(self._channels) < self._max_sessions, Disbelief.CAPACITY)

    def find(self, session: str, *, now_s: float) -> Channel:
        """Return the session of that name.

        Raises:
            AuthenticationError: if there is none, or no longer.
        """
        self._drop_ended(now_s)
        found = self._channels.get(session)
        if found is None:
            raise AuthenticationError(Disbelief.ADDRESS)
        return found[0]

    def _drop_ended(self, now_s: float) -> None:
        while self._channels and next(iter(self._channels.values()))[1] <= now_s:
            del self._channels[next(iter(self._channels))]
