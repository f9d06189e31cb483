"""Conversations that are kept between requests.

Responsibility: a conversation as it is kept, the bounds on all of them, and where they are kept.
Guarantees: every value is frozen; texts are kept as UTF-8, because one emoji makes CPython store a whole `str` in four
    bytes for each character.
Not responsible for: measuring texts, deciding what to append, and conflicts: see `holdfast.domain.session` and
    `holdfast.domain.session_keeper`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, Protocol, Self

from holdfast.ports.inference import Message, Role

__all__ = [
    "MOST_EXPIRED_AT_ONCE",
    "LoadedSession",
    "Removal",
    "RemovedSession",
    "SavedSession",
    "Session",
    "SessionBounds",
    "SessionHead",
    "SessionMessage",
    "SessionStore",
    "SessionTotals",
    "SessionTurn",
    "Sessions",
]

MOST_EXPIRED_AT_ONCE: Final = 16
"""Expired sessions that one call removes beside its own work, so that none pays for a whole night's; unmeasured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionMessage:
    """A message as it is kept.

    Args:
        role: who speaks.
        content_utf8: the text; a lone surrogate is kept as the three bytes that UTF-8 would give it.
    """

    role: Role
    content_utf8: bytes

    @classmethod
    def of(cls, message: Message) -> Self:
        """Return `message` as it is kept."""
        return cls(role=message.role, content_utf8=message.content.encode("utf-8", "surrogatepass"))

    @property
    def message(self) -> Message:
        """The message as it is used, made anew each time."""
        return Message(role=self.role, content=self.content_utf8.decode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTurn:
    """What one request said, and the answer: kept as a whole and dropped as a whole.

    Args:
        messages: in order, at least one.
        size_bytes: what the turn counts for, measured once.
    """

    messages: tuple[SessionMessage, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionHead:
    """Which conversation, and as of which change.

    Args:
        tenant: whose it is.
        session_id: its name, unique among the tenant's.
        incarnation: drawn when it was created, so that one that is deleted and created again under the same name is
            not taken for the old one.
        version: 1 when created; grows by one with every change.
        persona: name of the persona that answers in it; None for none.
        fixed_bytes: what it counts for without any turn; trimming never frees them.
    """

    tenant: str
    session_id: str
    incarnation: str
    version: int
    persona: str | None
    fixed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A conversation as of one change.

    Args:
        head: which one, and as of which change.
        system: the system message that it was created with, as UTF-8; it is never trimmed.
        turns: oldest first.
        size_bytes: what it counts for.
    """

    head: SessionHead
    system: bytes | None
    turns: tuple[SessionTurn, ...]
    size_bytes: int

    @property
    def messages(self) -> tuple[Message, ...]:
        """The system message, if there is one, and every turn's; made anew each time.

        Complexity: linear in the texts.
        """
        system = () if self.system is None else (SessionMessage(role=Role.SYSTEM, content_utf8=self.system),)
        return tuple(kept.message for part in (system, *(turn.messages for turn in self.turns)) for kept in part)


class Removal(enum.Enum):
    """Why a session had to go that nobody deleted."""

    EXPIRED = "expired"
    """It was idle for too long."""
    EVICTED = "evicted"
    """It was used longest ago, and there was no room for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedSession:
    """A session that had to go.

    Args:
        session_id: its name.
        reason: why.
        idle_s: seconds since it was used.
        size_bytes: what it counted for.
    """

    session_id: str
    reason: Removal
    idle_s: float
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionBounds:
    """How much is kept, and which session has to go.

    Args:
        max_bytes: bytes of one session.
        max_total_bytes: bytes of all sessions.
        max_sessions: how many there may be.
        idle_s: seconds after its last use for which a session is kept.
    """

    max_bytes: int
    max_total_bytes: int
    max_sessions: int
    idle_s: float

    def has_expired(self, idle_s: float) -> bool:
        """Return whether a session that was idle for so long is gone, removed or not."""
        return idle_s > self.idle_s

    def removal(self, *, idle_s: float, sessions: int, size_bytes: int, removed: int) -> Removal | None:
        """Return why the session that was used longest ago has to go now; None if it may stay.

        Expired sessions are those used longest ago, so this one order serves both rules.

        Args:
            idle_s: seconds since it was used.
            sessions: how many there are, this one included.
            size_bytes: what all of them count for.
            removed: how many the same call has removed.
        """
        expired = self.has_expired(idle_s)
        if sessions > self.max_sessions or (sessions > 1 and size_bytes > self.max_total_bytes):
            return Removal.EXPIRED if expired else Removal.EVICTED
        return Removal.EXPIRED if expired and removed < MOST_EXPIRED_AT_ONCE else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSession:
    """A session, and which others had to go when it was read."""

    session: Session
    removed: tuple[RemovedSession, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSession:
    """What a change left.

    Args:
        head: of the session as it is now.
        trimmed_turns: how many of its oldest turns were dropped.
        trimmed_messages: how many messages those held.
        trimmed_bytes: what they counted for.
        removed: which other sessions had to go.
    """

    head: SessionHead
    trimmed_turns: int
    trimmed_messages: int
    trimmed_bytes: int
    removed: tuple[RemovedSession, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTotals:
    """`created = sessions + expired + evicted + deleted`, over the life of the store and all its users."""

    sessions: int = 0
    size_bytes: int = 0
    created: int = 0
    expired: int = 0
    evicted: int = 0
    deleted: int = 0


class SessionStore(Protocol):
    """Keeps sessions.

    Scope: a session is found under its tenant and its name only. Atomicity: each call is one change, or none if it
    raises. Use: `create`, `load` and `save` count as a use; time goes on as the machine's does, also between processes,
    and a wall clock that is set back neither ends a life early nor makes it endless. Room: each of them then removes
    sessions, from the one used longest ago on, as long as `SessionBounds.removal` names a reason; one that has expired
    is not found, whether it was removed yet or not. Durability: what is created, saved or deleted stays so when the
    call returns, as far as the store outlives its process at all. Cancellation: a call either did nothing yet or
    completes and returns. Errors: `SessionNotFoundError`, `SessionConflictError` and `SessionStoreError`.
    """

    async def create(self, session: Session, *, bounds: SessionBounds) -> tuple[RemovedSession, ...]:
        """Keep a new session, and return which others had to go.

        Raises:
            SessionConflictError: if there is one of that tenant and name; 0 is the version that was expected.
        """
        ...

    async def load(self, tenant: str, session_id: str, *, bounds: SessionBounds) -> LoadedSession:
        """Return the session as it is now.

        Raises:
            SessionNotFoundError: if there is none.
        """
        ...

    async def save(
        self, head: SessionHead, *, persona: str | None, turn: SessionTurn | None, bounds: SessionBounds
    ) -> SavedSession:
        """Change the session if it is still as `head` says.

        Its oldest turns are dropped, as few as it takes, until it fits into ``bounds.max_bytes``; the new one stays.

        Args:
            head: what was read.
            persona: who answers in it from now on.
            turn: appended; None appends nothing. It fits beside ``head.fixed_bytes``.
            bounds: how much is kept.

        Raises:
            SessionNotFoundError: if it is gone, or another incarnation has taken its name.
            SessionConflictError: if it has another version.
        """
        ...

    async def delete(self, tenant: str, session_id: str, *, bounds: SessionBounds) -> None:
        """Forget the session.

        Raises:
            SessionNotFoundError: if there is none.
        """
        ...

    def totals(self) -> SessionTotals:
        """Return what is kept and what became of the rest, as of the latest call of this process."""
        ...


class Sessions(Protocol):
    """The conversations of a service, for those who drive it.

    Ordering, duplication and cancellation: each call happens once or not at all. Errors: `RequestError` for a name that
    is not 1 to 256 printable characters, or a persona that is not there, `SessionError`, and on creating one
    `RefusedError`.
    """

    async def create(
        self, *, tenant: str, system: str | None = None, persona: str | None = None, session_id: str | None = None
    ) -> str:
        """Begin a conversation and return its name, which requests go on with it by.

        Args:
            tenant: whose it is; to all others it is unknown.
            system: a message that comes before all others and is never trimmed.
            persona: who answers in it; None leaves that to each request.
            session_id: a name of your own, unique among the tenant's; None makes one that nobody can guess.

        Raises:
            RequestError: a name is not 1 to 256 printable characters, or there is no such persona.
            ClosedError: the service is draining.
            RateLimitedError: the tenant has begun and asked too much; `retry_after_s` says when to come back.
            SessionConflictError: there is one of that name.
            SessionTooLargeError: the system message does not fit.
            SessionStoreError: the store fails.
        """
        ...

    async def open(self, session_id: str, *, tenant: str) -> Session:
        """Return the conversation as it is now; that counts as a use."""
        ...

    async def delete(self, session_id: str, *, tenant: str) -> None:
        """Forget the conversation."""
        ...
