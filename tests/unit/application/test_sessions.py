"""Sessions, met by requests that go through `Orchestrator.submit`."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from holdfast import Request, Role, Settings, open_orchestrator
from holdfast.adapters.memory import MemorySessions
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import SessionSettings
from holdfast.application.settings_sources import load_settings
from holdfast.ports.errors import (
    BackendRequestError,
    ConfigurationError,
    DeadlineExceededError,
    RateLimitedError,
    RequestError,
    SessionNotFoundError,
    SessionStoreError,
    SessionTooLargeError,
)
from holdfast.ports.events import SessionConflicted, SessionCreated, SessionEvicted, SessionExpired, SessionTrimmed
from holdfast.ports.service import Disposition
from holdfast.ports.session import LoadedSession, SavedSession, SessionBounds, SessionHead, SessionTurn
from holdfast.testing import VirtualClock, sweep_cancellation
from tests.fakes import service
from tests.fakes.service import Answering, assert_nothing_is_held, opened, told

pytestmark = pytest.mark.anyio

NUMBERED = "answer {}".format


class SlowStore(MemorySessions):
    """Hands out each session a second after it was read."""

    async def load(self, tenant: str, session_id: str, *, bounds: SessionBounds) -> LoadedSession:
        loaded = await super().load(tenant, session_id, bounds=bounds)
        await anyio.sleep(1.0)
        return loaded


class FullStore(MemorySessions):
    """Takes no turn."""

    async def save(
        self, head: SessionHead, *, persona: str | None, turn: SessionTurn | None, bounds: SessionBounds
    ) -> SavedSession:
        raise SessionStoreError("the disk is full", path="sessions.sqlite")


def ask(question: str = "why?", *, session_id: str | None = "s") -> Request:
    return service.ask(question, session_id=session_id)


def asked(backend: Answering) -> list[str]:
    """Return the contents of the newest prompt."""
    return [message.content for message in backend.prompts[-1].messages]


async def said(orchestrator: Orchestrator) -> list[str]:
    return [message.content for message in (await orchestrator.sessions.open("s", tenant="default")).messages]


async def test_submit_second_request_of_a_session_brings_all_that_was_said_before() -> None:
    backend = Answering(text=NUMBERED)
    async with opened({"a": backend}) as orchestrator:
        session_id = await orchestrator.sessions.create(tenant="default", system="Be brief.")
        first = await orchestrator.submit(ask("why?", session_id=session_id))
        second = await orchestrator.submit(ask("and how?", session_id=session_id))
        session = await orchestrator.sessions.open(session_id, tenant="default")
        health = orchestrator.health()

    assert (first.text, second.text) == ("answer 1", "answer 2")
    assert asked(backend) == ["Be brief.", "why?", "answer 1", "and how?"]
    assert [message.role for message in backend.prompts[-1].messages] == [
        Role.SYSTEM,
        Role.USER,
        Role.ASSISTANT,
        Role.USER,
    ]
    assert [message.content for message in session.messages] == [*asked(backend), "answer 2"]
    assert (health.sessions.sessions, health.sessions.created) == (1, 1)
    assert health.sessions.size_bytes == session.size_bytes


async def test_submit_request_of_its_own_keeps_nothing() -> None:
    async with opened({"a": Answering()}) as orchestrator:
        await orchestrator.submit(ask(session_id=None))
        health = orchestrator.health()

    assert (health.sessions.created, health.sessions.size_bytes) == (0, 0)


@pytest.mark.parametrize("tenant", ["default", "somebody else"])
async def test_submit_session_that_is_not_the_tenants_is_not_found_and_nobody_is_asked(tenant: str) -> None:
    backend = Answering(text=NUMBERED)
    async with opened({"a": backend}) as orchestrator:
        name = await orchestrator.sessions.create(tenant="mine")

        with pytest.raises(SessionNotFoundError):
            await orchestrator.submit(replace(ask(session_id=name), tenant=tenant))
        with pytest.raises(SessionNotFoundError):
            async with orchestrator.stream(replace(ask(session_id=name), tenant=tenant)):
                pytest.fail("it was streamed")

    assert backend.prompts == []


async def test_submit_name_of_a_session_that_cannot_be_one_is_refused() -> None:
    async with opened({"a": Answering()}) as orchestrator:
        with pytest.raises(RequestError, match="session_id"):
            await orchestrator.submit(ask(session_id="\ud800"))


async def test_submit_duplicates_at_once_call_once_and_save_once() -> None:
    backend = Answering(text=NUMBERED, delay_s=1.0)
    dispositions: list[Disposition] = []
    async with opened({"a": backend}) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s")

        async def submit() -> None:
            dispositions.append((await orchestrator.submit(ask())).disposition)

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(submit)
        kept = await said(orchestrator)

    assert len(backend.prompts) == 1
    assert dispositions.count(Disposition.JOINED) == 19
    assert kept == ["why?", "answer 1"]


async def test_submit_duplicate_that_finds_the_answer_kept_saves_nothing() -> None:
    replies: dict[str, Disposition] = {}
    async with opened(
        {"a": Answering(text=NUMBERED)}, session_store=nullcontext(SlowStore(clock=VirtualClock()))
    ) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s")

        async def submit(name: str, after_s: float) -> None:
            await anyio.sleep(after_s)
            replies[name] = (await orchestrator.submit(ask())).disposition

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(submit, "first", 0.0)
            tasks.start_soon(submit, "late", 0.5)  # reads the session before the first one is answered
        kept = await said(orchestrator)

    assert replies == {"first": Disposition.CALLED, "late": Disposition.CACHED}
    assert kept == ["why?", "answer 1"]


async def test_submit_same_words_again_are_said_again_to_a_conversation_that_went_on() -> None:
    backend = Answering(text=NUMBERED)
    async with opened({"a": backend}) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s")
        replies = [await orchestrator.submit(ask()) for _ in range(2)]

    assert [reply.disposition for reply in replies] == [Disposition.CALLED] * 2
    assert asked(backend) == ["why?", "answer 1", "why?"]


async def test_submit_to_a_session_created_anew_under_an_old_name_shares_no_old_answer() -> None:
    backend = Answering(text=NUMBERED)
    async with opened({"a": backend}) as orchestrator:
        for system in ("Say yes.", "Say no."):
            await orchestrator.sessions.create(tenant="default", session_id="s", system=system)
            assert (await orchestrator.submit(ask())).disposition is Disposition.CALLED
            await orchestrator.sessions.delete("s", tenant="default")

    assert asked(backend) == ["Say no.", "why?"]


async def test_submit_two_requests_of_one_session_at_once_are_both_saved() -> None:
    async with opened({"a": Answering(text=NUMBERED, delay_s=1.0)}) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s")

        async with anyio.create_task_group() as tasks:
            for question in ("a", "b"):
                tasks.start_soon(orchestrator.submit, ask(question))
        kept = await said(orchestrator)
        conflicts = told(orchestrator, SessionConflicted)
        health = orchestrator.health()

    assert sorted(kept) == ["a", "answer 1", "answer 2", "b"]
    assert conflicts == [SessionConflicted(session_id="s", expected_version=1, found_version=2)]
    assert health.sessions.conflicts == 1


async def test_submit_beyond_the_cap_forgets_the_oldest_turns_and_keeps_the_system_message() -> None:
    backend = Answering(text=NUMBERED)
    settings = Settings(sessions=SessionSettings(max_bytes=5000))
    async with opened({"a": backend}, settings) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s", system="Be brief.")
        for number in range(5):
            await orchestrator.submit(ask(f"{number} {'x' * 1000}"))
        trimmed = told(orchestrator, SessionTrimmed)
        health = orchestrator.health()

    assert asked(backend)[0] == "Be brief."
    assert [content[0] for content in asked(backend)[1::2]] == ["2", "3", "4"]
    assert health.sessions.trimmed_turns == len(trimmed) == 3
    assert health.sessions.size_bytes <= 5000


async def test_submit_question_that_no_session_can_hold_is_refused_before_anybody_is_asked() -> None:
    backend = Answering(text=NUMBERED)
    async with opened({"a": backend}, Settings(sessions=SessionSettings(max_bytes=5000))) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s")

        with pytest.raises(SessionTooLargeError):
            await orchestrator.submit(ask("x" * 5000))

    assert backend.prompts == []


async def test_submit_session_that_was_idle_for_too_long_is_not_found() -> None:
    async with opened({"a": Answering()}) as orchestrator:
        for name in ("s", "other"):
            await orchestrator.sessions.create(tenant="default", session_id=name)
        await anyio.sleep(1500.0)
        await orchestrator.submit(ask(session_id="other"))
        await anyio.sleep(301.0)

        with pytest.raises(SessionNotFoundError):
            await orchestrator.submit(ask())
        await orchestrator.submit(ask("and how?", session_id="other"))

        assert told(orchestrator, SessionCreated) == [SessionCreated(session_id=name) for name in ("s", "other")]
        assert told(orchestrator, SessionExpired) == [SessionExpired(session_id="s", idle_s=1801.0)]
        assert orchestrator.health().sessions.expired == 1


async def test_submit_session_deleted_before_its_answer_is_not_found() -> None:
    async with opened({"a": Answering(delay_s=1.0)}) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s")

        async def delete() -> None:
            await anyio.sleep(0.5)
            await orchestrator.sessions.delete("s", tenant="default")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(delete)
            with pytest.raises(SessionNotFoundError):
                await orchestrator.submit(ask())


async def test_submit_request_that_fails_leaves_the_conversation_as_it_was() -> None:
    backend = Answering(text=NUMBERED, failing=lambda call: BackendRequestError("no", backend="a"))
    async with opened({"a": backend}) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s")
        with pytest.raises(BackendRequestError):
            await orchestrator.submit(ask())
        backend.failing, backend.delay_s = lambda call: None, 10.0
        with pytest.raises(DeadlineExceededError):
            await orchestrator.submit(replace(ask(), timeout_s=1.0))

        assert await said(orchestrator) == []


async def test_submit_answer_that_cannot_be_saved_is_not_delivered() -> None:
    async with opened({"a": Answering()}, session_store=nullcontext(FullStore(clock=VirtualClock()))) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s")

        with pytest.raises(SessionStoreError, match="disk is full"):
            await orchestrator.submit(ask())

        health = orchestrator.health()
        assert_nothing_is_held(health)
        assert health.backends[0].breaker.failed == 0


async def test_submit_each_request_that_shares_with_nobody_is_saved() -> None:
    async with opened({"a": Answering(text=NUMBERED)}) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s")
        for _ in range(2):
            await orchestrator.submit(replace(ask(), no_cache=True))

        assert await said(orchestrator) == ["why?", "answer 1", "why?", "answer 2"]


async def test_stream_in_a_session_remembers_and_is_remembered() -> None:
    backend = Answering(text=NUMBERED)
    async with opened({"a": backend}) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s")
        for question in ("why?", "and how?"):
            async with orchestrator.stream(ask(question)) as stream:
                assert [piece async for piece in stream] == [f"answer {len(backend.prompts)}"]

        assert asked(backend) == ["why?", "answer 1", "and how?"]
        assert await said(orchestrator) == [*asked(backend), "answer 2"]


async def test_submit_command_in_a_session_keeps_the_persona_and_is_no_part_of_the_conversation() -> None:
    backend = Answering(text=NUMBERED)
    settings = Settings.model_validate(
        {"prompts": {"db": "You know databases."}, "personas": {"sql": {"prompt": "db"}}}
    )
    async with opened({"a": backend}, settings) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s")
        kept = await orchestrator.submit(ask("/expert sql"))
        answered = await orchestrator.submit(ask("why?"))
        with_persona = asked(backend)
        await orchestrator.submit(ask("/expert off"))
        plain = await orchestrator.submit(ask("and how?"))

        assert (kept.disposition, answered.persona, plain.persona) == (Disposition.COMMANDED, "sql", None)
        assert with_persona == ["You know databases.", "why?"]
        assert asked(backend) == ["why?", "answer 1", "and how?"]
        assert (await orchestrator.sessions.open("s", tenant="default")).head.persona is None


async def test_submit_bytes_of_the_session_count_in_the_admission_queue() -> None:
    async with opened({"a": Answering(delay_s=10.0)}, Settings(max_in_flight=1)) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s", system="x" * 100_000)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(orchestrator.submit, ask(session_id=None))
            await anyio.sleep(1.0)
            tasks.start_soon(orchestrator.submit, ask())
            await anyio.sleep(1.0)

            assert orchestrator.health().admission.waiting_bytes > 100_000
            tasks.cancel_scope.cancel()


async def test_submit_tokens_of_the_session_count_for_the_tenants_limit() -> None:
    settings = Settings.model_validate({"tenant_rate_limit": {"tokens_per_minute": 1000}})
    async with opened({"a": Answering()}, settings) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s", system="x" * 40_000)
        await orchestrator.submit(ask(session_id=None))

        with pytest.raises(RateLimitedError):
            await orchestrator.submit(ask())


async def test_submit_cancelled_at_every_checkpoint_leaves_whole_turns_and_holds_nothing() -> None:
    async with opened(
        {"a": Answering(text=NUMBERED, delay_s=0.1)}, session_store=nullcontext(SlowStore(clock=VirtualClock()))
    ) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s")

        async def scenario() -> None:
            await orchestrator.submit(replace(ask(), no_cache=True))
            await orchestrator.submit(ask("and how?"))

        async def check() -> None:
            await anyio.sleep(100.0)  # what a cancelled call had leased is reset in the background
            kept = await said(orchestrator)
            assert len(kept) % 2 == 0
            assert all(text.startswith("answer") for text in kept[1::2])
            health = orchestrator.health()
            assert_nothing_is_held(health)
            assert health.sessions.created == health.sessions.sessions == 1

        assert await sweep_cancellation(scenario, check) >= 4


async def test_stream_cancelled_at_every_checkpoint_leaves_whole_turns_and_holds_nothing() -> None:
    async with opened(
        {"a": Answering(text=NUMBERED, delay_s=0.1)}, session_store=nullcontext(SlowStore(clock=VirtualClock()))
    ) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s")
        whole: list[str] = []

        async def scenario() -> None:
            pieces: list[str] = []
            async with orchestrator.stream(replace(ask(), no_cache=True)) as stream:
                async for piece in stream:
                    pieces.append(piece)
                    await anyio.sleep(0.1)
                    whole.append("".join(pieces))

        async def check() -> None:
            await anyio.sleep(100.0)
            kept = await said(orchestrator)
            assert set(kept[1::2]) <= set(whole)
            assert len(kept) % 2 == 0
            assert_nothing_is_held(orchestrator.health())

        assert await sweep_cancellation(scenario, check) >= 4


@pytest.mark.real_time
async def test_submit_goes_on_with_a_session_that_an_earlier_process_kept_in_a_database(tmp_path: Path) -> None:
    backend = Answering(text=NUMBERED)
    settings = Settings(sessions=SessionSettings(database=tmp_path / "kept" / "sessions.sqlite"))
    async with open_orchestrator(settings, backends={"a": backend}) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s", system="Be brief.")
        await orchestrator.submit(ask("why?"))
    async with open_orchestrator(settings, backends={"a": backend}) as orchestrator:
        assert orchestrator.health().sessions.sessions == 1
        await orchestrator.submit(ask("and how?"))
        await orchestrator.sessions.delete("s", tenant="default")
    async with open_orchestrator(settings, backends={"a": backend}) as orchestrator:
        with pytest.raises(SessionNotFoundError):
            await orchestrator.submit(ask())

    assert asked(backend) == ["Be brief.", "why?", "answer 1", "and how?"]


@pytest.mark.real_time
async def test_open_orchestrator_database_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database\n" * 100)
    settings = Settings(sessions=SessionSettings(database=tmp_path / "notes.txt"))

    with pytest.raises(SessionStoreError, match=r"notes\.txt"):
        async with open_orchestrator(settings, backends={"a": Answering()}):
            pytest.fail("it opened")


def test_load_settings_of_sessions_are_taken_and_refused_like_all_others(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text('[sessions]\ndatabase = "s.sqlite"\nmax_bytes = 5000\nidle_s = 60\n')

    sessions = load_settings(tmp_path).settings.sessions

    assert (sessions.database, sessions.max_bytes, sessions.idle_s) == (Path("s.sqlite"), 5000, 60.0)
    with pytest.raises(ConfigurationError, match=r"sessions\.max_bytes.*sessions\.max_total_bytes"):
        load_settings(tmp_path, {"sessions": {"max_total_bytes": 4999}})
    with pytest.raises(ConfigurationError, match=r"sessions\.idle: .*did you mean 'sessions\.idle_s'"):
        load_settings(tmp_path, {"sessions": {"idle": 1}})


async def test_submit_with_a_session_that_made_room_for_another_finds_it_gone_and_told() -> None:
    settings = Settings(sessions=SessionSettings(max_sessions=1))
    async with opened({"a": Answering()}, settings) as orchestrator:
        await orchestrator.sessions.create(tenant="default", session_id="s")
        await orchestrator.sessions.create(tenant="default", session_id="other")

        with pytest.raises(SessionNotFoundError):
            await orchestrator.submit(ask())
        assert [event.session_id for event in told(orchestrator, SessionEvicted)] == ["s"]
        assert_nothing_is_held(orchestrator.health())
