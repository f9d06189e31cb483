"""Where Redis is: one server, a primary that sentinels name, or a cluster.

Responsibility: make the driver's client for each of the three.
Guarantees: nothing connects before the first command; nothing is ever sent twice by the driver, whose own default is to
    try ten times more; connecting and answering have time limits of their own.
Not responsible for: what is asked: see `holdfast.adapters.redis.store`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, cast

try:
    from redis.asyncio import Redis
    from redis.asyncio.cluster import ClusterNode
    from redis.asyncio.cluster import RedisCluster as ClusterClient
    from redis.asyncio.retry import Retry
    from redis.asyncio.sentinel import Sentinel
    from redis.backoff import NoBackoff
except ImportError as error:
    raise ImportError("holdfast.adapters.redis needs redis: pip install 'holdfast[redis]'", name="redis") from error

__all__ = ["Client", "ClientOptions", "HostPort", "RedisAddress", "RedisCluster", "RedisSentinel", "RedisServer"]

_HEALTH_CHECK_S: Final = 30

HostPort = tuple[str, int]


class Client(Protocol):
    """As much of the driver's clients as is used here."""

    async def execute_command(self, *args: str | bytes | int) -> object:
        """Send one command and return the answer."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """What is the same wherever Redis is.

    Args:
        username: None for the default user.
        password: None where none is asked for.
        tls: whether connections are encrypted, and the server's certificate checked.
        ca_file: whom that has to be signed by; None for those that the system trusts.
        connect_timeout_s: seconds that connecting may take.
        command_timeout_s: seconds that an answer may take.
        max_connections: how many connections there are at once, to each node of a cluster.
    """

    username: str | None
    password: str | None = field(repr=False)
    tls: bool
    ca_file: Path | None
    connect_timeout_s: float
    command_timeout_s: float
    max_connections: int

    def of_driver(self) -> dict[str, object]:
        """Return them under the driver's names."""
        return {
            "username": self.username,
            "password": self.password,
            "ssl": self.tls,
            **({} if self.ca_file is None else {"ssl_ca_certs": str(self.ca_file)}),
            "socket_connect_timeout": self.connect_timeout_s,
            "socket_timeout": self.command_timeout_s,
            "max_connections": self.max_connections,
            "health_check_interval": _HEALTH_CHECK_S,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisServer:
    """One server.

    Args:
        host: its name or address.
        port: where it listens.
        database: the number of the database.
        unix_socket: the path of its socket, in place of host and port.
    """

    host: str = "127.0.0.1"
    port: int = 6379
    database: int = 0
    unix_socket: str | None = None

    def connect(self, options: ClientOptions) -> Client:
        """Return a client, which connects when it is first used."""
        driver = options.of_driver()
        if self.unix_socket is not None:
            return _client(Redis, unix_socket_path=self.unix_socket, db=self.database, **driver)
        return _client(Redis, host=self.host, port=self.port, db=self.database, **driver)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSentinel:
    """The primary of a service, as sentinels name it; they are asked without a password.

    Args:
        sentinels: where some of them listen; the first that answers is believed.
        service: what they call it.
        database: the number of the database.
    """

    sentinels: tuple[HostPort, ...]
    service: str
    database: int = 0

    def connect(self, options: ClientOptions) -> Client:
        """Return a client, which asks a sentinel whenever it connects."""
        driver = options.of_driver()
        common = {"socket_connect_timeout", "socket_timeout", "retry", "protocol", "ssl", "ssl_ca_certs"}
        make = cast("Callable[..., Any]", Sentinel)  # not typed there
        sentinel = make(self.sentinels, sentinel_kwargs={name: driver[name] for name in common & driver.keys()})
        primary = _client(sentinel.master_for, service_name=self.service, db=self.database, **driver)
        return _Watched(primary, sentinel)


class _Watched:
    """The client of a primary, which also closes the clients of the sentinels."""

    def __init__(self, primary: Client, sentinel: Client) -> None:
        self._primary = primary
        self._sentinel = sentinel

    async def execute_command(self, *args: str | bytes | int) -> object:
        return await self._primary.execute_command(*args)

    async def aclose(self) -> None:
        await self._primary.aclose()
        await self._sentinel.aclose()


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisCluster:
    """A cluster, whose other nodes are found through the given ones.

    Args:
        nodes: where some of them listen.
    """

    nodes: tuple[HostPort, ...]

    def connect(self, options: ClientOptions) -> Client:
        """Return a client, which learns where each slot is when it is first used."""
        nodes = [ClusterNode(host, port) for host, port in self.nodes]
        return _client(ClusterClient, startup_nodes=nodes, **options.of_driver())


RedisAddress = RedisServer | RedisSentinel | RedisCluster


def _client(make: Callable[..., object], **options: object) -> Client:
    return cast("Client", make(**options))  # the driver's constructors and commands take and give Any
