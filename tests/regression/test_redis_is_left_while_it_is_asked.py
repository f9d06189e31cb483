"""A store that was left by a cancellation while a question was under way left its connections open."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from holdfast.adapters.redis import RedisConfig, RedisServer, RedisStore
from holdfast.adapters.redis.address import ClientOptions

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


class Silent:
    """A client that hears nothing, and takes a moment to close."""

    def __init__(self) -> None:
        self.asked = anyio.Event()
        self.is_closed = False

    async def execute_command(self, *_: str | bytes | int) -> object:
        self.asked.set()
        await anyio.sleep_forever()
        return None

    async def aclose(self) -> None:
        await anyio.sleep(0.01)
        self.is_closed = True


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Silent:
    client = Silent()

    def connect(_: RedisServer, __: ClientOptions) -> Silent:
        return client

    monkeypatch.setattr(RedisServer, "connect", connect)
    return client


async def ask() -> None:
    async with RedisStore(RedisConfig()) as store:
        await store.epoch()


async def test_store_that_is_cancelled_while_it_is_asked_closes_its_connections(client: Silent) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await client.asked.wait()
        tasks.cancel_scope.cancel()

    assert client.is_closed


async def test_store_that_asyncio_cancels_while_it_is_asked_closes_its_connections(client: Silent) -> None:
    asked = asyncio.get_running_loop().create_task(ask())
    await client.asked.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked

    assert client.is_closed
