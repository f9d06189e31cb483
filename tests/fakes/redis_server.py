"""Real Redis servers on free ports of this machine, alone, as a cluster, or watched by a sentinel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.fakes.server_process import ServerProcess, wait_until
from tests.servers import free_port, server_program

__all__ = ["RedisServer", "StartRedis", "form_cluster", "redis_server", "running_redis_server", "start_redis"]

_SLOTS = 16_384


class RedisServer(ServerProcess):
    """One server, empty at first, that forgets everything when it ends unless it persists.

    Args:
        folder: Where it keeps its data and its log; exists already.
        options: Further options of its command line, in pairs such as ``"--maxmemory", "1mb"``.
        password: What clients must say, or nothing.
        persistent: Whether each write is on disk before it is answered, and is back after a restart.
        watching: The server that this one is a sentinel of, as ``"primary"``; a sentinel holds no data.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        password: str | None = None,
        persistent: bool = False,
        watching: RedisServer | None = None,
    ) -> None:
        self.password = password
        self.port = free_port()
        self.bus_port = free_port()  # of a cluster; that of its own choice, 10 000 above, may be anybody's
        data = ["--appendonly", "yes", "--appendfsync", "always"] if persistent else ["--appendonly", "no"]
        secret = ["--requirepass", password] if password is not None else []
        command = [
            server_program("redis-server"),
            *(["--save", "", *data] if watching is None else [_sentinel_file(folder, watching), "--sentinel"]),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", folder),
            *secret,
            *(("--cluster-port", str(self.bus_port)) if "--cluster-enabled" in options else ()),
            *options,
        ]
        super().__init__(f"redis-server on {self.port}", command, folder, is_ready=self._answers)

    @property
    def url(self) -> str:
        """The address, with the password if there is one."""
        return f"redis://{f':{self.password}@' if self.password is not None else ''}127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        """Return a blocking client of its own, for what a test arranges or asserts; close it after use."""
        return redis.Redis(
            port=self.port,
            password=self.password,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=5,
            socket_timeout=5,
        )

    def empty(self) -> None:
        """Remove every key and every script."""
        with self.client() as client:
            client.flushall()
            client.script_flush()

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                client.ping()
        except (redis.ConnectionError, redis.TimeoutError):
            return False
        return True


def _sentinel_file(folder: Path, watched: RedisServer) -> Path:
    file = folder / "sentinel.conf"
    file.write_text(
        f"sentinel monitor primary 127.0.0.1 {watched.port} 1\n"
        "sentinel down-after-milliseconds primary 500\n"
        "sentinel failover-timeout primary 3000\n"
    )
    return file


StartRedis = Callable[..., RedisServer]
"""What the fixture `start_redis` gives: takes what `RedisServer` takes, without the folder."""


def form_cluster(*nodes: RedisServer) -> None:
    """Join servers started with ``"--cluster-enabled", "yes"`` to one cluster that has a node for every slot."""
    bounds = [round(index * _SLOTS / len(nodes)) for index in range(len(nodes) + 1)]
    for node, first, behind in zip(nodes, bounds[:-1], bounds[1:], strict=True):
        with node.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, behind - 1)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, nodes[0].bus_port)

    def is_whole() -> bool:
        return all(_cluster_info(node).items() >= whole.items() for node in nodes)

    whole = {"cluster_state": "ok", "cluster_known_nodes": str(len(nodes))}
    wait_until(is_whole, "the cluster is whole")


def _cluster_info(node: RedisServer) -> dict[str, str]:
    with node.client() as client:
        text = client.execute_command("CLUSTER", "INFO")
    return dict(text) if isinstance(text, dict) else dict(line.split(":", 1) for line in str(text).split())


@pytest.fixture
def start_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartRedis]:
    """Start servers of the test's own, which it may kill, freeze and restart; all are ended after it."""
    started: list[RedisServer] = []

    def start(
        *options: str, password: str | None = None, persistent: bool = False, watching: RedisServer | None = None
    ) -> RedisServer:
        folder = tmp_path_factory.mktemp("redis")
        server = RedisServer(folder, *options, password=password, persistent=persistent, watching=watching)
        started.append(server)
        server.start()
        return server

    yield start

    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def running_redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Keep one server for all tests of this process; ask for `redis_server` instead, which is empty."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()

    yield server

    server.kill()


@pytest.fixture
def redis_server(running_redis_server: RedisServer) -> RedisServer:
    """Give an empty server, shared with the tests before and after; leave it running and with its configuration."""
    running_redis_server.empty()
    return running_redis_server
