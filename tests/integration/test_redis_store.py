"""Redis as it really answers: each kind of error provoked, scripts forgotten, a cluster, and sentinels."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import redis

from holdfast.adapters.redis import (
    RedisAddress,
    RedisBreakers,
    RedisCluster,
    RedisConfig,
    RedisSentinel,
    RedisStore,
)
from holdfast.adapters.redis import RedisServer as Address
from holdfast.ports.breaker_store import Opening
from holdfast.ports.errors import StoreError, StoreRefusedError, StoreUnavailableError
from holdfast.ports.statistics import BreakerState
from tests.fakes.redis_server import RedisServer, StartRedis, form_cluster
from tests.fakes.server_process import wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.real_time, pytest.mark.slow]

ECHO = "return {ARGV[1]}"
PASSWORD = "quiet"  # noqa: S105 - of servers that live as long as one test


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def store_at(
    server: RedisServer | RedisAddress,
    *,
    timeout_s: float = 5.0,
    **options: Any,  # noqa: ANN401 - of `RedisConfig`
) -> AsyncGenerator[RedisStore]:
    address = Address(port=server.port) if isinstance(server, RedisServer) else server
    config = RedisConfig(address=address, connect_timeout_s=timeout_s, command_timeout_s=timeout_s, **options)
    async with RedisStore(config) as store:
        yield store


async def echo(store: RedisStore, text: str, name: str = "n") -> str:
    answer = await store.run(ECHO, keys=[store.key("echo", name)], args=[text])
    return bytes(answer[0]).decode()


async def until(condition: Callable[[], Awaitable[bool]], *, is_so: bool = True) -> None:
    """Return as soon as the condition holds, or does not; fail when that takes too long."""
    with anyio.fail_after(60.0):
        while await condition() is not is_so:  # noqa: ASYNC110 - nobody tells when a server is ready
            await anyio.sleep(0.05)


async def answers(store: RedisStore) -> None:
    """Return when the store answers."""

    async def does() -> bool:
        try:
            await store.epoch()
        except StoreError:
            return False
        return True

    await until(does)


async def test_run_gives_back_what_the_script_returns(redis_server: RedisServer) -> None:
    async with store_at(redis_server) as store:
        assert await echo(store, "Grüße \0") == "Grüße \0"


async def test_run_knows_the_time_of_the_server(redis_server: RedisServer) -> None:
    script = "return {string.format('%.0f', now_us)}"
    async with store_at(redis_server) as store:
        with redis_server.client() as client:
            seconds, micros = client.time()
        [now_us] = await store.run(script, keys=[store.key("t", "t")])

        assert 0 <= int(now_us) - (seconds * 1_000_000 + micros) < 60_000_000


async def test_run_sends_the_script_whole_only_where_the_server_does_not_know_it(redis_server: RedisServer) -> None:
    async with store_at(redis_server) as store:
        with redis_server.client() as client:
            client.config_resetstat()
            for number in range(10):
                await echo(store, f"{number}")
            client.script_flush()
            await echo(store, "again")
            calls = client.info("commandstats")

    assert calls["cmdstat_eval"]["calls"] == 2
    assert calls["cmdstat_evalsha"]["calls"] == 11


async def test_run_by_many_at_once_gives_each_its_own_answer(redis_server: RedisServer) -> None:
    wrong: list[str] = []
    async with store_at(redis_server, max_connections=4) as store:

        async def ask(number: int) -> None:
            if await echo(store, f"{number}") != f"{number}":
                wrong.append(f"{number}")

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(ask, number)
        with redis_server.client() as client:
            connected = len(client.client_list())

    assert wrong == []
    assert connected <= 4 + 1


async def test_run_cut_off_at_any_moment_leaves_no_answer_for_the_next_one(redis_server: RedisServer) -> None:
    async with store_at(redis_server, max_connections=2) as store:
        for number in range(300):
            with anyio.move_on_after(number * 0.000_01):
                await echo(store, f"cut {number}")

            assert await echo(store, f"next {number}") == f"next {number}"


async def test_run_cut_off_while_the_server_is_frozen_frees_its_connection(start_redis: StartRedis) -> None:
    server = start_redis()
    async with store_at(server, timeout_s=0.3, max_connections=2) as store:
        await echo(store, "warm")
        server.freeze()
        for _ in range(2):
            with anyio.move_on_after(0.01):
                await echo(store, "cut")
        await anyio.sleep(0.4)
        server.thaw()

        assert await echo(store, "next") == "next"


async def test_close_while_questions_are_under_way_ends_them(start_redis: StartRedis) -> None:
    server = start_redis()
    ended: list[str] = []
    async with anyio.create_task_group() as tasks:
        async with store_at(server) as store:
            await echo(store, "warm")
            server.freeze()

            async def ask() -> None:
                try:
                    await echo(store, "never")
                except StoreUnavailableError as error:
                    ended.append(str(error))

            tasks.start_soon(ask)
            await anyio.sleep(0.05)
        server.thaw()

    assert ended == ["redis: it was closed meanwhile"]


async def test_keys_have_the_prefix_and_expire(redis_server: RedisServer) -> None:
    async with store_at(redis_server, prefix="mine") as store:
        await store.epoch()
        breakers = RedisBreakers(store)
        await breakers.open("a", Opening(lasts_s=5.0, earlier=1))
        await breakers.look("b")
        with redis_server.client() as client:
            found = {str(key): client.ttl(str(key)) for key in client.scan_iter()}

    assert set(found) == {"mine:{epoch:}", "mine:{breaker:a}"}
    assert min(found.values()) > 3600


async def test_record_lives_a_day_longer_than_its_opening(redis_server: RedisServer) -> None:
    async with store_at(redis_server) as store:
        await RedisBreakers(store).open("a", Opening(lasts_s=300.0, earlier=1))
        with redis_server.client() as client:
            assert 86_400 + 300 - 60 < int(client.ttl("holdfast:{breaker:a}")) <= 86_400 + 301


# Errors that stay.


async def test_password_that_is_missing_or_wrong_is_refused(start_redis: StartRedis) -> None:
    server = start_redis(password=PASSWORD)
    for password in (None, "wrong"):
        async with store_at(server, password=password) as store:
            with pytest.raises(StoreRefusedError, match=r"shared\.password"):
                await store.epoch()
    async with store_at(server, password=PASSWORD) as store:
        assert await store.epoch()


async def test_user_who_may_not_is_refused_and_one_who_may_is_not(start_redis: StartRedis) -> None:
    server = start_redis()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "reader", "on", f">{PASSWORD}", "~*", "+get", "+ping")
        client.execute_command(
            *("ACL", "SETUSER", "least", "on", f">{PASSWORD}", "~holdfast:*", "+eval", "+evalsha"),
            *("+time", "+get", "+set", "+hmget", "+hset", "+pexpire"),
        )
        client.execute_command("ACL", "SETUSER", "elsewhere", "on", f">{PASSWORD}", "~other:*", "+@all")
    for user in ("reader", "elsewhere"):
        async with store_at(server, username=user, password=PASSWORD) as store:
            with pytest.raises(StoreRefusedError, match="EVAL"):
                await store.epoch()
    async with store_at(server, username="least", password=PASSWORD) as store:
        await store.epoch()
        assert (await RedisBreakers(store).open("a", Opening(lasts_s=5.0, earlier=1))).state is BreakerState.OPEN


async def test_key_of_another_type_is_refused_and_left_alone(redis_server: RedisServer) -> None:
    async with store_at(redis_server) as store:
        with redis_server.client() as client:
            client.set("holdfast:{breaker:a}", "somebody else's")
            for ask in (
                RedisBreakers(store).look("a"),
                RedisBreakers(store).open("a", Opening(lasts_s=5.0, earlier=1)),
            ):
                with pytest.raises(StoreRefusedError, match=r"WRONGTYPE.*shared\.prefix"):
                    await ask

            assert client.get("holdfast:{breaker:a}") == "somebody else's"


async def test_script_that_the_server_cannot_run_is_refused(redis_server: RedisServer) -> None:
    async with store_at(redis_server) as store:
        for script in ("return redis.call('NOSUCH')", "return {1 + nil}", "not Lua"):
            with pytest.raises(StoreRefusedError, match="version 7"):
                await store.run(script, keys=[store.key("a", "b")])


async def test_node_of_a_cluster_that_is_named_as_a_server_is_refused(start_redis: StartRedis) -> None:
    nodes = [start_redis("--cluster-enabled", "yes") for _ in range(3)]
    form_cluster(*nodes)
    async with store_at(nodes[0]) as store:
        heard: list[StoreError] = []
        for number in range(20):
            try:
                await echo(store, "x", f"{number}")
            except StoreError as error:
                heard.append(error)

        assert 0 < len(heard) < 20
        assert all(isinstance(error, StoreRefusedError) and "name it as a cluster" in str(error) for error in heard)


# Errors that pass.


async def test_server_that_is_not_there_is_unavailable(start_redis: StartRedis) -> None:
    server = start_redis()
    async with store_at(server) as store:
        await store.epoch()
        server.kill()
        for _ in range(3):
            with pytest.raises(StoreUnavailableError):
                await store.epoch()
        server.start()

        assert await store.epoch()


async def test_server_that_is_frozen_is_unavailable_after_the_command_timeout(start_redis: StartRedis) -> None:
    server = start_redis()
    async with store_at(server, timeout_s=0.1) as store:
        await answers(store)
        server.freeze()
        with pytest.raises(StoreUnavailableError):
            await store.epoch()
        server.thaw()

        await answers(store)


async def test_server_out_of_memory_is_unavailable_until_there_is_some(start_redis: StartRedis) -> None:
    server = start_redis("--maxmemory", "1", "--maxmemory-policy", "noeviction")
    async with store_at(server) as store:
        with pytest.raises(StoreUnavailableError, match="maxmemory"):
            await store.epoch()
        with server.client() as client:
            client.config_set("maxmemory", 0)

        assert await store.epoch()


async def test_replica_is_unavailable_until_it_is_the_primary(start_redis: StartRedis) -> None:
    primary = start_redis()
    replica = start_redis("--replicaof", "127.0.0.1", f"{primary.port}")
    async with store_at(replica) as store:
        with pytest.raises(StoreUnavailableError, match="read only"):
            await store.epoch()
        with replica.client() as client:
            client.replicaof("NO", "ONE")

        assert await store.epoch()


async def test_replica_without_its_primary_is_unavailable(start_redis: StartRedis) -> None:
    primary = start_redis()
    replica = start_redis("--replicaof", "127.0.0.1", f"{primary.port}")
    with replica.client() as client:
        client.config_set("replica-serve-stale-data", "no")
        primary.kill()
        wait_until(lambda: client.info("replication")["master_link_status"] == "down", "the replica notices")
    async with store_at(replica) as store:
        with pytest.raises(StoreUnavailableError, match="MASTER is down"):
            await store.epoch()


async def test_primary_with_too_few_replicas_is_unavailable(start_redis: StartRedis) -> None:
    server = start_redis("--min-replicas-to-write", "1")
    async with store_at(server) as store:
        with pytest.raises(StoreUnavailableError, match="NOREPLICAS"):
            await store.epoch()


async def test_server_that_loads_its_data_is_unavailable_until_it_has(start_redis: StartRedis) -> None:
    primary = start_redis()
    with primary.client() as client:
        client.execute_command("EVAL", "for i = 1, 20000 do redis.call('SET', 'key' .. i, i) end", 0)
    slow = ("--key-load-delay", "100", "--loading-process-events-interval-bytes", "1024")
    replica = start_redis(*slow)
    async with store_at(replica) as store:
        with replica.client() as client:
            client.replicaof("127.0.0.1", primary.port)
            wait_until(lambda: int(client.info("persistence")["loading"]) == 1, "the replica loads")
        with pytest.raises(StoreUnavailableError, match="loading"):
            await store.epoch()


@pytest.fixture
def busy_server(start_redis: StartRedis) -> Iterator[RedisServer]:
    """Give a server in which somebody's script does not end."""
    server = start_redis("--busy-reply-threshold", "20")

    def loop() -> None:
        with server.client() as client, contextlib.suppress(redis.RedisError):
            client.execute_command("EVAL", "while true do end", 0)

    looping = threading.Thread(target=loop)
    looping.start()

    def is_busy() -> bool:
        with server.client() as client:
            try:
                client.get("key")
            except redis.ResponseError as error:
                return str(error).startswith("BUSY")
        return False

    wait_until(is_busy, "the server is busy")

    yield server

    with server.client() as client, contextlib.suppress(redis.ResponseError):
        client.script_kill()
    looping.join()


