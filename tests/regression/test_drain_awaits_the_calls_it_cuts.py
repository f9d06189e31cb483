"""Draining said that the service was closed while calls that it had cut were still on their way out."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

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

    def __init__(self) -> None:
        self.running = 0

    async def complete(self, prompt: Prompt) -> Completion:
        self.running += 1
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1.0)
            self.running -= 1
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
    caller: Callable[[Orchestrator, Request], Coroutine[Any, Any, None]], no_cache: bool
) -> None:
    backend = SlowToLeave()
    async with opened({"a": backend}) as service, anyio.create_task_group() as tasks:
        tasks.start_soon(caller, service, ask(no_cache=no_cache))
        await anyio.sleep(1.0)

        await service.drain(2.0)

        health = service.health()
    assert health.state is ServiceState.CLOSED
    assert (backend.running, health.admission.limit.in_flight, health.backends[0].breaker.in_flight) == (0, 0, 0)
