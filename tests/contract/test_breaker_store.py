"""The contract of shared circuit breakers, held in memory and by Redis."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import pytest

from holdfast.adapters.memory.breakers import MemoryBreakers
from holdfast.adapters.redis.breakers import RedisBreakers
from holdfast.ports.breaker_store import BreakerStore
from holdfast.testing import ManualClock
from holdfast.testing.contracts.breaker_store import BreakerStoreContract
from tests.fakes.redis_clock import open_redis_at
from tests.fakes.redis_server import RedisServer


class TestMemoryBreakers(BreakerStoreContract):
    histories = 400

    def open_store(self, clock: ManualClock) -> AbstractAsyncContextManager[BreakerStore]:
        return nullcontext(MemoryBreakers(clock=clock))


@pytest.mark.real_time
class TestRedisBreakers(BreakerStoreContract):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture(autouse=True)
    def _server(self, _begin: None, redis_server: RedisServer) -> None:
        self.server = redis_server

    def open_store(self, clock: ManualClock) -> AbstractAsyncContextManager[BreakerStore]:
        return self._open(clock)

    @asynccontextmanager
    async def _open(self, clock: ManualClock) -> AsyncGenerator[BreakerStore]:
        async with open_redis_at(self.server, clock) as store:
            yield RedisBreakers(store)
