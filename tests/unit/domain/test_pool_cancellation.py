"""A cancel at every checkpoint of everything that waits in a pool."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from holdfast.domain.pool import AsyncResourcePool, PoolConfig
from holdfast.ports.statistics import PoolStatistics
from holdfast.testing import VirtualClock, sweep_cancellation
from tests.fakes.resource import FakeProvider, Thing

pytestmark = pytest.mark.anyio


async def _checkpoints() -> None:
    for _ in range(3):
        await anyio.lowlevel.checkpoint()


def _provider(*, resettable: bool = False) -> FakeProvider:
    provider = FakeProvider(resettable=resettable)
    provider.on_create = provider.on_validate = provider.on_reset = provider.on_close = _checkpoints
    return provider


def _pool(provider: FakeProvider, config: PoolConfig) -> AsyncResourcePool[Thing]:
    return AsyncResourcePool("swept", provider, config, clock=VirtualClock(), random=random.Random(2).random)


def _balanced(now: PoolStatistics) -> bool:
    return (
        now.created == now.closed + now.leased + now.idle + now.closing
        and now.leased + now.idle + now.creating + now.closing <= now.max_size
    )


async def _sweep_users(
    provider: FakeProvider,
    config: PoolConfig,
    prepare: Callable[[AsyncResourcePool[Thing]], Coroutine[Any, Any, None]],
    scenario: Callable[[AsyncResourcePool[Thing]], Coroutine[Any, Any, None]],
) -> int:
    """Cancel `scenario` at each checkpoint; afterwards nothing may be out, and everyone must still be served."""
    async with _pool(provider, config) as pool:
        await prepare(pool)

        async def check() -> None:
            await anyio.sleep(0.01)
            now = pool.statistics()
            assert (now.leased, now.creating, now.closing, now.waiting) == (0, 0, 0, 0)
            assert now.timeouts == now.refused == now.failures == 0
            assert _balanced(now)
            with anyio.fail_after(1.0):
                async with anyio.create_task_group() as tasks:
                    for _ in range(config.max_size):
                        tasks.start_soon(_use, pool)
            await prepare(pool)

        checkpoints = await sweep_cancellation(lambda: scenario(pool), check)
    assert [thing.closings for thing in provider.made] == [1] * len(provider.made)
    assert provider.overlaps == []
    return checkpoints


async def _use(pool: AsyncResourcePool[Thing]) -> None:
    async with pool.lease():
        await anyio.lowlevel.checkpoint()


async def _let_idle(pool: AsyncResourcePool[Thing]) -> None:
    await anyio.sleep(1.0)


async def _empty(pool: AsyncResourcePool[Thing]) -> None:
    pool.expire_all()
    await anyio.sleep(0.01)


async def test_sweep_caller_who_waits_for_a_new_resource_leaves_nothing_behind() -> None:
    checkpoints = await _sweep_users(_provider(), PoolConfig(max_size=2), _empty, _use)

    assert checkpoints >= 2


@pytest.mark.parametrize("resettable", [False, True])
async def test_sweep_caller_who_waits_for_a_validation_leaves_nothing_behind(resettable: bool) -> None:
    provider = _provider(resettable=resettable)

    checkpoints = await _sweep_users(provider, PoolConfig(max_size=2), _let_idle, _use)

    assert checkpoints >= 2
    assert sum(thing.validations for thing in provider.made) > 0


async def test_sweep_caller_who_waits_for_a_reset_leaves_nothing_behind() -> None:
    provider = _provider(resettable=True)

    async def discard_then_use(pool: AsyncResourcePool[Thing]) -> None:
        (pool.lease_nowait() or await pool.acquire()).discard()
        await _use(pool)

    checkpoints = await _sweep_users(provider, PoolConfig(max_size=1), _let_idle, discard_then_use)

    assert checkpoints >= 2
    assert sum(thing.resets for thing in provider.made) > 0


async def test_sweep_caller_in_line_behind_others_leaves_nothing_behind() -> None:
    async def crowd(pool: AsyncResourcePool[Thing]) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(_use, pool)
            await _use(pool)

    checkpoints = await _sweep_users(_provider(), PoolConfig(max_size=1), _let_idle, crowd)

    assert checkpoints >= 2


@pytest.mark.parametrize("cancel_first", [False, True])
async def test_sweep_caller_cancelled_as_it_is_served_passes_the_resource_on(cancel_first: bool) -> None:
    async def hand_over(pool: AsyncResourcePool[Thing]) -> None:
        lease = pool.lease_nowait() or await pool.acquire()
        scope = anyio.CancelScope()

        async def wait_in_line() -> None:
            with scope:
                await _use(pool)

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait_in_line)
                await anyio.sleep(0.001)
                for step in (scope.cancel, lease.release) if cancel_first else (lease.release, scope.cancel):
                    step()
        finally:
            lease.release()

    checkpoints = await _sweep_users(_provider(), PoolConfig(max_size=1), _let_idle, hand_over)

    assert checkpoints >= 2


@pytest.mark.parametrize("resettable", [False, True])
async def test_sweep_owner_of_the_pool_closes_every_resource_once(resettable: bool) -> None:
    """The cancel strikes the owner, and with it what is being made, validated, reset or closed at that moment."""
    pools: list[AsyncResourcePool[Thing]] = []
    providers: list[FakeProvider] = []

    async def own() -> None:
        provider = _provider(resettable=resettable)
        pool = _pool(provider, PoolConfig(max_size=3, min_size=2, close_timeout_s=0.5))
        pools.append(pool)
        providers.append(provider)
        async with pool, anyio.create_task_group() as tasks:
            tasks.start_soon(_use, pool)
            await _use(pool)
            await anyio.sleep(1.0)
            (await pool.acquire()).discard()
            for _ in range(4):
                tasks.start_soon(_use, pool)
            pool.expire_all()
            await anyio.lowlevel.checkpoint()

    async def check() -> None:
        now = pools[-1].statistics()
        assert (now.leased, now.idle, now.creating, now.closing, now.waiting) == (0, 0, 0, 0, 0)
        assert now.created == now.closed == len(providers[-1].made)
        assert [thing.closings for thing in providers[-1].made] == [1] * now.created
        assert now.failures == 0

    checkpoints = await sweep_cancellation(own, check)

    assert checkpoints >= 5


@pytest.mark.parametrize("stage", ["create", "validate", "reset", "close"])
@pytest.mark.parametrize("ticks", range(6))
async def test_owner_cancelled_in_the_midst_of_a_job_closes_every_resource_once(stage: str, ticks: int) -> None:
    provider = _provider(resettable=stage == "reset")
    pool = _pool(provider, PoolConfig(max_size=1))

    with anyio.CancelScope() as scope:
        async with pool, anyio.create_task_group() as tasks:
            if stage != "create":
                await _use(pool)
                await anyio.sleep(1.0 if stage == "validate" else 0.0)
            if stage in {"reset", "close"}:
                (await pool.acquire()).discard()
            tasks.start_soon(_use, pool)
            for _ in range(ticks):
                await anyio.lowlevel.checkpoint()
            scope.cancel()
            await anyio.sleep_forever()
    now = pool.statistics()

    assert scope.cancelled_caught
    assert (now.leased, now.idle, now.creating, now.closing, now.waiting) == (0, 0, 0, 0, 0)
    assert [thing.closings for thing in provider.made] == [1] * now.created
    assert provider.overlaps == []
