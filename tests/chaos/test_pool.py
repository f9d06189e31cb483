"""Many users who come, are cancelled, time out and fail, over a provider that does all of that too."""

from __future__ import annotations

import math
import random

import anyio
import pytest

from holdfast.domain.pool import AsyncResourcePool, PoolConfig
from holdfast.ports.errors import AttemptTimeoutError, PoolExhaustedError, PoolTimeoutError
from holdfast.testing import VirtualClock
from tests.fakes.resource import FakeProvider, Thing

pytestmark = pytest.mark.anyio

USERS = 60
TURNS = 10


class UnreliableProvider(FakeProvider):
    """Fails, hangs or finds a resource bad now and then, until it is told to behave."""

    def __init__(self, chance: random.Random, *, resettable: bool) -> None:
        super().__init__(resettable=resettable)
        self._chance = chance
        self.behaves = False
        self.is_good = lambda thing: self.behaves or chance.random() < 0.7
        self.on_create = self.on_validate = self.on_reset = self.on_close = self._misbehave

    async def _misbehave(self) -> None:
        luck = 1.0 if self.behaves else self._chance.random()
        if luck < 0.05:
            await anyio.sleep(math.inf)
        await anyio.sleep(self._chance.choice([0.0, 0.01, 0.3]))
        if luck < 0.25:
            raise ConnectionResetError("chaos")


class Watch:
    """What the users themselves see."""

    def __init__(self) -> None:
        self.in_hand: set[Thing] = set()
        self.most_in_hand = 0
        self.served = self.refused = self.failed = 0

    def take(self, thing: Thing) -> None:
        assert thing not in self.in_hand, "one resource in two hands"
        assert thing.closings == 0, "leased after it was closed"
        self.in_hand.add(thing)
        self.most_in_hand = max(self.most_in_hand, len(self.in_hand))

    def put(self, thing: Thing) -> None:
        self.in_hand.remove(thing)


async def _take_turns(pool: AsyncResourcePool[Thing], chance: random.Random, watch: Watch) -> None:
    for _ in range(TURNS):
        await anyio.sleep(chance.expovariate(2.0))
        with anyio.move_on_after(chance.choice([0.0, 0.01, 0.5, 10.0])):
            try:
                async with pool.lease() as lease:
                    watch.take(lease.resource)
                    try:
                        await anyio.sleep(chance.choice([0.0, 0.01, 1.0]))
                        if chance.random() < 0.1:
                            raise ValueError("the user's own")
                        watch.served += 1
                    finally:
                        watch.put(lease.resource)
            except (PoolExhaustedError, PoolTimeoutError):
                watch.refused += 1
            except (ConnectionResetError, AttemptTimeoutError, ValueError):
                watch.failed += 1


@pytest.mark.parametrize("resettable", [False, True])
@pytest.mark.parametrize("seed", range(8))
async def test_chaos_over_an_unreliable_provider_leaves_every_count_back(seed: int, resettable: bool) -> None:
    print(f"seed={seed}")
    chance = random.Random(seed)
    provider = UnreliableProvider(chance, resettable=resettable)
    config = PoolConfig(
        max_size=5,
        min_size=1,
        max_waiters=20,
        max_uses=30,
        max_lifetime_s=6.0,
        max_idle_s=2.0,
        acquire_timeout_s=3.0,
        create_timeout_s=2.0,
        upkeep_timeout_s=1.0,
    )
    watch = Watch()

    async with AsyncResourcePool("chaos", provider, config, clock=VirtualClock(), random=chance.random) as pool:
        async with anyio.create_task_group() as tasks:
            for _ in range(USERS):
                tasks.start_soon(_take_turns, pool, random.Random(chance.random()), watch)
            await anyio.sleep(3.0)
            pool.expire_all()
        provider.behaves = True
        await anyio.sleep(20.0)
        calm = pool.statistics()
        with anyio.fail_after(10.0):
            leases = [await pool.acquire() for _ in range(config.max_size)]
        for lease in leases:
            lease.release()
    now = pool.statistics()

    assert watch.served > 0
    assert 1 < watch.most_in_hand <= config.max_size
    assert (calm.leased, calm.waiting) == (0, 0)
    assert calm.idle + calm.creating == config.min_size  # one is being replaced now and then: lifetimes are short
    assert calm.created == calm.closed + calm.closing + calm.idle
    assert len({lease.resource for lease in leases}) == config.max_size
    assert now.created == now.closed == len(provider.made)
    assert [thing.closings for thing in provider.made] == [1] * len(provider.made)
    assert provider.most_creating <= config.max_creating
    assert provider.overlaps == []


async def test_chaos_that_ends_with_its_owner_cancelled_closes_everything_once() -> None:
    for seed in range(10):
        print(f"seed={seed}")
        chance = random.Random(seed)
        provider = UnreliableProvider(chance, resettable=bool(seed % 2))
        pool = AsyncResourcePool("chaos", provider, PoolConfig(), clock=VirtualClock(), random=chance.random)

        with anyio.move_on_after(chance.uniform(0.0, 4.0)) as scope:
            async with pool, anyio.create_task_group() as tasks:
                for _ in range(USERS):
                    tasks.start_soon(_take_turns, pool, random.Random(chance.random()), Watch())
        now = pool.statistics()

        assert scope.cancelled_caught
        assert (now.leased, now.idle, now.creating, now.closing, now.waiting) == (0, 0, 0, 0, 0)
        assert [thing.closings for thing in provider.made] == [1] * now.closed
