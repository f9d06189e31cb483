"""The wired path under cancellation and faults: afterwards every count is back where it was."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import anyio
import pytest

from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import GuardSettings, Settings
from holdfast.domain.admission import AdmissionConfig
from holdfast.domain.pool import PoolConfig
from holdfast.ports.errors import BackendThrottledError, BackendUnavailableError, HoldfastError
from holdfast.ports.inference import Completion, Prompt
from holdfast.ports.service import Priority
from holdfast.testing import sweep_cancellation
from tests.fakes import service
from tests.fakes.service import Shelf, ask, assert_nothing_is_held

pytestmark = pytest.mark.anyio

SETTLE_S = 100.0
"""Longer than whatever still runs in the background after the last caller has gone."""


class Flaky:
    """Takes its time, and fails, pushes back or hangs by chance."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    async def complete(self, prompt: Prompt) -> Completion:
        fate = self._chance.random()
        await anyio.sleep(1000.0 if fate < 0.05 else self._chance.uniform(0.0, 2.0))
        if fate < 0.25:
            raise BackendUnavailableError("by chance", backend="flaky")
        if fate < 0.3:
            raise BackendThrottledError(backend="flaky", retry_after_s=1.0)
        return Completion(text=prompt.messages[-1].content, model="flaky-1")


def opened(chance: random.Random, settings: Settings | None = None) -> AbstractAsyncContextManager[Orchestrator]:
    backends = {name: Flaky(chance) for name in ("one", "two")}
    return service.opened(backends, settings, random=chance.random, retriever=Shelf(delay_s=0.1))


@pytest.mark.slow
async def test_submit_cancelled_at_every_checkpoint_leaves_nothing_behind() -> None:
    chance = random.Random(1)
    async with opened(chance) as orchestrator:
        numbers = iter(range(10_000))

        async def scenario() -> None:
            await orchestrator.submit(ask(f"question {next(numbers)}"))

        async def check() -> None:
            await anyio.sleep(SETTLE_S)
            assert_nothing_is_held(orchestrator.health())

        checkpoints = await sweep_cancellation(scenario, check)

    assert checkpoints >= 1


@pytest.mark.slow
async def test_submit_opting_out_cancelled_at_every_checkpoint_leaves_nothing_behind() -> None:
    chance = random.Random(2)
    async with opened(chance) as orchestrator:

        async def scenario() -> None:
            await orchestrator.submit(replace(ask("question"), no_cache=True))

        async def check() -> None:
            await anyio.sleep(SETTLE_S)
            assert_nothing_is_held(orchestrator.health())

        checkpoints = await sweep_cancellation(scenario, check)

    assert checkpoints >= 3  # retrieval, the pool, the backend: this path runs in the caller's own task


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_submit_storm_of_faults_and_cancellations_every_count_comes_back(seed: int) -> None:
    chance = random.Random(seed)
    settings = Settings(
        max_in_flight=5,
        admission=AdmissionConfig(max_waiting=30),
        guard=GuardSettings(attempt_timeout_s=5.0, pool=PoolConfig(max_size=3, max_waiters=5, acquire_timeout_s=2.0)),
    )
    ends: Counter[str] = Counter()
    async with opened(chance, settings) as orchestrator:

        async def caller() -> None:
            await anyio.sleep(chance.uniform(0.0, 60.0))
            request = replace(
                ask(f"question {chance.randrange(40)}"),
                priority=chance.choice(list(Priority)),
                timeout_s=chance.uniform(1.0, 30.0),
                no_cache=chance.random() < 0.2,
            )
            with anyio.move_on_after(chance.uniform(0.0, 20.0) if chance.random() < 0.3 else 1000.0) as scope:
                try:
                    reply = await orchestrator.submit(request)
                except HoldfastError as error:
                    ends[type(error).__name__] += 1
                else:
                    assert reply.text == request.messages[0].content
                    ends["answered"] += 1
            ends["cancelled"] += scope.cancelled_caught

        async with anyio.create_task_group() as tasks:
            for _ in range(500):
                tasks.start_soon(caller)
        await anyio.sleep(SETTLE_S)
        health = orchestrator.health()

    assert sum(ends.values()) == 500, f"seed {seed}: {ends}"
    assert ends["answered"] > 0, f"seed {seed}: {ends}"
    assert ends["cancelled"] > 0, f"seed {seed}: {ends}"
    assert_nothing_is_held(health)
