"""A Redis whose scripts read the time of a test."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Generic, TypeVar

import pytest
import redis

from holdfast.adapters.redis.address import RedisServer as Address
from holdfast.adapters.redis.store import RedisConfig, RedisStore
from holdfast.ports.clock import Clock
from tests.fakes.redis_server import RedisServer

__all__ = ["InRedis", "open_redis", "open_redis_at"]

T = TypeVar("T")

_KEY = "the time of the test"


class _Timed(RedisStore):
    """Says what the time is before each script."""

    def __init__(self, config: RedisConfig, clock: Clock, client: redis.Redis) -> None:
        super().__init__(config, time=f"local now_us = tonumber(redis.call('GET', '{_KEY}'))")
        self._clock = clock
        self._blocking = client

    async def run(self, script: str, *, keys: Sequence[str], args: Sequence[str | bytes | int] = ()) -> list[bytes]:
        self._blocking.set(_KEY, round(self._clock.monotonic_s() * 1e6))
        return await super().run(script, keys=keys, args=args)


def _config(server: RedisServer) -> RedisConfig:
    return RedisConfig(
        address=Address(port=server.port), password=server.password, command_timeout_s=5.0, connect_timeout_s=5.0
    )


@asynccontextmanager
async def open_redis(server: RedisServer) -> AsyncGenerator[RedisStore]:
    """Give the server as it is."""
    async with RedisStore(_config(server)) as store:
        yield store


@asynccontextmanager
async def open_redis_at(server: RedisServer, clock: Clock) -> AsyncGenerator[RedisStore]:
    """Give the server with `clock` in place of its own."""
    with server.client() as client:
        async with _Timed(_config(server), clock, client) as store:
            yield store


class InRedis(Generic[T]):
    """What the contract of each kind of state needs to be held by a real Redis: derive from this, then from that.

    Attributes:
        make: returns what keeps the state in an open store.
    """

    pytestmark = pytest.mark.real_time
    make: Callable[[RedisStore], T]

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture(autouse=True)
    def _server(self, _begin: None, redis_server: RedisServer) -> None:
        self.server = redis_server

    def open_store(self, clock: Clock) -> AbstractAsyncContextManager[T]:
        return self._open(clock)

    @asynccontextmanager
    async def _open(self, clock: Clock) -> AsyncGenerator[T]:
        async with open_redis_at(self.server, clock) as store:
            yield self.make(store)
