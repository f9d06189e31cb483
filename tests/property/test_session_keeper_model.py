"""Sessions under any history of turns, conflicts, deletions, restarts and time, in both stores."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.adapters.memory.sessions import MemorySessions
from holdfast.adapters.sqlite.sessions import SqliteSessions
from holdfast.domain.session import SessionConfig, new_session, new_turn
from holdfast.domain.session_keeper import SessionKeeper
from holdfast.ports.errors import SessionConflictError, SessionNotFoundError, SessionTooLargeError
from holdfast.ports.events import Event, SessionConflicted, SessionCreated, SessionEvicted, SessionExpired
from holdfast.ports.inference import Message, Role
from holdfast.ports.session import SessionHead, SessionStore

T = TypeVar("T")
Key = tuple[str, str]

CONFIG = SessionConfig(max_bytes=4096, max_total_bytes=9000, max_sessions=4, idle_s=60.0)
keys = st.tuples(st.sampled_from(["t", "u"]), st.sampled_from(["a", "b", "c"]))
texts = st.sampled_from(["", "x", "\ud800", "\N{GRINNING FACE}" * 200, "y" * 1500, "z" * 2300])


class Clock:
    """Monotonic and wall time that go on together."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return self.now_s + 1e6

    async def sleep(self, delay_s: float) -> None:
        self.now_s += delay_s


class Sink:
    def __init__(self) -> None:
        self.heard: list[Event] = []

    def emit(self, event: Event) -> None:
        self.heard.append(event)

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.heard)


@dataclass
class Expected:
    """What a session must be: its turns with their sizes, all else as last heard of it."""

    head: SessionHead
    used_at_s: float
    turns: list[tuple[str, int]] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return self.head.fixed_bytes + sum(size_bytes for _, size_bytes in self.turns)


