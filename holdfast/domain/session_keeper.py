"""Keeping conversations, whoever else changes them meanwhile.

Responsibility: create, read, append to and forget sessions, within their bounds; say what became of each.
Guarantees: another tenant's session is as unknown as one that never was; a turn is appended once, to the conversation
    it was said in, or not at all; no session and no sum of sessions exceeds its bound, whoever writes at the same time.
Not responsible for: storage, and which sessions go when room is short: see `holdfast.ports.session`; what is said in a
    conversation.
Why a conflict appends to what is there: adr/0023.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import anyio

from holdfast.domain.door import MAX_TENANT_CHARS
from holdfast.domain.session import SessionConfig, measure_turn, new_session, new_turn
from holdfast.ports.errors import RequestError, SessionConflictError, SessionNotFoundError
from holdfast.ports.events import (
    EventSink,
    SessionConflicted,
    SessionCreated,
    SessionEvicted,
    SessionExpired,
    SessionTrimmed,
)
from holdfast.ports.inference import Message
from holdfast.ports.session import (
    Removal,
    RemovedSession,
    SavedSession,
    Session,
    SessionHead,
    Sessions,
    SessionStore,
)
from holdfast.ports.statistics import SessionStatistics

__all__ = ["SessionKeeper", "require_name"]

_MOST_RETRIES: Final = 3


class SessionKeeper:
    """Keeps conversations in a store. For one event loop; any number of keepers may share a store.

    Args:
        store: where they are kept.
        config: how much is kept, and for how long.
        make_token: returns a new name that nobody can guess, such as `secrets.token_urlsafe`.
        events: told what happens to sessions.

    Example:
        >>> import secrets
        >>> from holdfast.adapters.memory import MemorySessions
        >>> from holdfast.ports.inference import Role
        >>> from holdfast.testing import VirtualClock
        >>> async def main() -> None:
        ...     keeper = SessionKeeper(MemorySessions(clock=VirtualClock()), make_token=secrets.token_urlsafe)
        ...     session_id = await keeper.create(tenant="a", system="Be brief.")
        ...     session = await keeper.open(session_id, tenant="a")
        ...     await keeper.append_turn(session.head, [Message(role=Role.USER, content="Why?")], "Because.")
        ...     for message in (await keeper.open(session_id, tenant="a")).messages:
        ...         print(f"{message.role}: {message.content}")
        >>> anyio.run(main)
        system: Be brief.
        user: Why?
        assistant: Because.
    """

    def __init__(
        self,
        store: SessionStore,
        config: SessionConfig = SessionConfig(),  # noqa: B008 - frozen
        *,
        make_token: Callable[[], str],
        events: EventSink | None = None,
    ) -> None:
        self._store = store
        self._config = config
        self._make_token = make_token
        self._events = events
        self._trimmed_turns = 0
        self._conflicts = 0
        # Those of this process who came too late go one by one, so that they are not too late for each other again.
        self._latecomers = anyio.Lock()

    @property
    def size_bytes(self) -> int:
        """What all sessions count for."""
        return self._store.totals().size_bytes

    async def create(
        self, *, tenant: str, system: str | None = None, persona: str | None = None, session_id: str | None = None
    ) -> str:
        """Begin a conversation and return its name.

        Args:
            tenant: whose it is.
            system: a message that comes before all others and is never trimmed.
            persona: name of the persona that answers in it; None for none.
            session_id: a name of your own, unique among the tenant's; None makes one that nobody can guess.

        Raises:
            RequestError: if a name is not 1 to 256 printable characters.
            SessionConflictError: if there is one of that name.
            SessionTooLargeError: if the system message does not fit.
            SessionStoreError: if the store fails.

        Cancellation: it was created, or not.
        """
        _require_names(tenant, session_id)
        _require_persona(persona)
        session = new_session(
            tenant=tenant,
            session_id=self._make_token() if session_id is None else session_id,
            incarnation=self._make_token(),
            system=system,
            persona=persona,
            max_bytes=self._config.max_bytes,
        )
        removed = await self._store.create(session, bounds=self._config)
        self._tell_removed(removed)
        if self._events is not None:
            self._events.emit(SessionCreated(session_id=session.head.session_id))
        return session.head.session_id

    async def open(self, session_id: str, *, tenant: str) -> Session:
        """Return the conversation as it is now; that counts as a use.

        Raises:
            RequestError: if a name is not 1 to 256 printable characters.
            SessionNotFoundError: if this tenant has none of that name, or no longer.
            SessionStoreError: if the store fails.
        """
        _require_names(tenant, session_id)
        loaded = await self._store.load(tenant, session_id, bounds=self._config)
        self._tell_removed(loaded.removed)
        return loaded.session

    def require_room(self, head: SessionHead, messages: Sequence[Message]) -> None:
        """Raise if a turn that begins like this cannot be appended, whatever the answer is; before anybody is asked.

        Raises:
            SessionTooLargeError: if the messages do not fit even alone.
        """
        measure_turn(messages, "", head=head, max_bytes=self._config.max_bytes)

    async def append_turn(self, head: SessionHead, messages: Sequence[Message], answer: str) -> SessionHead:
        """Append what was said and answered, and drop the oldest turns if there is no room for all.

        If the session was changed since it was read, the turn is appended to what is there.

        Args:
            head: of the session as it was read.
            messages: what was said.
            answer: what was answered.

        Returns:
            The head as it is now, to which the next turn can be appended.

        Raises:
            SessionNotFoundError: if the conversation is gone.
            SessionConflictError: if it was changed by others three more times while this was tried.
            SessionTooLargeError: if the turn does not fit even alone.
            SessionStoreError: if the store fails.

        Cancellation: the turn was appended, or not.

        Complexity: linear in the turn, amortised, if nobody else changes the session.
        """
        turn = new_turn(messages, answer, head=head, max_bytes=self._config.max_bytes)
        return await self._change(
            head, lambda found: self._store.save(found, persona=found.persona, turn=turn, bounds=self._config)
        )

    async def set_persona(self, head: SessionHead, persona: str | None) -> SessionHead:
        """Let a persona answer in this conversation from now on; None lets none.

        Returns:
            The head as it is now.

        Raises:
            RequestError: if the name is not 1 to 256 printable characters.
            SessionNotFoundError: if the conversation is gone.
            SessionConflictError: if it was changed by others three more times while this was tried.
            SessionStoreError: if the store fails.

        Cancellation: it was set, or not.
        """
        _require_persona(persona)
        return await self._change(
            head, lambda found: self._store.save(found, persona=persona, turn=None, bounds=self._config)
        )

    async def delete(self, session_id: str, *, tenant: str) -> None:
        """Forget a conversation.

        Raises:
            RequestError: if a name is not 1 to 256 printable characters.
            SessionNotFoundError: if this tenant has none of that name, or no longer.
            SessionStoreError: if the store fails.

        Cancellation: it was forgotten, or not.
        """
        _require_names(tenant, session_id)
        await self._store.delete(tenant, session_id, bounds=self._config)

    def statistics(self) -> SessionStatistics:
        """Return what is kept, and what became of the rest."""
        totals = self._store.totals()
        return SessionStatistics(
            sessions=totals.sessions,
            size_bytes=totals.size_bytes,
            created=totals.created,
            expired=totals.expired,
            evicted=totals.evicted,
            deleted=totals.deleted,
            trimmed_turns=self._trimmed_turns,
            conflicts=self._conflicts,
        )

    async def _change(self, head: SessionHead, save: Callable[[SessionHead], Awaitable[SavedSession]]) -> SessionHead:
        try:
            return self._tell_saved(await save(head))
        except SessionConflictError as conflict:
            self._tell_conflict(head, conflict)
        async with self._latecomers:
            retries = 1
            while True:
                try:
                    return self._tell_saved(await save(await self._read_again(head)))
                except SessionConflictError as conflict:
                    self._tell_conflict(head, conflict)
                    if retries == _MOST_RETRIES:
                        raise
                retries += 1

    async def _read_again(self, head: SessionHead) -> SessionHead:
        found = (await self.open(head.session_id, tenant=head.tenant)).head
        if found.incarnation != head.incarnation:
            raise SessionNotFoundError(session_id=head.session_id)
        return found

    def _tell_saved(self, saved: SavedSession) -> SessionHead:
        self._trimmed_turns += saved.trimmed_turns
        if self._events is not None and saved.trimmed_turns:
            self._events.emit(
                SessionTrimmed(
                    session_id=saved.head.session_id, messages=saved.trimmed_messages, freed_bytes=saved.trimmed_bytes
                )
            )
        self._tell_removed(saved.removed)
        return saved.head

    def _tell_removed(self, removed: Iterable[RemovedSession]) -> None:
        if self._events is None:
            return
        for session in removed:
            if session.reason is Removal.EXPIRED:
                self._events.emit(SessionExpired(session_id=session.session_id, idle_s=session.idle_s))
            else:
                self._events.emit(SessionEvicted(session_id=session.session_id, freed_bytes=session.size_bytes))

    def _tell_conflict(self, head: SessionHead, conflict: SessionConflictError) -> None:
        self._conflicts += 1
        if self._events is not None:
            self._events.emit(
                SessionConflicted(
                    session_id=head.session_id,
                    expected_version=conflict.expected_version,
                    found_version=conflict.found_version,
                )
            )


def _require_names(tenant: str, session_id: str | None) -> None:
    require_name("tenant", tenant)
    if session_id is not None:
        require_name("session_id", session_id)


def _require_persona(persona: str | None) -> None:
    if persona is not None:
        require_name("persona", persona)


def require_name(field: str, name: str) -> None:
    """Raise if `name` cannot be that of a tenant, a session or a persona.

    Raises:
        RequestError: it is not 1 to 256 printable characters; `field` is told.
    """
    # Printable also keeps out lone surrogates, which not every store can write.
    if not (0 < len(name) <= MAX_TENANT_CHARS and name.isprintable()):
        raise RequestError(f"{field}: must be 1 to {MAX_TENANT_CHARS} printable characters")


_: type[Sessions] = SessionKeeper
