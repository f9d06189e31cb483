"""Sessions in a real Redis: what no contract can ask of every store."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from holdfast.adapters.redis.address import RedisCluster
from holdfast.adapters.redis.rates import RedisRates
from holdfast.adapters.redis.sessions import RedisSessions
from holdfast.adapters.redis.store import RedisConfig, RedisStore
from holdfast.ports.errors import SessionNotFoundError, SessionStoreError
from holdfast.ports.inference import Message, Role
from holdfast.ports.session import (
    Removal,
    Session,
    SessionBounds,
    SessionHead,
    SessionMessage,
    SessionTotals,
    SessionTurn,
)
from holdfast.testing import ManualClock
from tests.fakes.redis_clock import open_redis, open_redis_at
from tests.fakes.redis_server import RedisServer, StartRedis, form_cluster

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

BOUNDS = SessionBounds(max_bytes=1000, max_total_bytes=100_000, max_sessions=100, idle_s=60.0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def turn(text: str) -> SessionTurn:
    return SessionTurn(messages=(SessionMessage.of(Message(role=Role.USER, content=text)),), size_bytes=100)


def session(name: str = "s", *, tenant: str = "t", turns: int = 1, system: bytes | None = b"be brief") -> Session:
    return Session(
        head=SessionHead(tenant=tenant, session_id=name, incarnation="1st", version=1, persona=None, fixed_bytes=100),
        system=system,
        turns=tuple(turn(f"{number}") for number in range(turns)),
        size_bytes=100 + 100 * turns,
    )


async def test_sessions_of_one_process_are_read_by_another_and_by_its_successor(redis_server: RedisServer) -> None:
    async with open_redis(redis_server) as first, open_redis(redis_server) as second:
        mine, yours = RedisSessions(first), RedisSessions(second)
        await mine.create(session(), bounds=BOUNDS)
        head = (await yours.load("t", "s", bounds=BOUNDS)).session.head
        await yours.save(head, persona="p", turn=turn("more"), bounds=BOUNDS)
    async with open_redis(redis_server) as third:
        found = (await RedisSessions(third).load("t", "s", bounds=BOUNDS)).session

    assert (found.head.version, found.head.persona) == (2, "p")
    assert found.turns == (turn("0"), turn("more"))
    assert yours.totals() == SessionTotals(sessions=1, size_bytes=300, created=1)


async def test_every_key_ends_by_itself_later_than_what_is_in_it(redis_server: RedisServer) -> None:
    async with open_redis(redis_server) as store:
        sessions = RedisSessions(store)
        await sessions.create(session(), bounds=BOUNDS)
        await sessions.create(session("short"), bounds=replace(BOUNDS, idle_s=1.0))
        await sessions.save(session().head, persona=None, turn=turn("more"), bounds=BOUNDS)

    with redis_server.client() as client:
        lives_s = {key: client.ttl(key) for key in client.scan_iter()}
    assert len(lives_s) == 6
    assert all(key.startswith("holdfast:{sessions:all}:") for key in lives_s)
    assert all(life_s > 3600 for life_s in lives_s.values())
    of_the_longer = [life_s for key, life_s in lives_s.items() if not key.endswith("short")]
    assert all(life_s > 3600 + 2 * 59 for life_s in of_the_longer)


async def test_nothing_is_left_of_a_session_that_is_deleted_or_removed(redis_server: RedisServer) -> None:
    clock = ManualClock()
    async with open_redis_at(redis_server, clock) as store:
        sessions = RedisSessions(store)
        await sessions.create(session("deleted"), bounds=BOUNDS)
        await sessions.create(session("expired"), bounds=BOUNDS)
        await sessions.delete("t", "deleted", bounds=BOUNDS)
        clock.advance(61.0)
        removed = await sessions.create(session("kept"), bounds=BOUNDS)

    assert [gone.session_id for gone in removed] == ["expired"]
    with redis_server.client() as client:
        named = [key for key in client.scan_iter() if "turns" in key or "system" in key]
    assert len(named) == 2
    assert all(key.endswith("kept") for key in named)


@pytest.mark.parametrize("part", ["turns", "system"])
async def test_session_of_which_redis_threw_a_part_away_is_not_found_and_gives_its_name_back(
    redis_server: RedisServer, part: str
) -> None:
    async with open_redis(redis_server) as store:
        sessions = RedisSessions(store)
        await sessions.create(session(turns=2), bounds=BOUNDS)
        with redis_server.client() as client:
            client.delete(f"holdfast:{{sessions:all}}:{part}:1:t:s")

        with pytest.raises(SessionNotFoundError):
            await sessions.load("t", "s", bounds=BOUNDS)
        with pytest.raises(SessionNotFoundError):
            await sessions.save(session().head, persona=None, turn=turn("more"), bounds=BOUNDS)
        with pytest.raises(SessionNotFoundError):
            await sessions.delete("t", "s", bounds=BOUNDS)
        removed = await sessions.create(session(turns=1), bounds=BOUNDS)
        found = (await sessions.load("t", "s", bounds=BOUNDS)).session

    assert [(gone.session_id, gone.reason) for gone in removed] == [("s", Removal.EVICTED)]
    assert (found.turns, found.system) == ((turn("0"),), b"be brief")
    assert sessions.totals() == SessionTotals(sessions=1, size_bytes=200, created=2, evicted=1)


@pytest.mark.parametrize("part", ["index", "order"])
async def test_index_of_which_redis_threw_a_part_away_begins_anew(redis_server: RedisServer, part: str) -> None:
    async with open_redis(redis_server) as store:
        sessions = RedisSessions(store)
        await sessions.create(session(turns=3), bounds=BOUNDS)
        with redis_server.client() as client:
            client.delete(f"holdfast:{{sessions:all}}:{part}")

        with pytest.raises(SessionNotFoundError):
            await sessions.load("t", "s", bounds=BOUNDS)
        await sessions.create(session(turns=1, system=None), bounds=BOUNDS)
        found = (await sessions.load("t", "s", bounds=BOUNDS)).session

    assert found == session(turns=1, system=None)
    assert sessions.totals() == SessionTotals(sessions=1, size_bytes=200, created=1)


async def test_server_that_was_restarted_empty_knows_no_session(start_redis: StartRedis) -> None:
    server = start_redis()
    async with open_redis(server) as store:
        sessions = RedisSessions(store)
        await sessions.create(session(), bounds=BOUNDS)
        server.restart()

        with pytest.raises(SessionStoreError):  # by the connection that broke
            await sessions.load("t", "s", bounds=BOUNDS)
        with pytest.raises(SessionNotFoundError):
            await sessions.load("t", "s", bounds=BOUNDS)
        await sessions.create(session(), bounds=BOUNDS)

    assert sessions.totals() == SessionTotals(sessions=1, size_bytes=200, created=1)


async def test_clock_that_is_set_back_by_an_hour_ends_no_life_early_and_makes_none_endless(
    redis_server: RedisServer,
) -> None:
    then, now = ManualClock(now_s=7200.0), ManualClock(now_s=3600.0)
    async with open_redis_at(redis_server, then) as first, open_redis_at(redis_server, now) as second:
        await RedisSessions(first).create(session(), bounds=BOUNDS)
        sessions = RedisSessions(second)
        await sessions.load("t", "s", bounds=BOUNDS)
        now.advance(59.0)
        await sessions.load("t", "s", bounds=BOUNDS)
        now.advance(61.0)

        with pytest.raises(SessionNotFoundError):
            await sessions.load("t", "s", bounds=BOUNDS)


async def test_names_that_look_like_keys_are_as_good_as_others(redis_server: RedisServer) -> None:
    names = [("a:b", "c"), ("a", "b:c"), ("{a}", "{b}"), ("ä", "ß"), ("totals", "totals"), ("1:a", "b")]
    async with open_redis(redis_server) as store:
        sessions = RedisSessions(store)
        for tenant, name in names:
            await sessions.create(session(name, tenant=tenant), bounds=BOUNDS)
        found = [(await sessions.load(tenant, name, bounds=BOUNDS)).session for tenant, name in names]
        removed = await sessions.create(session("last"), bounds=replace(BOUNDS, max_sessions=1))

    assert [(one.head.tenant, one.head.session_id) for one in found] == names
    assert [gone.session_id for gone in removed] == [name for _, name in names]


async def test_frozen_server_fails_the_call_within_its_time_and_serves_the_next(start_redis: StartRedis) -> None:
    server = start_redis()
    async with open_redis(server) as store:
        sessions = RedisSessions(store, timeout_s=0.1)
        await sessions.create(session(), bounds=BOUNDS)
        server.freeze()
        with pytest.raises(SessionStoreError, match=r"^session 's': redis: no answer within 0.1 s") as refused:
            await sessions.load("t", "s", bounds=BOUNDS)
        server.thaw()
        found = (await RedisSessions(store).load("t", "s", bounds=BOUNDS)).session

    assert "\n" not in str(refused.value)
    assert found == session()


async def test_server_that_is_gone_fails_the_call_in_one_line(start_redis: StartRedis) -> None:
    server = start_redis()
    async with open_redis(server) as store:
        server.kill()
        with pytest.raises(SessionStoreError, match=r"^session 's': redis: ") as refused:
            await RedisSessions(store).create(session(), bounds=BOUNDS)

    assert "\n" not in str(refused.value)
    assert str(refused.value).count("redis: ") == 1


async def test_key_of_another_type_fails_the_call_and_says_what_to_do(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("holdfast:{sessions:all}:index", "something else")
    async with open_redis(redis_server) as store:
        with pytest.raises(SessionStoreError, match=r"shared\.prefix"):
            await RedisSessions(store).create(session(), bounds=BOUNDS)


async def test_server_without_memory_refuses_the_session_and_keeps_no_part_of_it(start_redis: StartRedis) -> None:
    server = start_redis("--maxmemory", "1")
    async with open_redis(server) as store:
        with pytest.raises(SessionStoreError, match="memory"):
            await RedisSessions(store).create(session(), bounds=BOUNDS)

    with server.client() as client:
        assert client.keys() == []


async def test_cancelled_call_is_finished_before_the_cancellation_is_seen(redis_server: RedisServer) -> None:
    async with open_redis(redis_server) as store:
        sessions = RedisSessions(store)
        await sessions.create(session("first"), bounds=BOUNDS)  # so that there is a connection

        async def create() -> None:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                await sessions.create(session(), bounds=BOUNDS)

        scopes: list[anyio.CancelScope] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(create)
            while not scopes:
                await anyio.lowlevel.checkpoint()
            scopes[0].cancel()

        assert sessions.totals().created == 2
        assert (await sessions.load("t", "s", bounds=BOUNDS)).session == session()


@pytest.mark.slow
async def test_sessions_and_limits_are_kept_by_a_cluster(start_redis: StartRedis) -> None:
    nodes = [start_redis("--cluster-enabled", "yes") for _ in range(3)]
    form_cluster(*nodes)
    address = RedisCluster(nodes=(("127.0.0.1", nodes[0].port),))
    async with RedisStore(RedisConfig(address=address, command_timeout_s=5.0, connect_timeout_s=5.0)) as store:
        rates = await RedisRates(store).settle("p", 0.0, [], lease_s=2.0)
        sessions = RedisSessions(store)
        for name in ("{a}", "b", "c"):
            await sessions.create(session(name), bounds=BOUNDS)
        removed = await sessions.create(session("d"), bounds=replace(BOUNDS, max_sessions=2))
        found = (await sessions.load("t", "d", bounds=BOUNDS)).session

    assert [gone.session_id for gone in removed] == ["{a}", "b"]
    assert found == session("d")
    assert rates.processes == 1
