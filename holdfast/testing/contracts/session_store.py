"""What every store of sessions must hold.

Responsibility: the contract of `holdfast.ports.session.SessionStore`, as a pytest class to derive from.
Guarantees: a store that passes keeps sessions whole and apart, loses no change to another one, forgets the right
    sessions for the right reason, and counts all of it.
Not responsible for: other processes, restarts, full disks and steps of the wall clock: they need the real thing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import anyio
import pytest

from holdfast.ports.clock import Clock
from holdfast.ports.errors import SessionConflictError, SessionNotFoundError
from holdfast.ports.inference import Message, Role
from holdfast.ports.session import (
    MOST_EXPIRED_AT_ONCE,
    Removal,
    RemovedSession,
    Session,
    SessionBounds,
    SessionHead,
    SessionMessage,
    SessionStore,
    SessionTotals,
    SessionTurn,
)
from holdfast.testing.cancellation import sweep_cancellation
from holdfast.testing.clock import ManualClock

__all__ = ["SessionStoreContract"]

_FIXED_BYTES = 100
_BOUNDS = SessionBounds(max_bytes=1000, max_total_bytes=100_000, max_sessions=1000, idle_s=60.0)


def _session(
    session_id: str = "s", *, tenant: str = "t", incarnation: str = "1st", system: bytes | None = None, turns: int = 0
) -> Session:
    return Session(
        head=SessionHead(
            tenant=tenant,
            session_id=session_id,
            incarnation=incarnation,
            version=1,
            persona=None,
            fixed_bytes=_FIXED_BYTES,
        ),
        system=system,
        turns=tuple(_turn(f"{number}") for number in range(turns)),
        size_bytes=_FIXED_BYTES + turns * 100,
    )


def _turn(text: str, *, size_bytes: int = 100) -> SessionTurn:
    messages = (Message(role=Role.USER, content=text), Message(role=Role.ASSISTANT, content=f"re: {text}"))
    return SessionTurn(messages=tuple(SessionMessage.of(message) for message in messages), size_bytes=size_bytes)


class SessionStoreContract(ABC):
    """Derive from it, name the class ``Test…`` and open your store; pytest does the rest."""

    pytestmark = pytest.mark.anyio

    @abstractmethod
    def open_store(self, clock: Clock) -> AbstractAsyncContextManager[SessionStore]:
        """Return this test's store, which is empty, open for the length of an ``async with`` block."""

    @pytest.fixture(autouse=True)
    def _begin(self) -> None:
        self.clock = ManualClock()

    @asynccontextmanager
    async def _store(self, *sessions: Session) -> AsyncGenerator[SessionStore]:
        """Give the store with these sessions in it, the first one used longest ago."""
        async with self.open_store(self.clock) as store:
            for session in sessions:
                assert await store.create(session, bounds=_BOUNDS) == ()
                self.clock.advance(1.0)
            yield store
            totals = store.totals()
            assert totals.created == totals.sessions + totals.expired + totals.evicted + totals.deleted

    async def _names(self, store: SessionStore, *names: str) -> set[str]:
        """Return which of the sessions are there."""
        found: set[str] = set()
        for name in names:
            try:
                found.add((await store.load("t", name, bounds=_BOUNDS)).session.head.session_id)
            except SessionNotFoundError:
                continue
        return found

    async def test_create_keeps_the_session_as_it_is(self) -> None:
        """The persona, the system message, every turn and every character."""
        odd = "Grüße\0\N{GRINNING FACE}\ud800\n“quoted”".encode("utf-8", "surrogatepass")
        session = replace(_session(system=odd, turns=3), turns=(_turn("a"), _turn("\ud800\0"), _turn("")))
        session = replace(session, head=replace(session.head, persona="p"))

        async with self._store(session) as store:
            loaded = await store.load("t", "s", bounds=_BOUNDS)

            assert (loaded.session, loaded.removed) == (session, ())
            assert store.totals() == SessionTotals(sessions=1, size_bytes=session.size_bytes, created=1)

    async def test_create_of_a_name_that_is_taken_is_refused(self) -> None:
        """What is there stays as it is."""
        async with self._store(_session(turns=1)) as store:
            head = (await store.load("t", "s", bounds=_BOUNDS)).session.head
            head = (await store.save(head, persona=None, turn=None, bounds=_BOUNDS)).head

            with pytest.raises(SessionConflictError) as refused:
                await store.create(_session(incarnation="2nd"), bounds=_BOUNDS)

            assert (refused.value.expected_version, refused.value.found_version) == (0, 2)
            loaded = await store.load("t", "s", bounds=_BOUNDS)
            assert (loaded.session.head, len(loaded.session.turns)) == (head, 1)
            assert store.totals().created == 1

    async def test_sessions_of_two_tenants_have_nothing_to_do_with_each_other(self) -> None:
        """Not even under the same name."""
        async with self._store(_session(turns=1), _session(tenant="u"), _session("mine")) as store:
            assert len((await store.load("t", "s", bounds=_BOUNDS)).session.turns) == 1
            assert (await store.load("u", "s", bounds=_BOUNDS)).session.turns == ()
            with pytest.raises(SessionNotFoundError):
                await store.load("u", "mine", bounds=_BOUNDS)
            with pytest.raises(SessionNotFoundError):
                await store.delete("u", "mine", bounds=_BOUNDS)
            with pytest.raises(SessionNotFoundError):
                await store.save(_session("mine", tenant="u").head, persona=None, turn=None, bounds=_BOUNDS)

    async def test_load_of_a_session_that_never_was_is_not_found(self) -> None:
        """And names it."""
        async with self._store() as store:
            with pytest.raises(SessionNotFoundError) as refused:
                await store.load("t", "s", bounds=_BOUNDS)

            assert refused.value.session_id == "s"
            assert store.totals() == SessionTotals()

    async def test_save_appends_each_turn_and_counts_the_version(self) -> None:
        """In order; the persona is the newest."""
        async with self._store(_session(turns=1)) as store:
            first = await store.save(_session().head, persona="p", turn=_turn("a"), bounds=_BOUNDS)
            second = await store.save(first.head, persona="q", turn=_turn("b"), bounds=_BOUNDS)

            assert (first.head.version, first.head.persona) == (2, "p")
            assert (first.trimmed_turns, first.trimmed_messages, first.trimmed_bytes, first.removed) == (0, 0, 0, ())
            session = (await store.load("t", "s", bounds=_BOUNDS)).session
            assert session.head == second.head == replace(_session().head, version=3, persona="q")
            assert session.turns == (_turn("0"), _turn("a"), _turn("b"))
            assert session.size_bytes == store.totals().size_bytes == 400

    async def test_save_without_a_turn_changes_the_persona_only(self) -> None:
        """That is a change like any other; it trims nothing."""
        async with self._store(_session(turns=2)) as store:
            saved = await store.save(_session().head, persona="p", turn=None, bounds=_BOUNDS)

            session = (await store.load("t", "s", bounds=_BOUNDS)).session
            assert saved.head == session.head == replace(_session().head, version=2, persona="p")
            assert (saved.trimmed_turns, len(session.turns), session.size_bytes) == (0, 2, 300)

    async def test_save_of_an_old_version_is_refused_and_changes_nothing(self) -> None:
        """Compare, then set."""
        async with self._store(_session()) as store:
            await store.save(_session().head, persona=None, turn=_turn("a"), bounds=_BOUNDS)
            before = store.totals()

            with pytest.raises(SessionConflictError) as refused:
                await store.save(_session().head, persona="p", turn=_turn("b"), bounds=_BOUNDS)

            assert (refused.value.expected_version, refused.value.found_version) == (1, 2)
            session = (await store.load("t", "s", bounds=_BOUNDS)).session
            assert (session.turns, session.head.persona) == ((_turn("a"),), None)
            assert store.totals() == before

    async def test_save_to_another_incarnation_is_not_found(self) -> None:
        """A conversation that has taken the name of a deleted one gets none of its turns, whatever its version is."""
        async with self._store(_session()) as store:
            await store.delete("t", "s", bounds=_BOUNDS)
            await store.create(_session(incarnation="2nd"), bounds=_BOUNDS)

            with pytest.raises(SessionNotFoundError):
                await store.save(_session().head, persona=None, turn=_turn("a"), bounds=_BOUNDS)

            assert (await store.load("t", "s", bounds=_BOUNDS)).session.turns == ()

    async def test_save_trims_the_oldest_turns_and_as_few_as_it_takes(self) -> None:
        """Whole turns; the newest one and the system message stay."""
        async with self._store(_session(system=b"be brief", turns=9)) as store:
            saved = await store.save(_session().head, persona=None, turn=_turn("new", size_bytes=150), bounds=_BOUNDS)

            assert (saved.trimmed_turns, saved.trimmed_messages, saved.trimmed_bytes) == (2, 4, 200)
            session = (await store.load("t", "s", bounds=_BOUNDS)).session
            assert session.turns[0] == _turn("2")
            assert session.turns[-1] == _turn("new", size_bytes=150)
            assert (session.system, session.size_bytes, store.totals().size_bytes) == (b"be brief", 950, 950)

    async def test_save_of_a_turn_that_fills_the_session_drops_every_other(self) -> None:
        """And a turn that fits exactly drops none."""
        async with self._store(_session(turns=3), _session("full", turns=3)) as store:
            alone = await store.save(_session().head, persona=None, turn=_turn("a", size_bytes=900), bounds=_BOUNDS)
            fits = await store.save(
                _session("full").head, persona=None, turn=_turn("b", size_bytes=600), bounds=_BOUNDS
            )

            assert (alone.trimmed_turns, fits.trimmed_turns) == (3, 0)
            assert len((await store.load("t", "s", bounds=_BOUNDS)).session.turns) == 1

    async def test_save_within_narrower_bounds_trims_also_without_a_turn(self) -> None:
        """Whatever is saved fits."""
        async with self._store(_session(turns=5)) as store:
            narrow = replace(_BOUNDS, max_bytes=350)
            saved = await store.save(_session().head, persona="p", turn=None, bounds=narrow)

            assert (saved.trimmed_turns, store.totals().size_bytes) == (3, 300)
            assert (await store.load("t", "s", bounds=_BOUNDS)).session.turns == (_turn("3"), _turn("4"))

    async def test_delete_forgets_the_session_and_frees_its_name(self) -> None:
        """Once."""
        async with self._store(_session(system=b"x", turns=2)) as store:
            await store.delete("t", "s", bounds=_BOUNDS)

            with pytest.raises(SessionNotFoundError):
                await store.delete("t", "s", bounds=_BOUNDS)
            assert await self._names(store, "s") == set()
            assert store.totals() == SessionTotals(created=1, deleted=1)
            await store.create(_session(), bounds=_BOUNDS)
            session = (await store.load("t", "s", bounds=_BOUNDS)).session
            assert (session.system, session.turns) == (None, ())

    async def test_session_that_was_idle_for_too_long_is_not_found(self) -> None:
        """To the second, and by whatever call; what fails changes nothing."""
        async with self._store(_session()) as store:
            self.clock.advance(59.0)
            await store.load("t", "s", bounds=_BOUNDS)
            self.clock.advance(60.5)

            with pytest.raises(SessionNotFoundError):
                await store.load("t", "s", bounds=_BOUNDS)
            with pytest.raises(SessionNotFoundError):
                await store.save(_session().head, persona=None, turn=None, bounds=_BOUNDS)
            with pytest.raises(SessionNotFoundError):
                await store.delete("t", "s", bounds=_BOUNDS)
            assert store.totals() == SessionTotals(sessions=1, size_bytes=_FIXED_BYTES, created=1)

    async def test_load_and_save_are_uses(self) -> None:
        """A conversation that goes on does not expire."""
        async with self._store(_session()) as store:
            head = _session().head
            for _ in range(5):
                self.clock.advance(40.0)
                await store.load("t", "s", bounds=_BOUNDS)
                self.clock.advance(40.0)
                head = (await store.save(head, persona=None, turn=None, bounds=_BOUNDS)).head

            assert await self._names(store, "s") == {"s"}

    async def test_create_under_the_name_of_an_expired_session_takes_its_place(self) -> None:
        """Which is told and counted as expired."""
        async with self._store(_session(turns=1)) as store:
            self.clock.advance(60.0)
            removed = await store.create(_session(incarnation="2nd"), bounds=_BOUNDS)

            expired = RemovedSession(session_id="s", reason=Removal.EXPIRED, idle_s=61.0, size_bytes=200)
            assert removed == (expired,)
            assert store.totals() == SessionTotals(sessions=1, size_bytes=_FIXED_BYTES, created=2, expired=1)

    async def test_expired_sessions_are_removed_by_any_call_a_few_at_a_time(self) -> None:
        """The one that was idle for longest first."""
        count = MOST_EXPIRED_AT_ONCE + 3
        async with self._store(*(_session(f"{number}") for number in range(count))) as store:
            self.clock.advance(60.0)

            first = await store.create(_session("new"), bounds=_BOUNDS)
            second = (await store.load("t", "new", bounds=_BOUNDS)).removed

            assert [removed.session_id for removed in first] == [f"{n}" for n in range(MOST_EXPIRED_AT_ONCE)]
            assert [removed.session_id for removed in second] == [f"{n}" for n in range(MOST_EXPIRED_AT_ONCE, count)]
            assert {removed.reason for removed in first + second} == {Removal.EXPIRED}
            assert (store.totals().sessions, store.totals().expired) == (1, count)

    async def test_session_used_longest_ago_makes_room_under_the_ceiling(self) -> None:
        """As few go as it takes, whatever call needs the room."""
        bounds = replace(_BOUNDS, max_total_bytes=600)
        async with self._store(_session("a", turns=1), _session("b", turns=1), _session("c")) as store:
            await store.load("t", "a", bounds=bounds)
            created = await store.create(_session("d", turns=1), bounds=bounds)
            saved = await store.save(_session("d").head, persona=None, turn=_turn("x", size_bytes=200), bounds=bounds)

            assert [(gone.session_id, gone.reason, gone.size_bytes) for gone in created] == [
                ("b", Removal.EVICTED, 200)
            ]
            assert [gone.session_id for gone in saved.removed] == ["c"]
            assert await self._names(store, "a", "b", "c", "d") == {"a", "d"}
            assert store.totals() == SessionTotals(sessions=2, size_bytes=600, created=4, evicted=2)

    async def test_order_of_use_is_known_also_within_one_moment(self) -> None:
        """A clock may be too coarse to tell two uses apart."""
        bounds = replace(_BOUNDS, max_sessions=2)
        async with self._store() as store:
            await store.create(_session("a"), bounds=bounds)
            await store.create(_session("b"), bounds=bounds)
            await store.load("t", "a", bounds=bounds)

            removed = await store.create(_session("c"), bounds=bounds)

            assert [gone.session_id for gone in removed] == ["b"]

    async def test_session_used_longest_ago_makes_room_for_one_more(self) -> None:
        """Their number is bounded, too."""
        bounds = replace(_BOUNDS, max_sessions=2)
        async with self._store(_session("a"), _session("b")) as store:
            removed = await store.create(_session("c"), bounds=bounds)

            assert [gone.session_id for gone in removed] == ["a"]
            assert await self._names(store, "a", "b", "c") == {"b", "c"}

    async def test_expired_session_that_makes_room_counts_as_expired(self) -> None:
        """Also beyond those that one call removes anyway."""
        count = MOST_EXPIRED_AT_ONCE + 4
        bounds = replace(_BOUNDS, max_sessions=1)
        async with self._store(*(_session(f"{number}") for number in range(count))) as store:
            self.clock.advance(57.5)  # the last two have not expired

            removed = await store.create(_session("new"), bounds=bounds)

            reasons = [gone.reason for gone in removed]
            assert reasons == [Removal.EXPIRED] * (count - 2) + [Removal.EVICTED] * 2
            assert store.totals().sessions == 1

    async def test_last_session_stays_however_large_it_is(self) -> None:
        """One that was saved within wider bounds can be read within narrower ones."""
        bounds = replace(_BOUNDS, max_bytes=150, max_total_bytes=150)
        async with self._store(_session("a"), _session("b", turns=2)) as store:
            removed = (await store.load("t", "b", bounds=bounds)).removed

            assert [gone.session_id for gone in removed] == ["a"]
            assert store.totals().size_bytes == 300

    async def test_one_of_many_saves_at_once_wins(self) -> None:
        """The others are told which version did."""
        async with self._store(_session()) as store:
            found: list[int] = []

            async def save(name: str) -> None:
                try:
                    await store.save(_session().head, persona=None, turn=_turn(name), bounds=_BOUNDS)
                except SessionConflictError as conflict:
                    found.append(conflict.found_version)

            async with anyio.create_task_group() as tasks:
                for number in range(5):
                    tasks.start_soon(save, f"{number}")

            session = (await store.load("t", "s", bounds=_BOUNDS)).session
            assert (len(session.turns), session.head.version, found) == (1, 2, [2] * 4)

    async def test_cancellation_at_any_moment_leaves_whole_changes_only(self) -> None:
        """Whatever was cut off, it happened or it did not."""
        async with self._store() as store:

            async def scenario() -> None:
                await store.create(_session(system=b"x"), bounds=_BOUNDS)
                session = (await store.load("t", "s", bounds=_BOUNDS)).session
                await store.save(session.head, persona="p", turn=_turn("a"), bounds=_BOUNDS)
                await store.delete("t", "s", bounds=_BOUNDS)

            async def check() -> None:
                totals = store.totals()
                assert totals.sessions == totals.created - totals.deleted
                if not totals.sessions:
                    assert totals.size_bytes == 0
                    return
                session = (await store.load("t", "s", bounds=_BOUNDS)).session
                assert (session.head.version, len(session.turns)) in {(1, 0), (2, 1)}
                assert session.size_bytes == totals.size_bytes == 100 + 100 * len(session.turns)
                await store.delete("t", "s", bounds=_BOUNDS)

            await sweep_cancellation(scenario, check)
