"""A service whose block was left let requests in, up to whatever part of it was closed first, and named that part."""

from __future__ import annotations

import pytest

from holdfast import Message, Orchestrator, Request, Role, Settings, open_orchestrator
from holdfast.ports.errors import ClosedError

pytestmark = pytest.mark.anyio

REQUEST = Request(messages=(Message(role=Role.USER, content="is anybody there?"),))


async def left() -> Orchestrator:
    async with open_orchestrator(Settings()) as orchestrator:
        await orchestrator.submit(REQUEST)
    return orchestrator


async def test_submit_to_a_service_that_was_left_is_refused_at_the_door() -> None:
    orchestrator = await left()

    with pytest.raises(ClosedError, match=r"^the orchestrator is closed"):
        await orchestrator.submit(REQUEST)


async def test_conversation_in_a_service_that_was_left_is_not_begun() -> None:
    orchestrator = await left()

    with pytest.raises(ClosedError, match=r"^the orchestrator is closed"):
        await orchestrator.sessions.create(tenant="default")
