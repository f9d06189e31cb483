"""Conversations as those who drive the service begin, read and end them: through `Orchestrator.sessions`."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import anyio
import pytest

from holdfast import Settings
from holdfast.adapters.memory import MemorySessions
from holdfast.ports.errors import (
    ClosedError,
    RateLimitedError,
    RequestError,
    SessionConflictError,
    SessionNotFoundError,
)
from holdfast.ports.events import PersonaChosen, RateLimited, SessionCreated
from holdfast.ports.session import RemovedSession, Session, SessionBounds
from holdfast.testing import VirtualClock, sweep_cancellation
from tests.fakes.service import Answering, ask, assert_nothing_is_held, opened, told

pytestmark = pytest.mark.anyio

PERSONAS = {"prompts": {"p": "Be brief."}, "personas": {"Critic": {"prompt": "p"}, "Judge": {"prompt": "p"}}}


class SlowStore(MemorySessions):
    """Takes a second to keep a new session."""

    async def create(self, session: Session, *, bounds: SessionBounds) -> tuple[RemovedSession, ...]:
        await anyio.sleep(1.0)
        return await super().create(session, bounds=bounds)


def limited(requests: int, **more: Any) -> Settings:  # noqa: ANN401 - any section
    limit = {"requests_per_minute": requests, "burst_requests": requests}
    return Settings.model_validate({"tenant_rate_limit": limit, **more})


async def test_create_with_a_persona_lets_it_answer_until_a_request_names_another() -> None:
    backend = Answering()
    async with opened({"a": backend}, Settings.model_validate(PERSONAS)) as service:
        session_id = await service.sessions.create(tenant="default", persona="CRITIC")
        kept = await service.sessions.open(session_id, tenant="default")
        first = await service.submit(ask("one", session_id=session_id))
        second = await service.submit(ask("two", session_id=session_id, persona="judge"))
        third = await service.submit(ask("three", session_id=session_id))
        chosen = told(service, PersonaChosen)

    assert (kept.head.persona, kept.head.version) == ("Critic", 1)
    assert [reply.persona for reply in (first, second, third)] == ["Critic", "Judge", "Critic"]
    assert [event.chosen_by for event in chosen] == ["session", "name", "session"]


@pytest.mark.parametrize("settings", [{}, PERSONAS], ids=["none", "others"])
async def test_create_with_a_persona_that_is_not_there_is_refused_and_keeps_nothing(settings: dict[str, Any]) -> None:
    async with opened({"a": Answering()}, Settings.model_validate(settings)) as service:
        with pytest.raises(RequestError, match="persona: there is no 'stranger'"):
            await service.sessions.create(tenant="default", persona="stranger")
        health = service.health()

    assert health.sessions.created == 0


async def test_create_takes_one_request_of_the_tenants_limit_and_nothing_of_anothers() -> None:
    async with opened({"a": Answering()}, limited(2)) as service:
        await service.sessions.create(tenant="ann")
        await service.submit(ask(tenant="ann"))
        with pytest.raises(RateLimitedError) as refused:
            await service.sessions.create(tenant="ann")
        await service.sessions.create(tenant="bob")
        health, refusals = service.health(), told(service, RateLimited)

    assert refused.value.retry_after_s == 30.0
    assert [event.scope for event in refusals] == ["tenant 'ann'"]
    assert (health.tenants.settled, health.tenants.refused) == (3, 1)
    assert health.sessions.created == 2
    assert_nothing_is_held(health)


async def test_create_that_a_limit_refuses_is_granted_when_it_says() -> None:
    clock = VirtualClock()
    async with opened({"a": Answering()}, limited(1), clock=clock) as service:
        await service.sessions.create(tenant="ann")
        with pytest.raises(RateLimitedError) as refused:
            await service.sessions.create(tenant="ann")
        assert refused.value.retry_after_s is not None
        await anyio.sleep(refused.value.retry_after_s)
        await service.sessions.create(tenant="ann")
        created = service.health().sessions.created

    assert created == 2


async def test_create_that_fails_takes_nothing_of_the_limit() -> None:
    async with opened({"a": Answering()}, limited(2)) as service:
        await service.sessions.create(tenant="default", session_id="s")
        for _ in range(5):
            with pytest.raises(SessionConflictError):
                await service.sessions.create(tenant="default", session_id="s")
        await service.sessions.create(tenant="default")
        health = service.health()

    assert (health.tenants.settled, health.tenants.cancelled) == (2, 5)
    assert_nothing_is_held(health)


async def test_create_for_a_name_that_no_tenant_can_have_makes_no_limit() -> None:
    async with opened({"a": Answering()}, limited(1)) as service:
        with pytest.raises(RequestError, match="tenant"):
            await service.sessions.create(tenant="x" * 257)
        tracked = service.health().tenants.tracked

    assert tracked == 0


async def test_open_and_delete_take_nothing_of_the_limit() -> None:
    async with opened({"a": Answering()}, limited(1)) as service:
        session_id = await service.sessions.create(tenant="default")
        for _ in range(5):
            await service.sessions.open(session_id, tenant="default")
        await service.sessions.delete(session_id, tenant="default")
        with pytest.raises(SessionNotFoundError):
            await service.sessions.open(session_id, tenant="default")
        health = service.health()

    assert (health.tenants.asked, health.sessions.deleted) == (1, 1)


async def test_create_cancelled_at_every_checkpoint_gives_its_request_back() -> None:
    store = SlowStore(clock=VirtualClock())
    async with opened({"a": Answering()}, limited(100), session_store=nullcontext(store)) as service:

        async def scenario() -> None:
            await service.sessions.create(tenant="default")

        async def check() -> None:
            health = service.health()
            assert_nothing_is_held(health)
            assert health.tenants.settled == health.sessions.created == len(told(service, SessionCreated))

        checkpoints = await sweep_cancellation(scenario, check)
        health = service.health()

    assert checkpoints >= 1
    assert (health.sessions.created, health.tenants.cancelled) == (1, checkpoints)


async def test_create_while_draining_is_refused_and_what_is_there_can_be_read_and_ended() -> None:
    async with opened({"a": Answering()}) as service:
        session_id = await service.sessions.create(tenant="default")
        await service.drain(0.0)
        with pytest.raises(ClosedError):
            await service.sessions.create(tenant="default")
        kept = await service.sessions.open(session_id, tenant="default")
        await service.sessions.delete(session_id, tenant="default")
        health = service.health()

    assert kept.head.session_id == session_id
    assert (health.sessions.created, health.sessions.deleted) == (1, 1)
