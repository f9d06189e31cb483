"""Conversations that services share, met by requests that go through `Orchestrator.submit`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path

import pytest

from holdfast.adapters.memory import MemorySessions
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import Settings
from holdfast.application.settings_sources import load_settings
from holdfast.application.shared_stores import SharedStores
from holdfast.ports.errors import SessionStoreError
from holdfast.ports.session import LoadedSession, SessionBounds, SessionStore
from holdfast.testing import VirtualClock
from tests.fakes.rates import FaultyRates
from tests.fakes.service import ONCE, Answering, ask, assert_nothing_is_held, opened

pytestmark = pytest.mark.anyio


class AwayStore(MemorySessions):
    """Cannot be reached."""

    async def load(self, tenant: str, session_id: str, *, bounds: SessionBounds) -> LoadedSession:
        raise SessionStoreError("Connection refused", path="redis", session_id=session_id)


@asynccontextmanager
async def services(
    count: int, backend: Answering, sessions: SessionStore | None = None
) -> AsyncGenerator[list[Orchestrator]]:
    clock = VirtualClock()
    store, sessions = FaultyRates(clock=clock), sessions or MemorySessions(clock=clock)
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                opened(
                    {"a": backend},
                    Settings(guard=ONCE),
                    shared_stores=nullcontext(SharedStores(store=store, sessions=sessions)),
                )
            )
            for _ in range(count)
        ]


async def test_submit_goes_on_with_a_conversation_that_another_service_began() -> None:
    backend = Answering()
    async with services(2, backend) as (one, other):
        name = await one.sessions.create(tenant="default", system="Be brief.")
        await one.submit(ask("why?", session_id=name))
        await other.submit(ask("and how?", session_id=name))
        kept = await one.sessions.open(name, tenant="default")

        assert [message.content for message in backend.prompts[-1].messages] == ["Be brief.", "why?", "42", "and how?"]
        assert [message.content for message in kept.messages][-2:] == ["and how?", "42"]
        assert other.health().sessions.sessions == 1
        for service in (one, other):
            assert_nothing_is_held(service.health())


async def test_submit_with_a_conversation_that_cannot_be_read_fails_and_one_without_does_not() -> None:
    backend = Answering()
    async with services(1, backend, AwayStore(clock=VirtualClock())) as (service,):
        with pytest.raises(SessionStoreError, match=r"^session 's': redis: Connection refused$"):
            await service.submit(ask(session_id="s"))
        await service.submit(ask())

        assert backend.calls == 1
        assert_nothing_is_held(service.health())


async def test_shared_sessions_take_nothing_of_the_memory_of_this_process() -> None:
    async with services(1, Answering()) as (service,):
        await service.sessions.create(tenant="default", system="x" * 10_000)

        assert "sessions" not in service.health().memory.kept_bytes


def test_shared_sessions_leave_the_memory_to_requests(tmp_path: Path) -> None:
    shared = {"kind": "redis", "url": "redis://127.0.0.1"}
    settings = load_settings(tmp_path, {"shared": shared, "max_memory_bytes": 512 * 1024 * 1024}).settings

    assert settings.shared is not None
    assert "sessions" in settings.shared.share
