"""The byte ceiling of the process, as requests through the wired path meet it."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from holdfast.application.settings import SessionSettings, Settings
from holdfast.application.wiring import open_orchestrator
from holdfast.domain.memory_ceiling import charge_bytes
from holdfast.ports.errors import MemoryCeilingError
from holdfast.ports.events import MemoryFreed, MemoryRefused
from holdfast.ports.inference import Message, Role
from holdfast.ports.service import Disposition, Request
from holdfast.testing import sweep_cancellation
from tests.fakes.service import Answering, assert_nothing_is_held, opened, told

pytestmark = pytest.mark.anyio

CHARGE_BYTES = charge_bytes(1000)


def bounded(max_memory_bytes: int) -> Settings:
    """Return settings under which requests and sessions may be small only."""
    sessions = SessionSettings(max_bytes=4096, max_total_bytes=4096)
    return Settings(max_memory_bytes=max_memory_bytes, max_request_bytes=1000, sessions=sessions)


def ask(number: int, *, session_id: str | None = None, size_bytes: int = 1000) -> Request:
    return Request(
        messages=(Message(role=Role.USER, content=f"{number}".ljust(size_bytes, "?")),), session_id=session_id
    )


async def test_submit_that_does_not_fit_into_memory_is_refused_until_another_has_ended() -> None:
    settings = bounded(2 * CHARGE_BYTES + 10_000)
    async with opened({"a": Answering(delay_s=1.0)}, settings) as orchestrator:
        async with anyio.create_task_group() as tasks:
            for number in range(2):
                tasks.start_soon(orchestrator.submit, ask(number))
            await anyio.sleep(0.5)
            with pytest.raises(MemoryCeilingError) as raised:
                await orchestrator.submit(ask(2))
            full = orchestrator.health().memory
        await orchestrator.submit(ask(3))
        after = orchestrator.health()
        refusals = told(orchestrator, MemoryRefused)

    assert (raised.value.needed_bytes, raised.value.retry_after_s) == (CHARGE_BYTES, 1.0)
    assert (full.holding, full.held_bytes, full.refused) == (2, 2 * CHARGE_BYTES, 1)
    assert refusals == [MemoryRefused(needed_bytes=CHARGE_BYTES, used_bytes=2 * CHARGE_BYTES, max_bytes=full.max_bytes)]
    assert (after.memory.granted, after.requests.refused) == (3, 1)
    assert_nothing_is_held(after)


async def test_submit_that_does_not_fit_beside_kept_answers_has_just_enough_of_the_oldest_dropped() -> None:
    settings = bounded(CHARGE_BYTES + 40_000)
    async with opened({"a": Answering(text="x" * 15_000)}, settings) as orchestrator:
        for number in range(4):
            await orchestrator.submit(ask(number))
        health = orchestrator.health()
        freed = told(orchestrator, MemoryFreed)
        newest, oldest = await orchestrator.submit(ask(3)), await orchestrator.submit(ask(0))

    counted = health.deduplication
    assert [event.holder for event in freed] == ["answers"]
    assert sum(event.freed_bytes for event in freed) == health.memory.freed_bytes > 15_000
    assert (counted.evicted, counted.entries) == (1, 3)
    assert_nothing_is_held(health)
    assert (newest.disposition, oldest.disposition) == (Disposition.CACHED, Disposition.CALLED)


async def test_submit_within_a_session_counts_what_was_said_before() -> None:
    settings = bounded(CHARGE_BYTES * 10)
    async with opened({"a": Answering(delay_s=1.0)}, settings) as orchestrator:
        session_id = await orchestrator.sessions.create(tenant="default", system="s" * 500)
        session_bytes = orchestrator.health().sessions.size_bytes
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(orchestrator.submit, ask(0, session_id=session_id))
            await anyio.sleep(0.5)
            during = orchestrator.health().memory
        after = orchestrator.health().memory

    assert during.held_bytes == charge_bytes(1000 + session_bytes)
    assert during.kept_bytes["sessions"] == session_bytes
    assert after.held_bytes == 0


async def test_submit_within_a_session_that_does_not_fit_is_refused_and_holds_nothing() -> None:
    largest_bytes = charge_bytes(1000 + 4096)
    settings = bounded(largest_bytes + 4096)
    async with opened({"a": Answering(delay_s=1.0)}, settings) as orchestrator:
        session_id = await orchestrator.sessions.create(tenant="default", system="s" * 2000)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(orchestrator.submit, ask(0, size_bytes=10))
            await anyio.sleep(0.5)
            with pytest.raises(MemoryCeilingError):
                await orchestrator.submit(ask(1, session_id=session_id))
        health = orchestrator.health()

    assert_nothing_is_held(health)


async def test_stream_counts_against_memory_until_its_reply_is_complete() -> None:
    async with (
        opened({"a": Answering()}, bounded(10 * CHARGE_BYTES)) as orchestrator,
        orchestrator.stream(ask(0)) as stream,
    ):
        piece = await anext(aiter(stream))
        during = orchestrator.health().memory
        await stream.reply()
        after = orchestrator.health().memory

    assert piece == "42"
    assert (during.held_bytes, after.held_bytes) == (CHARGE_BYTES, 0)


@pytest.mark.real_time
async def test_sessions_kept_in_a_file_do_not_count_as_memory(tmp_path: Path) -> None:
    settings = Settings(sessions=SessionSettings(database=tmp_path / "sessions.sqlite"))
    async with open_orchestrator(settings, backends={"a": Answering()}) as orchestrator:
        kept_bytes = orchestrator.health().memory.kept_bytes

    assert set(kept_bytes) == {"answers", "streams"}


async def test_submit_cancelled_at_every_checkpoint_gives_its_memory_back() -> None:
    async with opened({"a": Answering(delay_s=1.0)}, bounded(10 * CHARGE_BYTES)) as orchestrator:
        session_id = await orchestrator.sessions.create(tenant="default")

        async def scenario() -> None:
            await orchestrator.submit(ask(0, session_id=session_id))

        async def check() -> None:
            await anyio.sleep(2.0)
            assert_nothing_is_held(orchestrator.health())

        assert await sweep_cancellation(scenario, check) >= 1
