"""The contract of sessions, held by Redis."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from holdfast.adapters.redis.sessions import RedisSessions
from holdfast.ports.clock import Clock
from holdfast.ports.session import SessionStore
from holdfast.testing.contracts.session_store import SessionStoreContract
from tests.fakes.redis_clock import open_redis_at
from tests.fakes.redis_server import RedisServer


@pytest.mark.real_time
class TestRedisSessions(SessionStoreContract):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture(autouse=True)
    def _server(self, _begin: None, redis_server: RedisServer) -> None:
        self.server = redis_server

    def open_store(self, clock: Clock) -> AbstractAsyncContextManager[SessionStore]:
        return self._open(clock)

    @asynccontextmanager
    async def _open(self, clock: Clock) -> AsyncGenerator[SessionStore]:
        async with open_redis_at(self.server, clock) as store:
            yield RedisSessions(store)
