"""The contract of shared circuit breakers, held in memory, by SQLite and by Redis."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path

import pytest

from holdfast.adapters.memory.breakers import MemoryBreakers
from holdfast.adapters.redis.breakers import RedisBreakers
from holdfast.adapters.sqlite.breakers import SqliteBreakers
from holdfast.adapters.sqlite.shared_store import SqliteStore
from holdfast.ports.breaker_store import BreakerStore
from holdfast.testing import ManualClock
from holdfast.testing.contracts.breaker_store import BreakerStoreContract
from tests.fakes.redis_clock import InRedis


class TestMemoryBreakers(BreakerStoreContract):
    histories = 400

    def open_store(self, clock: ManualClock) -> AbstractAsyncContextManager[BreakerStore]:
        return nullcontext(MemoryBreakers(clock=clock))


@pytest.mark.real_time
class TestSqliteBreakers(BreakerStoreContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "shared.sqlite"

    def open_store(self, clock: ManualClock) -> AbstractAsyncContextManager[BreakerStore]:
        return self._open(clock)

    @asynccontextmanager
    async def _open(self, clock: ManualClock) -> AsyncGenerator[BreakerStore]:
        async with SqliteStore(self.path, clock=clock) as store:
            yield SqliteBreakers(store)


class TestRedisBreakers(InRedis[BreakerStore], BreakerStoreContract):
    make = RedisBreakers
