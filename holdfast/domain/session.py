"""What a conversation counts for, and how much of it is kept.

Responsibility: measure and encode what is to be kept, and the bounds on sessions.
Guarantees: a text that does not fit is refused before anything of it is encoded or copied; what is kept takes less than
    twice the memory that it counts for, whatever characters it is made of.
Not responsible for: where it is kept: see `holdfast.ports.session.SessionStore`; dropping old turns: the store does
    that, within the bounds.
Evidence: adr/0022, measured in benchmarks/bench_sessions.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from holdfast.domain.text_size import utf8_size_bytes
from holdfast.domain.validation import require, require_at_least, require_positive
from holdfast.ports.errors import SessionTooLargeError
from holdfast.ports.inference import Message, Role
from holdfast.ports.session import Session, SessionBounds, SessionHead, SessionMessage, SessionTurn

__all__ = ["LEAST_SESSION_BYTES", "SessionConfig", "measure_turn", "new_session", "new_turn"]

LEAST_SESSION_BYTES: Final = 4096
"""The smallest cap: less would hardly hold the frame of a session and one short turn."""

_REFERENCE_BYTES: Final = 8
_ROUNDING_BYTES: Final = 16  # what allocators round the size of an object up to

_MESSAGE_BYTES: Final = (
    sys.getsizeof(SessionMessage(role=Role.USER, content_utf8=b""))
    + sys.getsizeof(b"")
    + _ROUNDING_BYTES
    + _REFERENCE_BYTES
)
_TURN_BYTES: Final = (
    sys.getsizeof(SessionTurn(messages=(), size_bytes=0))
    + sys.getsizeof(())
    + sys.getsizeof(sys.maxsize)
    + _REFERENCE_BYTES
)
# Its values, its place among the others and the empty sequence of its turns, in the store in memory: 1.2 KB measured,
# without the names that it was given; that of a persona may take the rest.
_SESSION_BYTES: Final = 1536


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig(SessionBounds):
    """How much is kept of conversations, and for how long.

    Bytes are those of the texts as UTF-8, and what each message, turn and session takes besides.

    Args:
        max_bytes: bytes of one session, from 4096; its oldest turns are dropped. Default 10 MB (10⁷), unmeasured.
        max_total_bytes: bytes of all sessions; those used longest ago are dropped. Default 1 GB (10⁹), unmeasured.
        max_sessions: how many there may be, from 1; those used longest ago are dropped. Default 100 000, unmeasured.
        idle_s: seconds after its last use for which a session is kept. Default 1800, the upper end of what OWASP's
            Session Management Cheat Sheet has for applications of low risk.

    Raises:
        ConfigurationError: if a value is out of its range, or one session may be larger than all.
    """

    max_bytes: int = 10_000_000
    max_total_bytes: int = 1_000_000_000
    max_sessions: int = 100_000
    idle_s: float = 1800.0

    def __post_init__(self) -> None:
        require_at_least("sessions.max_bytes", self.max_bytes, LEAST_SESSION_BYTES)
        require_at_least("sessions.max_total_bytes", self.max_total_bytes, LEAST_SESSION_BYTES)
        require_at_least("sessions.max_sessions", self.max_sessions, 1)
        require_positive("sessions.idle_s", self.idle_s)
        require(
            self.max_bytes <= self.max_total_bytes,
            f"one session of {self.max_bytes} bytes does not fit into sessions.max_total_bytes, "
            f"{self.max_total_bytes}; raise one or lower the other",
            path="sessions.max_bytes",
        )


def new_session(
    *, tenant: str, session_id: str, incarnation: str, system: str | None, max_bytes: int, persona: str | None = None
) -> Session:
    """Return a conversation in which nothing has been said.

    Raises:
        SessionTooLargeError: if its system message alone exceeds `max_bytes`; nothing was encoded then.
    """
    fixed_bytes = _SESSION_BYTES + sys.getsizeof(tenant) + sys.getsizeof(session_id)
    if system is not None:
        fixed_bytes += utf8_size_bytes(system, enough_bytes=max_bytes - fixed_bytes)
    _require_fit(session_id, fixed_bytes, max_bytes)
    return Session(
        head=SessionHead(
            tenant=tenant,
            session_id=session_id,
            incarnation=incarnation,
            version=1,
            persona=persona,
            fixed_bytes=fixed_bytes,
        ),
        system=None if system is None else system.encode("utf-8", "surrogatepass"),
        turns=(),
        size_bytes=fixed_bytes,
    )


def measure_turn(messages: Sequence[Message], answer: str, *, head: SessionHead, max_bytes: int) -> int:
    """Return what it would count for if this was said and answered in the session of `head`.

    Raises:
        SessionTooLargeError: if it does not even fit alone.

    Complexity: linear in the texts; what is too large is given up early.
    """
    size_bytes = _TURN_BYTES + (len(messages) + 1) * _MESSAGE_BYTES
    for content in chain((answer,), (message.content for message in messages)):
        size_bytes += utf8_size_bytes(content, enough_bytes=max_bytes - head.fixed_bytes - size_bytes)
        _require_fit(head.session_id, head.fixed_bytes + size_bytes, max_bytes)
    return size_bytes


def new_turn(messages: Sequence[Message], answer: str, *, head: SessionHead, max_bytes: int) -> SessionTurn:
    """Return what was said and answered, ready to be appended to the session of `head`.

    Raises:
        SessionTooLargeError: if it does not even fit alone; nothing was encoded then.
    """
    size_bytes = measure_turn(messages, answer, head=head, max_bytes=max_bytes)
    kept = *messages, Message(role=Role.ASSISTANT, content=answer)
    return SessionTurn(messages=tuple(SessionMessage.of(message) for message in kept), size_bytes=size_bytes)


def _require_fit(session_id: str, size_bytes: int, max_bytes: int) -> None:
    if size_bytes > max_bytes:
        raise SessionTooLargeError(session_id=session_id, size_bytes=size_bytes, max_bytes=max_bytes)