class KeeperMachine(RuleBasedStateMachine):
    """The model knows which sessions there are, what is in each, and which was used longest ago."""

    @initialize()
    def begin(self) -> None:
        self.opened = ExitStack()
        self.portal = self.opened.enter_context(start_blocking_portal())
        self.clock = Clock()
        self.sink = Sink()
        self.tokens = 0
        self.expected: dict[Key, Expected] = {}
        self.stale: dict[Key, SessionHead] = {}
        self.created = self.expired = self.evicted = self.deleted = self.trimmed = self.conflicts = 0
        self.start()

    def store(self) -> AbstractAsyncContextManager[SessionStore]:
        return nullcontext(MemorySessions(clock=self.clock))

    def start(self) -> None:
        self.running = self.opened.enter_context(ExitStack())
        store = self.running.enter_context(self.portal.wrap_async_context_manager(self.store()))
        self.keeper = SessionKeeper(store, CONFIG, make_token=self.make_token, events=self.sink)

    def make_token(self) -> str:
        self.tokens += 1
        return f"token-{self.tokens}"

    def teardown(self) -> None:
        if hasattr(self, "opened"):
            self.opened.close()

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        return self.portal.call(work)

    def alive(self, key: Key) -> Expected | None:
        found = self.expected.get(key)
        return found if found is not None and self.clock.now_s - found.used_at_s <= CONFIG.idle_s else None

    def use(self, key: Key, session: Expected) -> None:
        """Make it the one used last, and let those go that must."""
        session.used_at_s = self.clock.now_s
        self.expected.pop(key, None)
        self.expected[key] = session
        for other in list(self.expected):
            if self.alive(other) is None:
                del self.expected[other]
                self.expired += 1
        while (
            len(self.expected) > CONFIG.max_sessions
            or sum(session.size_bytes for session in self.expected.values()) > CONFIG.max_total_bytes
        ):
            del self.expected[next(iter(self.expected))]
            self.evicted += 1

    @rule(seconds=st.sampled_from([0.5, 20.0, 59.5, 60.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @rule(key=keys, system=st.none() | texts)
    def session_is_created(self, key: Key, system: str | None) -> None:
        tenant, session_id = key
        if self.alive(key) is not None:
            with pytest.raises(SessionConflictError):
                self.call(lambda: self.keeper.create(tenant=tenant, session_id=session_id, system=system))
            return
        if self.expected.pop(key, None) is not None:
            self.expired += 1
        self.call(lambda: self.keeper.create(tenant=tenant, session_id=session_id, system=system))
        self.created += 1
        session = new_session(
            tenant=tenant,
            session_id=session_id,
            incarnation=f"token-{self.tokens}",
            system=system,
            max_bytes=CONFIG.max_bytes,
        )
        self.use(key, Expected(head=session.head, used_at_s=self.clock.now_s))

    @rule(key=keys)
    def session_is_opened(self, key: Key) -> None:
        tenant, session_id = key
        expected = self.alive(key)
        if expected is None:
            with pytest.raises(SessionNotFoundError):
                self.call(lambda: self.keeper.open(session_id, tenant=tenant))
            return
        session = self.call(lambda: self.keeper.open(session_id, tenant=tenant))
        self.use(key, expected)
        assert (session.head, session.size_bytes) == (expected.head, expected.size_bytes)
        assert [turn.messages[0].message.content for turn in session.turns] == [text for text, _ in expected.turns]
        self.stale[key] = session.head

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), text=texts)
    def turn_is_appended_to_what_was_read_at_some_time(self, data: st.DataObject, text: str) -> None:
        key = data.draw(st.sampled_from(sorted(self.stale)))
        head, expected = self.stale[key], self.alive(key)
        messages = [Message(role=Role.USER, content=text)]
        try:
            turn = new_turn(messages, "ok", head=head, max_bytes=CONFIG.max_bytes)
        except SessionTooLargeError:
            with pytest.raises(SessionTooLargeError):
                self.call(lambda: self.keeper.append_turn(head, messages, "ok"))
            return
        if expected is None or expected.head.incarnation != head.incarnation:
            with pytest.raises(SessionNotFoundError):
                self.call(lambda: self.keeper.append_turn(head, messages, "ok"))
            return
        self.conflicts += expected.head.version != head.version
        saved = self.call(lambda: self.keeper.append_turn(head, messages, "ok"))
        expected.turns.append((text, turn.size_bytes))
        while expected.size_bytes > CONFIG.max_bytes:
            del expected.turns[0]
            self.trimmed += 1
        assert (saved.version, saved.persona) == (expected.head.version + 1, expected.head.persona)
        expected.head = saved
        self.use(key, expected)

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), persona=st.sampled_from([None, "p", "q"]))
    def persona_is_set(self, data: st.DataObject, persona: str | None) -> None:
        key = data.draw(st.sampled_from(sorted(self.stale)))
        head, expected = self.stale[key], self.alive(key)
        if expected is None or expected.head.incarnation != head.incarnation:
            with pytest.raises(SessionNotFoundError):
                self.call(lambda: self.keeper.set_persona(head, persona))
            return
        self.conflicts += expected.head.version != head.version
        expected.head = self.call(lambda: self.keeper.set_persona(head, persona))
        assert expected.head.persona == persona
        self.use(key, expected)

    @rule(key=keys)
    def session_is_deleted(self, key: Key) -> None:
        tenant, session_id = key
        if self.alive(key) is None:
            with pytest.raises(SessionNotFoundError):
                self.call(lambda: self.keeper.delete(session_id, tenant=tenant))
            return
        self.call(lambda: self.keeper.delete(session_id, tenant=tenant))
        del self.expected[key]
        self.deleted += 1

    @invariant()
    def counts_are_those_of_the_model(self) -> None:
        if not hasattr(self, "keeper"):
            return
        found = self.keeper.statistics()
        assert found.created == found.sessions + found.expired + found.evicted + found.deleted
        assert (found.sessions, found.size_bytes) == (
            len(self.expected),
            sum(session.size_bytes for session in self.expected.values()),
        )
        assert (found.created, found.expired, found.evicted, found.deleted) == (
            self.created,
            self.expired,
            self.evicted,
            self.deleted,
        )
        assert found.size_bytes == self.keeper.size_bytes <= CONFIG.max_total_bytes
        assert all(session.size_bytes <= CONFIG.max_bytes for session in self.expected.values())

    @invariant()
    def every_decision_was_told_once(self) -> None:
        if not hasattr(self, "keeper"):
            return
        kinds = SessionCreated, SessionExpired, SessionEvicted, SessionConflicted
        assert [self.sink.count(kind) for kind in kinds] == [self.created, self.expired, self.evicted, self.conflicts]


class SqliteKeeperMachine(KeeperMachine):
    """The same, and the process may begin anew at any moment."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        super().begin()

    def store(self) -> AbstractAsyncContextManager[SessionStore]:
        path = Path(self.folder.name) / "sessions.sqlite"
        return SqliteSessions(path, clock=self.clock, wall_s=self.clock.wall_s)

    @rule(seconds=st.sampled_from([0.0, 30.0]))
    def process_begins_anew(self, seconds: float) -> None:
        self.running.close()
        self.clock.now_s += seconds
        self.start()

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestMemory = KeeperMachine.TestCase
TestMemory.settings = settings(max_examples=40, stateful_step_count=40)
TestSqlite = SqliteKeeperMachine.TestCase
TestSqlite.settings = settings(max_examples=15, stateful_step_count=30)