async def test_server_that_runs_a_script_without_end_is_unavailable_until_that_is_killed(
    busy_server: RedisServer,
) -> None:
    async with store_at(busy_server) as store:
        with pytest.raises(StoreUnavailableError, match="BUSY"):
            await store.epoch()
        with busy_server.client() as client:
            client.script_kill()

        await answers(store)


async def test_server_with_too_many_clients_is_unavailable(start_redis: StartRedis) -> None:
    server = start_redis()
    with server.client() as client, server.client() as other:
        other.ping()
        client.config_set("maxclients", 2)
        async with store_at(server) as store:
            with pytest.raises(StoreUnavailableError):
                await store.epoch()
            client.config_set("maxclients", 100)

            assert await store.epoch()


# Elsewhere than on one server.


async def test_cluster_keeps_breakers_on_all_nodes_and_knows_scripts_on_each(start_redis: StartRedis) -> None:
    nodes = [start_redis("--cluster-enabled", "yes") for _ in range(3)]
    form_cluster(*nodes)
    names = [f"backend {number}" for number in range(20)]
    async with store_at(RedisCluster(nodes=(("127.0.0.1", nodes[1].port),))) as store:
        breakers = RedisBreakers(store)
        assert await store.epoch() == await store.epoch()
        for name in names:
            assert (await breakers.open(name, Opening(lasts_s=60.0, earlier=1))).state is BreakerState.OPEN
        for node in nodes:
            with node.client() as client:
                assert client.dbsize()
                client.script_flush()

        assert {(await breakers.look(name)).state for name in names} == {BreakerState.OPEN}


