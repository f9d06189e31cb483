"""The contract of stores that processes share, held by Redis."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest

from holdfast.ports.shared_store import SharedStore
from holdfast.testing.contracts.shared_store import SharedStoreContract
from tests.fakes.redis_clock import open_redis
from tests.fakes.redis_server import RedisServer


@pytest.mark.real_time
class TestRedisStore(SharedStoreContract):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer) -> None:
        self.server = redis_server

    def open_store(self) -> AbstractAsyncContextManager[SharedStore]:
        return open_redis(self.server)

    async def lose_everything(self) -> None:
        self.server.empty()
