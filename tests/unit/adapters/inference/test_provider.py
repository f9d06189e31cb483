from __future__ import annotations

import anyio
import pytest

from holdfast.adapters.inference.provider import SharedBackendProvider
from holdfast.adapters.inference.scripted import Answer, ScriptedBackend, in_turn
from holdfast.domain.pool import AsyncResourcePool, PoolConfig
from holdfast.ports.inference import Prompt
from holdfast.testing import VirtualClock

pytestmark = pytest.mark.anyio

PROMPT = Prompt(messages=())


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend("b", in_turn(Answer(text="yes", delay_s=1.0)), clock=VirtualClock())


async def test_create_every_time_gives_the_same_backend(backend: ScriptedBackend) -> None:
    provider = SharedBackendProvider(backend)

    assert await provider.create() is await provider.create() is backend


async def test_used_and_closed_instance_goes_on_serving(backend: ScriptedBackend) -> None:
    provider = SharedBackendProvider(backend)
    instance = await provider.create()

    await provider.reset(instance)
    await provider.close(instance)

    assert await provider.validate(instance)
    assert (await instance.complete(PROMPT)).text == "yes"


async def test_validate_another_backend_says_no(backend: ScriptedBackend) -> None:
    other = ScriptedBackend.repeating("other", "no", clock=VirtualClock())

    assert not await SharedBackendProvider(backend).validate(other)


async def test_pool_of_a_shared_backend_bounds_its_calls_and_survives_cancelled_ones(backend: ScriptedBackend) -> None:
    provider = SharedBackendProvider(backend)

    async with AsyncResourcePool(
        "shared", provider, PoolConfig(max_size=2), clock=VirtualClock(), random=lambda: 0.5
    ) as pool:

        async def ask(timeout_s: float) -> None:
            with anyio.move_on_after(timeout_s):
                async with pool.lease() as lease:
                    await lease.resource.complete(PROMPT)

        async with anyio.create_task_group() as tasks:
            for timeout_s in (0.5, 0.5, 10.0, 10.0, 10.0):
                tasks.start_soon(ask, timeout_s)
                await anyio.wait_all_tasks_blocked()
        statistics = pool.statistics()

    assert (backend.calls, backend.peak_in_flight, backend.in_flight) == (5, 2, 0)
    assert (statistics.leased, statistics.created) == (0, 2)
