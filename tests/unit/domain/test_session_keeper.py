from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

import anyio
import pytest

from holdfast.adapters.memory.sessions import MemorySessions
from holdfast.domain.session import SessionConfig, new_session
from holdfast.domain.session_keeper import SessionKeeper
from holdfast.ports.errors import (
    RequestError,
    SessionConflictError,
    SessionNotFoundError,
    SessionTooLargeError,
)
from holdfast.ports.events import (
    Event,
    SessionConflicted,
    SessionCreated,
    SessionEvicted,
    SessionExpired,
    SessionTrimmed,
)
from holdfast.ports.inference import Message, Role
from holdfast.ports.session import SavedSession, SessionBounds, SessionHead, SessionStore, SessionTurn
from holdfast.ports.statistics import SessionStatistics
from holdfast.testing import ManualClock, sweep_cancellation

pytestmark = pytest.mark.anyio

DEFAULTS = SessionConfig()
SMALL = SessionConfig(max_bytes=4096, max_total_bytes=4096, max_sessions=3, idle_s=60.0)


class Sink:
    """Keeps each event, with what was counted in that very moment."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.counted: list[SessionStatistics] = []
        self.count: Callable[[], SessionStatistics] | None = None

    def emit(self, event: Event) -> None:
        self.heard.append(event)
        if self.count is not None:
            self.counted.append(self.count())


class RivalledStore(MemorySessions):
    """Somebody else changes a session just before each of the next `rivals` saves, and every save takes a while."""

    def __init__(self, *, rivals: int = 0) -> None:
        super().__init__(clock=ManualClock())
        self.rivals = rivals
        self.saves = 0

    async def save(
        self, head: SessionHead, *, persona: str | None, turn: SessionTurn | None, bounds: SessionBounds
    ) -> SavedSession:
        self.saves += 1
        await anyio.lowlevel.checkpoint()
        if self.rivals:
            self.rivals -= 1
            found = (await self.load(head.tenant, head.session_id, bounds=bounds)).session.head
            await super().save(found, persona=found.persona, turn=None, bounds=bounds)
        return await super().save(head, persona=persona, turn=turn, bounds=bounds)


class ReplacedStore(MemorySessions):
    """Somebody else deletes each session that is saved too late, and creates another one under its name."""

    async def save(
        self, head: SessionHead, *, persona: str | None, turn: SessionTurn | None, bounds: SessionBounds
    ) -> SavedSession:
        try:
            return await super().save(head, persona=persona, turn=turn, bounds=bounds)
        except SessionConflictError:
            await self.delete(head.tenant, head.session_id, bounds=bounds)
            other = new_session(
                tenant=head.tenant,
                session_id=head.session_id,
                incarnation="another",
                system=None,
                max_bytes=bounds.max_bytes,
            )
            await self.create(other, bounds=bounds)
            raise


def keeper_of(
    store: SessionStore | None = None, config: SessionConfig = DEFAULTS, sink: Sink | None = None
) -> SessionKeeper:
    tokens = (f"token-{number}" for number in itertools.count())
    return SessionKeeper(
        store or MemorySessions(clock=ManualClock()), config, make_token=lambda: next(tokens), events=sink
    )


def said(content: str = "Why?") -> list[Message]:
    return [Message(role=Role.USER, content=content)]


async def contents(keeper: SessionKeeper, session_id: str = "s") -> list[str]:
    return [message.content for message in (await keeper.open(session_id, tenant="t")).messages]


async def head_of(keeper: SessionKeeper, session_id: str = "s") -> SessionHead:
    """Return the head of a new session."""
    await keeper.create(tenant="t", session_id=session_id)
    return (await keeper.open(session_id, tenant="t")).head


async def test_create_without_a_name_makes_one_that_is_drawn() -> None:
    keeper = keeper_of()

    names = [await keeper.create(tenant="t"), await keeper.create(tenant="t")]

    assert names == ["token-0", "token-2"]
    assert (await keeper.open(names[0], tenant="t")).head.incarnation == "token-1"


async def test_create_under_a_name_that_is_taken_is_refused() -> None:
    keeper = keeper_of()
    await keeper.create(tenant="t", session_id="s")

    with pytest.raises(SessionConflictError, match="choose another name"):
        await keeper.create(tenant="t", session_id="s")
    assert await keeper.create(tenant="u", session_id="s") == "s"


async def test_create_with_a_persona_keeps_it_from_the_first_version_on() -> None:
    keeper = keeper_of()

    await keeper.create(tenant="t", session_id="s", persona="critic")
    head = (await keeper.open("s", tenant="t")).head
    after = await keeper.append_turn(head, said(), "Because.")

    assert (head.version, head.persona) == (1, "critic")
    assert (after.version, after.persona) == (2, "critic")


async def test_create_with_a_system_message_that_does_not_fit_keeps_nothing() -> None:
    keeper = keeper_of(config=SMALL)

    with pytest.raises(SessionTooLargeError):
        await keeper.create(tenant="t", system="x" * 4096)
    assert keeper.statistics().created == 0


@pytest.mark.parametrize("name", ["", "x" * 257, "two\nlines", "\ud800", "nul\0"])
async def test_name_that_is_not_short_and_printable_is_refused_by_every_call(name: str) -> None:
    keeper = keeper_of()
    head = await head_of(keeper)

    with pytest.raises(RequestError, match="session_id"):
        await keeper.create(tenant="t", session_id=name)
    with pytest.raises(RequestError, match="session_id"):
        await keeper.open(name, tenant="t")
    with pytest.raises(RequestError, match="session_id"):
        await keeper.delete(name, tenant="t")
    with pytest.raises(RequestError, match="tenant"):
        await keeper.create(tenant=name)
    with pytest.raises(RequestError, match="tenant"):
        await keeper.open("s", tenant=name)
    with pytest.raises(RequestError, match="tenant"):
        await keeper.delete("s", tenant=name)
    with pytest.raises(RequestError, match="persona"):
        await keeper.set_persona(head, name)
    with pytest.raises(RequestError, match="persona"):
        await keeper.create(tenant="t", persona=name)


async def test_name_of_256_characters_of_any_script_is_taken() -> None:
    keeper = keeper_of()

    assert await keeper.create(tenant="ß" * 256, session_id="\N{GRINNING FACE}" * 256)


async def test_require_room_refuses_what_no_session_can_hold_and_changes_nothing() -> None:
    keeper = keeper_of(config=SMALL)
    head = await head_of(keeper)

    keeper.require_room(head, said("x" * 1000))
    with pytest.raises(SessionTooLargeError):
        keeper.require_room(head, said("x" * 4096))

    assert await contents(keeper) == []


async def test_append_turn_is_remembered_in_order_after_the_system_message() -> None:
    keeper = keeper_of()
    await keeper.create(tenant="t", session_id="s", system="Be brief.")
    head = (await keeper.open("s", tenant="t")).head

    head = await keeper.append_turn(head, said("Why?"), "Because.")
    head = await keeper.append_turn(head, [*said("a"), *said("b")], "c")

    assert await contents(keeper) == ["Be brief.", "Why?", "Because.", "a", "b", "c"]
    assert (await keeper.open("s", tenant="t")).head == head
    assert head.version == 3


async def test_append_turn_beyond_the_cap_drops_the_oldest_turns_and_keeps_the_system_message() -> None:
    sink = Sink()
    keeper = keeper_of(config=SMALL, sink=sink)
    await keeper.create(tenant="t", session_id="s", system="Be brief.")
    head = (await keeper.open("s", tenant="t")).head
    for number in range(20):
        head = await keeper.append_turn(head, said(f"{number} {'x' * 200}"), "ok")
        assert keeper.statistics().size_bytes <= 4096

    kept = await contents(keeper)
    statistics = keeper.statistics()
    trimmed = [event for event in sink.heard if isinstance(event, SessionTrimmed)]
    assert kept[0] == "Be brief."
    assert [text.split()[0] for text in kept[1::2]] == [f"{number}" for number in range(statistics.trimmed_turns, 20)]
    assert 0 < statistics.trimmed_turns < 20
    assert sum(event.messages for event in trimmed) == 2 * statistics.trimmed_turns
    assert all(event.session_id == "s" and event.freed_bytes > 400 for event in trimmed)


async def test_append_turn_that_does_not_fit_alone_is_refused_and_changes_nothing() -> None:
    keeper = keeper_of(config=SMALL)
    head = await keeper.append_turn(await head_of(keeper), said(), "ok")
    before = keeper.statistics()

    with pytest.raises(SessionTooLargeError):
        await keeper.append_turn(head, said("x" * 4096), "ok")

    assert keeper.statistics() == before
    assert await contents(keeper) == ["Why?", "ok"]


async def test_thousands_of_turns_of_one_character_stay_under_the_cap() -> None:
    config = SessionConfig(max_bytes=20_000)
    keeper = keeper_of(config=config)
    head = await head_of(keeper)

    for _ in range(5_000):
        head = await keeper.append_turn(head, said("x"), "y")

    statistics = keeper.statistics()
    assert 19_000 < statistics.size_bytes <= 20_000
    assert len(await contents(keeper)) == 2 * (5_000 - statistics.trimmed_turns)


@pytest.mark.parametrize("call", ["open", "delete"])
async def test_session_of_another_tenant_is_as_unknown_as_one_that_never_was(call: str) -> None:
    keeper = keeper_of()
    await keeper.create(tenant="t", session_id="s")

    for name in ("s", "never"):
        with pytest.raises(SessionNotFoundError) as refused:
            await getattr(keeper, call)(name, tenant="u")
        assert str(refused.value) == str(SessionNotFoundError(session_id=name))


async def test_set_persona_holds_until_it_is_set_again_and_through_turns() -> None:
    keeper = keeper_of()
    head = await head_of(keeper)

    head = await keeper.set_persona(head, "sql")
    head = await keeper.append_turn(head, said(), "ok")
    assert (await keeper.open("s", tenant="t")).head.persona == head.persona == "sql"
    head = await keeper.set_persona(head, None)

    assert (await keeper.open("s", tenant="t")).head.persona is None
    assert head.version == 4


async def test_delete_is_for_good() -> None:
    keeper = keeper_of()
    head = await head_of(keeper)

    await keeper.delete("s", tenant="t")

    with pytest.raises(SessionNotFoundError):
        await keeper.append_turn(head, said(), "ok")
    assert (keeper.statistics().deleted, keeper.size_bytes) == (1, 0)


async def test_append_turn_to_a_session_that_was_changed_meanwhile_comes_after_what_is_there() -> None:
    sink = Sink()
    keeper = keeper_of(sink=sink)
    stale = await head_of(keeper)
    await keeper.append_turn(stale, said("first"), "1")

    head = await keeper.append_turn(stale, said("second"), "2")

    assert await contents(keeper) == ["first", "1", "second", "2"]
    assert head.version == 3
    assert sink.heard[1:] == [SessionConflicted(session_id="s", expected_version=1, found_version=2)]
    assert keeper.statistics().conflicts == 1


async def test_append_turn_after_a_conflict_keeps_the_persona_that_was_set_meanwhile() -> None:
    keeper = keeper_of()
    stale = await head_of(keeper)
    await keeper.set_persona(stale, "sql")

    head = await keeper.append_turn(stale, said(), "ok")

    assert head.persona == "sql"


async def test_set_persona_after_a_conflict_keeps_the_turns() -> None:
    keeper = keeper_of()
    stale = await head_of(keeper)
    await keeper.append_turn(stale, said(), "ok")

    head = await keeper.set_persona(stale, "sql")

    assert (head.persona, await contents(keeper)) == ("sql", ["Why?", "ok"])


@pytest.mark.parametrize(("rivals", "saves"), [(1, 2), (3, 4)])
async def test_append_turn_is_tried_three_more_times_after_a_conflict(rivals: int, saves: int) -> None:
    store = RivalledStore(rivals=rivals)
    keeper = keeper_of(store)
    head = await head_of(keeper)

    await keeper.append_turn(head, said(), "ok")

    assert (store.saves, keeper.statistics().conflicts) == (saves, rivals)
    assert await contents(keeper) == ["Why?", "ok"]


async def test_append_turn_that_always_comes_too_late_is_given_up() -> None:
    sink = Sink()
    store = RivalledStore(rivals=100)
    keeper = keeper_of(store, sink=sink)
    head = await head_of(keeper)

    with pytest.raises(SessionConflictError) as refused:
        await keeper.append_turn(head, said(), "ok")

    assert (refused.value.expected_version, refused.value.found_version) == (4, 5)
    assert (store.saves, keeper.statistics().conflicts) == (4, 4)
    assert sum(isinstance(event, SessionConflicted) for event in sink.heard) == 4
    assert await contents(keeper) == []


async def test_append_turn_after_a_conflict_with_another_incarnation_is_not_found() -> None:
    keeper = keeper_of(ReplacedStore(clock=ManualClock()))
    stale = await head_of(keeper)
    await keeper.append_turn(stale, said(), "ok")

    with pytest.raises(SessionNotFoundError):
        await keeper.append_turn(stale, said("late"), "late")

    assert await contents(keeper) == []


async def test_turns_that_are_appended_at_once_are_all_kept() -> None:
    keeper = keeper_of(RivalledStore())
    head = await head_of(keeper)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(keeper.append_turn, head, said(f"{number}"), "ok")

    assert sorted((await contents(keeper))[::2]) == sorted(f"{number}" for number in range(20))


async def test_session_that_was_idle_for_too_long_is_gone_and_told_of() -> None:
    sink = Sink()
    clock = ManualClock()
    keeper = keeper_of(MemorySessions(clock=clock), SMALL, sink)
    await keeper.create(tenant="t", session_id="old")
    clock.advance(61.0)

    with pytest.raises(SessionNotFoundError):
        await keeper.open("old", tenant="t")
    await keeper.create(tenant="t", session_id="new")

    assert sink.heard[1:] == [SessionExpired(session_id="old", idle_s=61.0), SessionCreated(session_id="new")]
    assert keeper.statistics().expired == 1


async def test_session_used_longest_ago_makes_room_and_is_told_of() -> None:
    sink = Sink()
    keeper = keeper_of(config=SMALL, sink=sink)
    await keeper.create(tenant="t", session_id="a")
    size_bytes = keeper.size_bytes
    for name in "bc":
        await keeper.create(tenant="t", session_id=name)

    evicted = [event for event in sink.heard if isinstance(event, SessionEvicted)]
    assert evicted == [SessionEvicted(session_id="a", freed_bytes=size_bytes)]
    assert keeper.statistics() == SessionStatistics(
        sessions=2,
        size_bytes=2 * size_bytes,
        created=3,
        expired=0,
        evicted=1,
        deleted=0,
        trimmed_turns=0,
        conflicts=0,
    )


async def test_events_are_told_after_the_change_that_they_tell_of() -> None:
    sink = Sink()
    keeper = keeper_of(config=SMALL, sink=sink)
    sink.count = keeper.statistics
    head = await head_of(keeper)
    for _ in range(2):
        head = await keeper.append_turn(head, said("x" * 1500), "ok")

    assert [(counted.created, counted.trimmed_turns) for counted in sink.counted] == [(1, 0), (1, 1)]


async def test_keeper_without_a_sink_does_the_same() -> None:
    store = RivalledStore(rivals=1)
    keeper = keeper_of(store, SMALL)
    head = await head_of(keeper)
    for _ in range(3):
        head = await keeper.append_turn(head, said("x" * 1500), "ok")
    await keeper.create(tenant="t")

    statistics = keeper.statistics()
    assert (statistics.trimmed_turns, statistics.conflicts, statistics.evicted) == (2, 1, 1)


async def test_keeper_cancelled_at_every_checkpoint_leaves_whole_changes_and_true_counts() -> None:
    store = RivalledStore()
    keeper = keeper_of(store)
    stale = await head_of(keeper)

    async def scenario() -> None:
        store.rivals = 2
        await keeper.append_turn(stale, said(), "ok")
        await keeper.create(tenant="t", session_id="other")
        await keeper.set_persona(stale, "sql")
        await keeper.delete("other", tenant="t")

    async def check() -> None:
        statistics = keeper.statistics()
        assert statistics.created == statistics.sessions + statistics.deleted
        texts = await contents(keeper)
        assert texts == ["Why?", "ok"] * (len(texts) // 2)
        head = (await keeper.open("s", tenant="t")).head
        store.rivals = 0
        await keeper.append_turn(head, said(), "ok")  # the latecomers' lock is free
        await keeper.append_turn(stale, said(), "ok")
        with contextlib.suppress(SessionNotFoundError):
            await keeper.delete("other", tenant="t")

    assert await sweep_cancellation(scenario, check) > 5