async def test_cluster_that_lost_a_node_is_unavailable_and_recovers(start_redis: StartRedis) -> None:
    timeout = ("--cluster-enabled", "yes", "--cluster-node-timeout", "500")
    nodes = [start_redis(*timeout, persistent=True) for _ in range(3)]
    form_cluster(*nodes)
    addresses = tuple(("127.0.0.1", node.port) for node in nodes)
    async with store_at(RedisCluster(nodes=addresses), timeout_s=1.0) as store:

        async def down() -> bool:
            try:
                for number in range(9):
                    await echo(store, "x", f"{number}")
            except StoreUnavailableError:
                return True
            return False

        assert not await down()
        nodes[2].kill()
        await until(down, is_so=True)
        nodes[2].start()
        await until(down, is_so=False)


async def test_cluster_of_nodes_without_slots_is_unavailable(start_redis: StartRedis) -> None:
    node = start_redis("--cluster-enabled", "yes")
    for address in (Address(port=node.port), RedisCluster(nodes=(("127.0.0.1", node.port),))):
        async with store_at(address) as store:
            with pytest.raises(StoreUnavailableError):
                await store.epoch()


async def test_cluster_with_a_wrong_password_is_refused(start_redis: StartRedis) -> None:
    node = start_redis("--cluster-enabled", "yes", password=PASSWORD)
    async with store_at(RedisCluster(nodes=(("127.0.0.1", node.port),)), password="wrong") as store:  # noqa: S106 - as above
        with pytest.raises(StoreRefusedError, match=r"shared\.password"):
            await store.epoch()


