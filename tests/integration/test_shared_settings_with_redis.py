"""The section ``shared`` as it is written, against real servers: a database, a password file, a cluster, sentinels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from holdfast.adapters.system.clock import SystemClock
from holdfast.application.settings_sources import load_settings
from holdfast.application.shared_stores import open_shared_stores
from holdfast.ports.breaker_store import Opening
from holdfast.ports.errors import StoreRefusedError
from holdfast.ports.statistics import BreakerState
from tests.fakes.certificate import write_certificate
from tests.fakes.redis_server import RedisServer, StartRedis, form_cluster
from tests.servers import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.real_time, pytest.mark.slow]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def open_breaker(tmp_path: Path, shared: dict[str, Any]) -> None:
    """Open a breaker in the store that the settings describe."""
    settings = load_settings(tmp_path, {"shared": {"kind": "redis", **shared}}).settings
    async with open_shared_stores(settings.shared, SystemClock()) as stores:
        assert stores is not None
        assert stores.breakers is not None
        assert await stores.store.epoch()
        view = await stores.breakers.open("a", Opening(lasts_s=60.0, earlier=1))
        assert view.state is BreakerState.OPEN


async def test_url_names_the_database_and_the_prefix_the_keys(redis_server: RedisServer, tmp_path: Path) -> None:
    await open_breaker(tmp_path, {"url": f"redis://127.0.0.1:{redis_server.port}/3", "prefix": "mine"})

    with redis_server.client() as client:
        assert client.dbsize() == 0
        client.select(3)
        assert {str(key) for key in client.scan_iter()} == {"mine:{epoch:}", "mine:{breaker:a}"}
        client.flushdb()


async def test_password_file_and_username_are_used(start_redis: StartRedis, tmp_path: Path) -> None:
    server = start_redis()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "holdfast", "on", ">quiet", "~holdfast:*", "+@all")
        client.execute_command("ACL", "SETUSER", "default", "off")
    file = tmp_path / "password"
    file.write_text("quiet\n")
    file.chmod(0o600)
    url = f"redis://127.0.0.1:{server.port}"

    await open_breaker(tmp_path, {"url": url, "username": "holdfast", "password_file": str(file)})
    with pytest.raises(StoreRefusedError, match=r"shared\.password"):
        await open_breaker(tmp_path, {"url": url, "username": "holdfast", "password": "loud"})


async def test_unix_socket_is_reached_by_its_path(
    start_redis: StartRedis, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    socket = tmp_path_factory.mktemp("s") / "s"
    server = start_redis("--unixsocket", str(socket))

    await open_breaker(tmp_path, {"url": f"unix://{socket}"})

    with server.client() as client:
        assert client.exists("holdfast:{breaker:a}")


async def test_tls_is_spoken_with_whom_the_certificates_of_ca_file_vouch_for(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    certificate = write_certificate(tmp_path / "server.pem")
    port = free_port()
    server = start_redis(
        *("--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(certificate)),
    )
    url = f"rediss://127.0.0.1:{port}"

    await open_breaker(tmp_path, {"url": url, "ca_file": str(certificate)})
    with pytest.raises(StoreRefusedError, match=r"certificate verify failed.*shared\.ca_file"):
        await open_breaker(tmp_path, {"url": url})

    with server.client() as client:
        assert client.exists("holdfast:{breaker:a}")


async def test_cluster_is_reached_through_any_of_its_nodes(start_redis: StartRedis, tmp_path: Path) -> None:
    nodes = [start_redis("--cluster-enabled", "yes") for _ in range(3)]
    form_cluster(*nodes)

    await open_breaker(tmp_path, {"cluster": [f"127.0.0.1:{nodes[2].port}"]})

    with redis.RedisCluster(host="127.0.0.1", port=nodes[0].port) as client:
        assert client.exists("holdfast:{breaker:a}")


async def test_sentinels_lead_to_the_database_of_their_primary(start_redis: StartRedis, tmp_path: Path) -> None:
    primary = start_redis()
    sentinel = start_redis(watching=primary)

    await open_breaker(
        tmp_path, {"sentinels": ["127.0.0.1:1", f"127.0.0.1:{sentinel.port}"], "service": "primary", "database": 2}
    )

    with primary.client() as client:
        client.select(2)
        assert client.exists("holdfast:{breaker:a}")
