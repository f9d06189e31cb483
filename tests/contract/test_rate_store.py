from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from holdfast.adapters.memory.rates import MemoryRates
from holdfast.adapters.redis.rates import RedisRates
from holdfast.ports.clock import Clock
from holdfast.ports.rate_store import RateStore
from holdfast.testing.contracts.rate_store import RateStoreContract
from tests.fakes.redis_clock import InRedis


class TestMemoryRates(RateStoreContract):
    histories = 100

    def open_store(self, clock: Clock) -> AbstractAsyncContextManager[RateStore]:
        return nullcontext(MemoryRates(clock=clock))


class TestRedisRates(InRedis[RateStore], RateStoreContract):
    make = RedisRates