async def test_sentinel_leads_to_the_primary_and_to_the_next_one(start_redis: StartRedis) -> None:
    primary = start_redis()
    replica = start_redis("--replicaof", "127.0.0.1", f"{primary.port}")
    sentinel = start_redis(watching=primary)
    with sentinel.client() as client:
        wait_until(
            lambda: len(client.execute_command("SENTINEL", "REPLICAS", "primary")) == 1,
            "the sentinel knows the replica",
        )
    address = RedisSentinel(sentinels=(("127.0.0.1", sentinel.port),), service="primary")
    async with store_at(address, timeout_s=1.0) as store:
        breakers = RedisBreakers(store)
        await breakers.open("a", Opening(lasts_s=600.0, earlier=1))
        with replica.client() as client:
            wait_until(lambda: client.exists("holdfast:{breaker:a}") == 1, "the replica has it")
        primary.kill()
        with pytest.raises(StoreUnavailableError):
            await store.epoch()
        await answers(store)

        assert (await breakers.look("a")).state is BreakerState.OPEN
        with replica.client() as client:
            assert client.exists("holdfast:{epoch:}") == 1


async def test_sentinel_that_knows_no_such_service_is_unavailable(start_redis: StartRedis) -> None:
    sentinel = start_redis(watching=start_redis())
    address = RedisSentinel(sentinels=(("127.0.0.1", sentinel.port),), service="another")
    async with store_at(address) as store:
        with pytest.raises(StoreUnavailableError, match=r"shared\.service"):
            await store.epoch()


async def test_unix_socket_leads_to_the_server(
    start_redis: StartRedis, tmp_path_factory: pytest.TempPathFactory
) -> None:
    socket = tmp_path_factory.mktemp("s") / "s"
    start_redis("--unixsocket", str(socket))
    async with store_at(Address(unix_socket=str(socket), database=3)) as store:
        assert await store.epoch()
