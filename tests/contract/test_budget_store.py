from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import pytest

from holdfast.adapters.memory.budgets import MemoryBudgets
from holdfast.adapters.redis.budgets import RedisBudgets
from holdfast.ports.budget_store import BudgetStore
from holdfast.ports.clock import Clock
from holdfast.testing.contracts.budget_store import BudgetStoreContract
from tests.fakes.redis_clock import open_redis_at
from tests.fakes.redis_server import RedisServer


class TestMemoryBudgets(BudgetStoreContract):
    def open_store(self, clock: Clock) -> AbstractAsyncContextManager[BudgetStore]:
        return nullcontext(MemoryBudgets(clock=clock))


@pytest.mark.real_time
class TestRedisBudgets(BudgetStoreContract):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture(autouse=True)
    def _server(self, _begin: None, redis_server: RedisServer) -> None:
        self.server = redis_server

    def open_store(self, clock: Clock) -> AbstractAsyncContextManager[BudgetStore]:
        return self._open(clock)

    @asynccontextmanager
    async def _open(self, clock: Clock) -> AsyncGenerator[BudgetStore]:
        async with open_redis_at(self.server, clock) as store:
            yield RedisBudgets(store)
