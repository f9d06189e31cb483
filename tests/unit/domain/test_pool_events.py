"""What a pool tells of its decisions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from holdfast.domain.pool import AsyncResourcePool, PoolConfig
from holdfast.ports.errors import AttemptTimeoutError, PoolExhaustedError, PoolTimeoutError
from holdfast.ports.events import LeaseLeaked, PoolRefused, ResourceFailed
from holdfast.ports.statistics import PoolStatistics
from holdfast.testing import VirtualClock
from tests.fakes.events import Listener
from tests.fakes.resource import FakeProvider, Thing

pytestmark = pytest.mark.anyio


@pytest.fixture
def told() -> Listener:
    return Listener()


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider(resettable=True)


def pool_of(provider: FakeProvider, told: Listener, config: PoolConfig) -> AsyncResourcePool[Thing]:
    return AsyncResourcePool("things", provider, config, clock=VirtualClock(), random=lambda: 0.5, events=told)


def raising(error: Exception) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        raise error

    return work


async def test_lease_and_return_tell_nothing(provider: FakeProvider, told: Listener) -> None:
    async with pool_of(provider, told, PoolConfig()) as pool:
        for _ in range(3):
            async with pool.lease():
                pass

    assert told.heard == []


async def test_acquire_when_the_line_is_full_tells_a_refusal_at_once(provider: FakeProvider, told: Listener) -> None:
    config = PoolConfig(max_size=1, max_waiters=1)
    async with pool_of(provider, told, config) as pool, pool.lease(), anyio.create_task_group() as tasks:
        tasks.start_soon(pool.acquire)
        await anyio.sleep(1.0)
        with pytest.raises(PoolExhaustedError):
            await pool.acquire()
        tasks.cancel_scope.cancel()

    assert told.heard == [PoolRefused(pool="things", waiting=1, waited_s=0.0)]


async def test_acquire_that_waits_too_long_tells_how_long_it_waited(provider: FakeProvider, told: Listener) -> None:
    seen: list[PoolStatistics] = []
    async with pool_of(provider, told, PoolConfig(max_size=1, acquire_timeout_s=2.0)) as pool, pool.lease():
        told.then = lambda: seen.append(pool.statistics())
        with pytest.raises(PoolTimeoutError):
            await pool.acquire()

    assert told.heard == [PoolRefused(pool="things", waiting=0, waited_s=2.0)]
    assert [(statistics.waiting, statistics.timeouts) for statistics in seen] == [(0, 1)]


async def test_acquire_that_is_cancelled_tells_nothing(provider: FakeProvider, told: Listener) -> None:
    async with pool_of(provider, told, PoolConfig(max_size=1)) as pool, pool.lease():
        with anyio.move_on_after(1.0):
            await pool.acquire()

    assert told.heard == []


async def test_resource_that_cannot_be_made_tells_why(provider: FakeProvider, told: Listener) -> None:
    provider.on_create = raising(ConnectionRefusedError())
    seen: list[PoolStatistics] = []
    async with pool_of(provider, told, PoolConfig()) as pool:
        told.then = lambda: seen.append(pool.statistics())
        with pytest.raises(ConnectionRefusedError):
            await pool.acquire()

    assert told.heard == [ResourceFailed(pool="things", operation="create", error="ConnectionRefusedError")]
    assert [(statistics.creating, statistics.waiting, statistics.failures) for statistics in seen] == [(0, 0, 1)]


async def test_resource_that_takes_too_long_to_make_tells_a_timeout(provider: FakeProvider, told: Listener) -> None:
    provider.on_create = anyio.sleep_forever
    async with pool_of(provider, told, PoolConfig(create_timeout_s=1.0)) as pool:
        with pytest.raises(AttemptTimeoutError):
            await pool.acquire()

    assert told.heard[0] == ResourceFailed(pool="things", operation="create", error="AttemptTimeoutError")


async def test_resource_that_cannot_be_validated_tells_why(provider: FakeProvider, told: Listener) -> None:
    provider.on_validate = raising(OSError())
    async with pool_of(provider, told, PoolConfig(validate_after_idle_s=0.5)) as pool:
        for _ in range(2):
            async with pool.lease():
                pass
            await anyio.sleep(1.0)

    assert told.heard == [ResourceFailed(pool="things", operation="validate", error="OSError")]


async def test_resource_that_is_no_longer_good_tells_nothing(provider: FakeProvider, told: Listener) -> None:
    provider.is_good = lambda thing: False
    async with pool_of(provider, told, PoolConfig(validate_after_idle_s=0.5)) as pool:
        for _ in range(2):
            async with pool.lease():
                pass
            await anyio.sleep(1.0)

    assert told.heard == []


async def test_resource_that_cannot_be_reset_or_closed_tells_why(provider: FakeProvider, told: Listener) -> None:
    provider.on_reset = raising(OSError())
    provider.on_close = raising(BrokenPipeError())
    async with pool_of(provider, told, PoolConfig()) as pool:
        (await pool.acquire()).discard()
        await anyio.sleep(1.0)

    assert told.heard == [
        ResourceFailed(pool="things", operation="reset", error="OSError"),
        ResourceFailed(pool="things", operation="close", error="BrokenPipeError"),
    ]


async def test_lease_that_is_held_too_long_is_told_once_with_its_time(provider: FakeProvider, told: Listener) -> None:
    async with pool_of(provider, told, PoolConfig(leak_warning_s=60.0)) as pool:
        with pytest.warns(ResourceWarning):
            async with pool.lease():
                await anyio.sleep(200.0)

    [leak] = told.heard
    assert isinstance(leak, LeaseLeaked)
    assert leak.pool == "things"
    assert 60.0 <= leak.held_s <= 65.0
