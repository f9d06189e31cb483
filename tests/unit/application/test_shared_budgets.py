"""Retry budgets that services share, met by requests that go through `Orchestrator.submit`."""

from __future__ import annotations

from contextlib import AsyncExitStack, nullcontext

import anyio
import pytest

from holdfast.adapters.memory.budgets import MemoryBudgets
from holdfast.application.settings import GuardSettings, Settings
from holdfast.application.shared_stores import SharedStores
from holdfast.domain.breaker_config import BreakerConfig
from holdfast.domain.retry_policy import RetryPolicy
from holdfast.ports.errors import BackendUnavailableError
from holdfast.testing import VirtualClock
from tests.fakes.rates import FaultyRates
from tests.fakes.service import Answering, ask_anew, assert_nothing_is_held, opened, unavailable

pytestmark = pytest.mark.anyio

PATIENT = Settings(
    guard=GuardSettings(
        retry=RetryPolicy(max_attempts=3, base_delay_s=0.001),
        breaker=BreakerConfig(failures_in_row=None, min_calls=1_000_000),
    )
)


async def test_submit_to_four_services_of_a_backend_that_always_fails_keeps_to_one_budget() -> None:
    backend, clock = Answering(failing=unavailable), VirtualClock()
    place, budgets, requests = FaultyRates(clock=clock), MemoryBudgets(clock=clock), 0
    async with AsyncExitStack() as stack:
        them = [
            await stack.enter_async_context(
                opened({"a": backend}, PATIENT, shared_stores=nullcontext(SharedStores(store=place, budgets=budgets)))
            )
            for _ in range(4)
        ]
        await anyio.sleep(1.0)
        for _ in range(100):
            for service in them:
                requests += 1
                with pytest.raises(BackendUnavailableError):
                    await service.submit(ask_anew())
            await anyio.sleep(0.05)
        health = [service.health() for service in them]

        assert 1.15 * requests <= backend.calls <= 1.2 * requests + 4
        assert [found.shared_budgets.processes for found in health if found.shared_budgets] == [4] * 4
        for service in them:
            assert_nothing_is_held(service.health())


async def test_health_without_a_store_says_nothing_of_shared_budgets() -> None:
    async with opened({"a": Answering()}) as service:
        assert service.health().shared_budgets is None
