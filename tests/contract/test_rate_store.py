from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import pytest

from holdfast.adapters.memory.rates import MemoryRates
from holdfast.adapters.redis.rates import RedisRates
from holdfast.ports.clock import Clock
from holdfast.ports.rate_store import RateStore
from holdfast.testing.contracts.rate_store import RateStoreContract
from tests.fakes.redis_clock import open_redis_at
from tests.fakes.redis_server import RedisServer


class TestMemoryRates(RateStoreContract):
    histories = 100

    def open_store(self, clock: Clock) -> AbstractAsyncContextManager[RateStore]:
        return nullcontext(MemoryRates(clock=clock))


@pytest.mark.real_time
class TestRedisRates(RateStoreContract):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture(autouse=True)
    def _server(self, _begin: None, redis_server: RedisServer) -> None:
        self.server = redis_server

    def open_store(self, clock: Clock) -> AbstractAsyncContextManager[RateStore]:
        return self._open(clock)

    @asynccontextmanager
    async def _open(self, clock: Clock) -> AsyncGenerator[RateStore]:
        async with open_redis_at(self.server, clock) as store:
            yield RedisRates(store)
