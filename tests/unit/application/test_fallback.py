"""Falling back from one backend to the next, at the edges that `test_orchestrator` does not reach."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from dependency_injector import providers

from holdfast.adapters.inference import Answer, Fault, ScriptedBackend, SharedBackendProvider, in_turn
from holdfast.application.container import Backend, Container
from holdfast.application.settings import GuardSettings, Settings
from holdfast.application.wiring import open_container
from holdfast.domain.retry_policy import RetryPolicy
from holdfast.ports.errors import BackendUnavailableError
from holdfast.ports.inference import Message, Role
from holdfast.ports.service import Request
from holdfast.testing import VirtualClock

pytestmark = pytest.mark.anyio


def contained(*backends: ScriptedBackend) -> Container:
    settings = Settings(guard=GuardSettings(retry=RetryPolicy(max_attempts=1)))
    container = Container(settings=providers.Object(settings))
    container.clock.override(providers.Object(VirtualClock()))
    container.retriever.override(providers.Object(nullcontext()))
    guarded = {
        str(number): Backend(provider=SharedBackendProvider(backend), guard=settings.guard)
        for number, backend in enumerate(backends)
    }
    container.backends.override(providers.Object(guarded))
    return container


async def test_submit_failure_with_no_time_left_asks_no_other_backend() -> None:
    late = Fault(error=BackendUnavailableError("too late", backend="0"), delay_s=4.9995)
    first = ScriptedBackend("0", in_turn(late), clock=VirtualClock())
    second = ScriptedBackend("1", in_turn(Answer(text="never asked")), clock=VirtualClock())

    async with open_container(contained(first, second)) as service:
        with pytest.raises(BackendUnavailableError, match="too late"):
            await service.submit(Request(messages=(Message(role=Role.USER, content="why?"),), timeout_s=5.0))

    assert (first.calls, second.calls) == (1, 0)
