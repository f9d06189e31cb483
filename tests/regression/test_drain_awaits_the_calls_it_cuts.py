"""Draining said that the service was closed while calls that it had cut were still on their way out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from holdfast.application.orchestrator import Orchestrator
from holdfast.ports.errors import ClosedError
from holdfast.ports.inference import Completion, Prompt
from holdfast.ports.service import Request
from holdfast.ports.statistics import ServiceState
from tests.fakes.service import ask, opened

pytestmark = pytest.mark.anyio


class SlowToLeave:
    """Never answers, and takes a second to clean up behind a call that was cancelled."""

    async def complete(self, prompt: Prompt) -> Completion:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1.0)
        raise AssertionError


async def submit(service: Orchestrator, request: Request) -> None:
    with pytest.raises(ClosedError):
        await service.submit(request)


async def read(service: Orchestrator, request: Request) -> None:
    with pytest.raises(ClosedError):
        async with service.stream(request) as stream:
            await stream.reply()


@pytest.mark.parametrize("caller", [submit, read])
@pytest.mark.parametrize("no_cache", [False, True])
async def test_drain_that_cuts_a_call_returns_when_the_call_has_ended(
    caller: Callable[[Orchestrator, Request], Awaitable[None]], no_cache: bool
) -> None:
    async with opened({"a": SlowToLeave()}) as service, anyio.create_task_group() as tasks:
        tasks.start_soon(caller, service, ask(no_cache=no_cache))
        await anyio.sleep(1.0)

        await service.drain(2.0)

        health = service.health()
    backend = health.backends[0]
    assert health.state is ServiceState.CLOSED
    assert (health.admission.limit.in_flight, backend.breaker.in_flight, backend.pool.leased) == (0, 0, 0)
