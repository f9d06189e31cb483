"""Sessions in this process's memory.

Responsibility: `SessionStore` without a disk, for tests and where no conversation needs to outlive the process.
Guarantees: those of the port, as long as the process lives; appending and trimming a turn copy no other turn.
Not responsible for: what a session counts for: whoever saves it says that.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import replace

from holdfast.ports.clock import Clock
from holdfast.ports.errors import SessionConflictError, SessionNotFoundError
from holdfast.ports.session import (
    LoadedSession,
    Removal,
    RemovedSession,
    SavedSession,
    Session,
    SessionBounds,
    SessionHead,
    SessionStore,
    SessionTotals,
    SessionTurn,
)

__all__ = ["MemorySessions"]


class _Kept:
    """A session with its turns where they can be appended and dropped one by one."""

    __slots__ = ("head", "size_bytes", "system", "turns", "used_at_s")

    def __init__(self, session: Session, used_at_s: float) -> None:
        self.head = session.head
        self.system = session.system
        self.turns = deque(session.turns)
        self.size_bytes = session.size_bytes
        self.used_at_s = used_at_s

    def session(self) -> Session:
        return Session(head=self.head, system=self.system, turns=tuple(self.turns), size_bytes=self.size_bytes)


class MemorySessions:
    """Keeps sessions until the process ends. For one event loop; no call waits.

    Args:
        clock: says how long a session has been idle.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()  # the one used longest ago first
        self._size_bytes = 0
        self._created = 0
        self._deleted = 0
        self._removed = dict.fromkeys(Removal, 0)

    async def create(self, session: Session, *, bounds: SessionBounds) -> tuple[RemovedSession, ...]:
        """Keep a new session; see `SessionStore.create`."""
        head = session.head
        name = head.tenant, head.session_id
        removed: list[RemovedSession] = []
        if (old := self._kept.get(name)) is not None:
            if not bounds.has_expired(self._idle_s(old)):
                raise SessionConflictError(
                    session_id=head.session_id, expected_version=0, found_version=old.head.version
                )
            removed.append(self._remove(old, Removal.EXPIRED))
        self._kept[name] = _Kept(session, self._clock.monotonic_s())
        self._size_bytes += session.size_bytes
        self._created += 1
        return self._make_room(bounds, removed)

    async def load(self, tenant: str, session_id: str, *, bounds: SessionBounds) -> LoadedSession:
        """Return the session as it is now."""
        kept = self._use(tenant, session_id, bounds)
        return LoadedSession(session=kept.session(), removed=self._make_room(bounds))

    async def save(
        self, head: SessionHead, *, persona: str | None, turn: SessionTurn | None, bounds: SessionBounds
    ) -> SavedSession:
        """Change the session if it is still as `head` says."""
        found = self._find(head.tenant, head.session_id, bounds).head
        if found.incarnation != head.incarnation:
            raise SessionNotFoundError(session_id=head.session_id)
        if found.version != head.version:
            raise SessionConflictError(
                session_id=head.session_id, expected_version=head.version, found_version=found.version
            )
        kept = self._use(head.tenant, head.session_id, bounds)
        kept.head = replace(found, version=found.version + 1, persona=persona)
        before_bytes = kept.size_bytes
        kept.size_bytes += 0 if turn is None else turn.size_bytes
        dropped: list[SessionTurn] = []
        while kept.size_bytes > bounds.max_bytes and kept.turns:
            dropped.append(kept.turns.popleft())
            kept.size_bytes -= dropped[-1].size_bytes
        if turn is not None:
            kept.turns.append(turn)
        self._size_bytes += kept.size_bytes - before_bytes
        return SavedSession(
            head=kept.head,
            trimmed_turns=len(dropped),
            trimmed_messages=sum(len(oldest.messages) for oldest in dropped),
            trimmed_bytes=sum(oldest.size_bytes for oldest in dropped),
            removed=self._make_room(bounds),
        )

    async def delete(self, tenant: str, session_id: str, *, bounds: SessionBounds) -> None:
        """Forget the session."""
        self._forget(self._find(tenant, session_id, bounds))
        self._deleted += 1

    def lose(self) -> None:
        """Forget everything, as a server does that is restarted empty; it counts as deleted."""
        self._deleted += len(self._kept)
        self._size_bytes = 0
        self._kept.clear()

    def totals(self) -> SessionTotals:
        """Return what is kept and what became of the rest."""
        return SessionTotals(
            sessions=len(self._kept),
            size_bytes=self._size_bytes,
            created=self._created,
            expired=self._removed[Removal.EXPIRED],
            evicted=self._removed[Removal.EVICTED],
            deleted=self._deleted,
        )

    def _idle_s(self, kept: _Kept) -> float:
        return self._clock.monotonic_s() - kept.used_at_s

    def _find(self, tenant: str, session_id: str, bounds: SessionBounds) -> _Kept:
        kept = self._kept.get((tenant, session_id))
        if kept is None or bounds.has_expired(self._idle_s(kept)):
            raise SessionNotFoundError(session_id=session_id)
        return kept

    def _use(self, tenant: str, session_id: str, bounds: SessionBounds) -> _Kept:
        kept = self._find(tenant, session_id, bounds)
        kept.used_at_s = self._clock.monotonic_s()
        self._kept.move_to_end((tenant, session_id))
        return kept

    def _make_room(self, bounds: SessionBounds, removed: Iterable[RemovedSession] = ()) -> tuple[RemovedSession, ...]:
        gone = list(removed)
        while True:  # the one in use is always there, and may stay
            oldest = next(iter(self._kept.values()))
            reason = bounds.removal(
                idle_s=self._idle_s(oldest),
                sessions=len(self._kept),
                size_bytes=self._size_bytes,
                removed=len(gone),
            )
            if reason is None:
                return tuple(gone)
            gone.append(self._remove(oldest, reason))

    def _remove(self, kept: _Kept, reason: Removal) -> RemovedSession:
        self._forget(kept)
        self._removed[reason] += 1
        return RemovedSession(
            session_id=kept.head.session_id,
            reason=reason,
            idle_s=self._idle_s(kept),
            size_bytes=kept.size_bytes,
        )

    def _forget(self, kept: _Kept) -> None:
        del self._kept[kept.head.tenant, kept.head.session_id]
        self._size_bytes -= kept.size_bytes


_: type[SessionStore] = MemorySessions
