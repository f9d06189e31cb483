"""Shared answers in a real Redis: what no contract can ask of every store."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import anyio
import pytest
import redis

from holdfast.adapters.redis.address import RedisCluster
from holdfast.adapters.redis.answers import RedisAnswers
from holdfast.adapters.redis.store import RedisConfig, RedisStore
from holdfast.ports.answer_store import AnswerClaim, Busy, Told, Won
from holdfast.ports.errors import StoreRefusedError, StoreUnavailableError
from tests.fakes.redis_clock import open_redis
from tests.fakes.redis_server import RedisServer, StartRedis, form_cluster

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

KEY = b"k" * 32
NAME = f"holdfast:{{answer:{KEY.hex()}}}"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def claim(claimant: str = "a", *, key: bytes = KEY, lease_s: float = 60.0) -> AnswerClaim:
    return AnswerClaim(key=key, claimant=claimant, lease_s=lease_s)


async def win(answers: RedisAnswers, asked: AnswerClaim | None = None) -> int:
    heard = await answers.claim(claim() if asked is None else asked)
    assert isinstance(heard, Won)
    return heard.token


def fill(client: redis.Redis) -> None:
    """Write until there is no room."""
    for number in range(100):
        client.set(f"other {number}", "x" * 100_000)


STEPS: dict[str, Callable[[RedisAnswers, int], Awaitable[object]]] = {
    "claim": lambda answers, _: answers.claim(claim("b")),
    "extend": lambda answers, token: answers.extend(KEY, token=token, lease_s=60.0),
    "settle": lambda answers, token: answers.settle(KEY, token=token, outcome=b"42", keep_s=60.0, tell_s=90.0),
    "release": lambda answers, _: answers.release(KEY, claimant="a"),
}


@pytest.mark.parametrize("step", STEPS)
async def test_key_ends_by_itself_later_than_what_is_in_it(redis_server: RedisServer, step: str) -> None:
    async with open_redis(redis_server) as store:
        answers = RedisAnswers(store)
        await STEPS[step](answers, await win(answers))

    with redis_server.client() as client:
        lives_s = {key: client.pttl(key) / 1000 for key in client.scan_iter()}
    says_s = {"claim": 60.0, "extend": 60.0, "settle": 90.0, "release": 0.0}[step]
    assert set(lives_s) == {NAME}
    assert says_s + 50.0 < lives_s[NAME] <= says_s + 60.1


async def test_time_is_the_servers_and_leases_end_by_it(redis_server: RedisServer) -> None:
    async with open_redis(redis_server) as store:
        answers = RedisAnswers(store)
        token = await win(answers, claim(lease_s=0.05))
        with redis_server.client() as client:
            seconds, microseconds = client.time()
        assert abs(token - seconds * 1_000_000 - microseconds) < 5_000_000

        with anyio.fail_after(10.0):
            while isinstance(heard := await answers.claim(claim("b")), Busy):
                assert 0.0 < heard.left_s <= 0.05
                await anyio.sleep(heard.left_s)

        assert isinstance(heard, Won)
        assert heard.token > token


@pytest.mark.parametrize("field", ["token", "changed", "held", "kept", "told"])
async def test_hash_that_is_not_what_the_scripts_wrote_counts_as_not_there(
    redis_server: RedisServer, field: str
) -> None:
    async with open_redis(redis_server) as store:
        answers = RedisAnswers(store)
        token = await win(answers)
        with redis_server.client() as client:
            client.hset(NAME, field, "soon")

        assert not await answers.extend(KEY, token=token, lease_s=1.0)
        assert not await answers.settle(KEY, token=token, outcome=b"42", keep_s=1.0, tell_s=1.0)
        await answers.release(KEY, claimant="a")
        assert isinstance(await answers.claim(claim("b")), Won)
        assert isinstance(await answers.claim(claim("c")), Busy)


async def test_outcome_of_any_bytes_comes_back_as_it_was(redis_server: RedisServer) -> None:
    outcome = bytes(range(256)) * 4096
    async with open_redis(redis_server) as store:
        answers = RedisAnswers(store)
        token = await win(answers)
        assert await answers.settle(KEY, token=token, outcome=outcome, keep_s=60.0, tell_s=60.0)

        assert await answers.claim(claim("b")) == Told(token=token, outcome=outcome)


async def test_new_claim_of_what_has_ended_gives_the_memory_of_the_outcome_back(redis_server: RedisServer) -> None:
    async with open_redis(redis_server) as store:
        answers = RedisAnswers(store)
        await answers.settle(KEY, token=await win(answers), outcome=b"x" * 100_000, keep_s=0.0, tell_s=0.0)
        await win(answers, claim("b"))

    with redis_server.client() as client:
        assert not client.hexists(NAME, "outcome")


async def test_key_of_another_type_is_refused_and_says_what_to_do(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set(NAME, "mine")
    async with open_redis(redis_server) as store:
        with pytest.raises(StoreRefusedError, match=re.escape("change shared.prefix, or remove the key")):
            await RedisAnswers(store).claim(claim())


@pytest.mark.slow
async def test_server_without_room_is_unavailable_until_there_is_some(start_redis: StartRedis) -> None:
    server = start_redis("--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    async with open_redis(server) as store:
        answers = RedisAnswers(store)
        token = await win(answers)
        with server.client() as client:
            with pytest.raises(redis.OutOfMemoryError):
                fill(client)

            with pytest.raises(StoreUnavailableError):
                await answers.settle(KEY, token=token, outcome=b"x" * 100_000, keep_s=60.0, tell_s=60.0)
            client.delete(*[f"other {number}" for number in range(100)])

        assert await answers.settle(KEY, token=token, outcome=b"x" * 100_000, keep_s=60.0, tell_s=60.0)


@pytest.mark.slow
async def test_keys_are_spread_over_a_cluster(start_redis: StartRedis) -> None:
    nodes = [start_redis("--cluster-enabled", "yes") for _ in range(3)]
    form_cluster(*nodes)
    address = RedisCluster(nodes=tuple(("127.0.0.1", node.port) for node in nodes))
    async with RedisStore(RedisConfig(address=address, command_timeout_s=5.0)) as store:
        answers = RedisAnswers(store)
        for number in range(30):
            key = number.to_bytes(32)
            token = await win(answers, claim(key=key))
            assert await answers.extend(key, token=token, lease_s=60.0)
            assert await answers.settle(key, token=token, outcome=key, keep_s=60.0, tell_s=60.0)
            assert await answers.claim(claim("b", key=key)) == Told(token=token, outcome=key)

    sizes: list[int] = []
    for node in nodes:
        with node.client() as client:
            sizes.append(client.dbsize())
    assert sum(sizes) == 30
    assert min(sizes) > 0
