"""Sessions in Redis, for all processes.

Responsibility: `SessionStore` over Redis.
Guarantees: those of the port, as far as the server keeps what it was told: each call is one script. A call that has
    begun is finished before a cancellation is seen, so that no caller has to guess whether a change was made.
Not responsible for: a server that throws keys away to make room, or that is restarted without its data: what it lost is
    not found.
Why all sessions are on one node of a cluster, and why there is no going on without Redis: adr/0045.

Conversations are data. Where limits and breakers go on by themselves while Redis is away, a conversation that cannot be
read would be answered as if nothing had been said, so the request fails with `SessionStoreError` instead. Requests
that go on with no conversation are not concerned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import anyio
import anyio.lowlevel

from holdfast.adapters.redis.session_codec import (
    name_of,
    persona_text,
    read_removed,
    read_session,
    read_totals,
    turn_bytes,
)
from holdfast.adapters.redis.session_scripts import CREATE, DELETE, LOAD, SAVE
from holdfast.adapters.redis.store import RedisStore
from holdfast.ports.errors import SessionConflictError, SessionNotFoundError, SessionStoreError, StoreError
from holdfast.ports.session import (
    MOST_EXPIRED_AT_ONCE,
    LoadedSession,
    RemovedSession,
    SavedSession,
    Session,
    SessionBounds,
    SessionHead,
    SessionStore,
    SessionTotals,
    SessionTurn,
)

__all__ = ["RedisSessions"]

_SPARE_S: Final = 3600.0
_MOST_TTL_MS: Final = 10**15


class RedisSessions:
    """Keeps sessions in Redis.

    Args:
        store: where they are kept.
        timeout_s: seconds that one call may take, waiting for a connection included; default 5, as `SqliteSessions`
            waits for its file.
    """

    def __init__(self, store: RedisStore, *, timeout_s: float = 5.0) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._totals = SessionTotals()

    async def create(self, session: Session, *, bounds: SessionBounds) -> tuple[RemovedSession, ...]:
        """Keep a new session; see `SessionStore.create`."""
        head = session.head
        reply = await self._change(
            CREATE,
            head.tenant,
            head.session_id,
            bounds,
            head.incarnation,
            head.version,
            persona_text(head.persona),
            head.fixed_bytes,
            session.size_bytes,
            int(session.system is not None),
            session.system or b"",
            *map(turn_bytes, session.turns),
        )
        return read_removed(reply)

    async def load(self, tenant: str, session_id: str, *, bounds: SessionBounds) -> LoadedSession:
        """Return the session as it is now; see `SessionStore.load`."""
        reply = await self._change(LOAD, tenant, session_id, bounds)
        removed = read_removed(reply)
        return LoadedSession(session=read_session(reply, tenant, session_id), removed=removed)

    async def save(
        self, head: SessionHead, *, persona: str | None, turn: SessionTurn | None, bounds: SessionBounds
    ) -> SavedSession:
        """Change the session if it is still as `head` says; see `SessionStore.save`."""
        reply = await self._change(
            SAVE,
            head.tenant,
            head.session_id,
            bounds,
            head.incarnation,
            head.version,
            persona_text(persona),
            0 if turn is None else turn.size_bytes,
            *(() if turn is None else (turn_bytes(turn),)),
            expected_version=head.version,
        )
        removed = read_removed(reply)
        trimmed_turns, trimmed_messages, trimmed_bytes = map(int, reply)
        return SavedSession(
            head=replace(head, version=head.version + 1, persona=persona),
            trimmed_turns=trimmed_turns,
            trimmed_messages=trimmed_messages,
            trimmed_bytes=trimmed_bytes,
            removed=removed,
        )

    async def delete(self, tenant: str, session_id: str, *, bounds: SessionBounds) -> None:
        """Forget the session; see `SessionStore.delete`."""
        await self._change(DELETE, tenant, session_id, bounds)

    def totals(self) -> SessionTotals:
        """Return what is kept and what became of the rest, as of the latest change here; others may have changed it."""
        return self._totals

    async def _change(
        self,
        script: str,
        tenant: str,
        session_id: str,
        bounds: SessionBounds,
        *args: str | bytes | int,
        expected_version: int = 0,
    ) -> Iterator[bytes]:
        ttl_ms = min(_MOST_TTL_MS, int((2 * bounds.idle_s + _SPARE_S) * 1000))
        await anyio.lowlevel.checkpoint_if_cancelled()
        reply: list[bytes] = []
        try:
            with anyio.move_on_after(self._timeout_s, shield=True):
                reply = await self._store.run(
                    script,
                    keys=[self._store.key("sessions", "all", part) for part in ("index", "order")],
                    args=[
                        self._store.key("sessions", "all", ""),
                        name_of(tenant, session_id),
                        bounds.max_bytes,
                        bounds.max_total_bytes,
                        bounds.max_sessions,
                        int(bounds.idle_s * 1e6),
                        MOST_EXPIRED_AT_ONCE,
                        ttl_ms,
                        *args,
                    ],
                )
        except StoreError as error:
            message = str(error).removeprefix(f"{error.store}: ")
            raise SessionStoreError(message, path=error.store, session_id=session_id) from error
        if not reply:
            raise SessionStoreError(
                f"no answer within {self._timeout_s:g} s; try again", path=self._store.name, session_id=session_id
            )
        status, *rest = reply
        if status == b"missing":
            raise SessionNotFoundError(session_id=session_id)
        if status == b"conflict":
            raise SessionConflictError(
                session_id=session_id, expected_version=expected_version, found_version=int(rest[0])
            )
        parts = iter(rest)
        self._totals = read_totals(parts)
        return parts


_: type[SessionStore] = RedisSessions
