"""The real servers that other tests ask for: started, frozen, killed and started again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.fakes.consul_agent import ConsulAgent, StartConsul
from tests.fakes.redis_server import RedisServer, StartRedis, form_cluster
from tests.fakes.server_process import ServerProcess, wait_until
from tests.servers import GIVEN, free_port, server_program

pytestmark = pytest.mark.slow


def test_redis_server_restarted_is_empty(start_redis: StartRedis) -> None:
    server = start_redis()
    with server.client() as client:
        client.set("key", "value")

    server.restart()

    with server.client() as client:
        assert client.dbsize() == 0


def test_redis_server_persistent_keeps_its_data_over_a_kill(start_redis: StartRedis) -> None:
    server = start_redis(persistent=True)
    with server.client() as client:
        client.set("key", "value")

    server.restart()

    with server.client() as client:
        assert client.get("key") == "value"


def test_redis_server_frozen_answers_nobody_until_it_is_thawed(start_redis: StartRedis) -> None:
    server = start_redis()
    with redis.Redis(port=server.port, socket_timeout=0.2, retry=Retry(NoBackoff(), 0)) as impatient:
        server.freeze()
        with pytest.raises(redis.TimeoutError):
            impatient.ping()
        server.thaw()

    with server.client() as client:
        assert client.ping()


BUSY = """
import os, threading

file = os.open("count", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

def write():
    while True:
        os.write(file, bytes(20_000))
        os.truncate("count", 0)

for _ in range(8):
    threading.Thread(target=write).start()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what threads do is asked of /proc")
def test_server_frozen_has_stopped_all_its_threads_when_that_returns(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"import os; print(os.getpid(), flush=True)\n{BUSY}"]
    server = ServerProcess("busy", command, tmp_path, is_ready=(tmp_path / "count").exists)
    server.start()
    threads = Path(f"/proc/{server.log.strip()}/task")
    states: set[str] = set()
    try:
        for _ in range(50):
            server.freeze()
            states |= {(thread / "stat").read_text().rpartition(") ")[2][0] for thread in threads.iterdir()}
            server.thaw()
    finally:
        server.kill()

    assert states == {"T"}


def test_redis_server_with_a_password_refuses_who_does_not_say_it(start_redis: StartRedis) -> None:
    server = start_redis(password="quiet")  # noqa: S106 - of a server that lives as long as this test

    with (
        redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()
    with redis.Redis.from_url(server.url) as friend:
        assert friend.ping()


def test_redis_server_shared_is_given_empty(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        assert client.dbsize() == 0


def test_redis_cluster_formed_has_a_node_for_every_slot(start_redis: StartRedis) -> None:
    nodes = [start_redis("--cluster-enabled", "yes") for _ in range(3)]

    form_cluster(*nodes)

    with redis.RedisCluster(port=nodes[0].port, host="127.0.0.1") as client:
        for number in range(30):
            client.set(f"key{number}", number)
        assert [client.get(f"key{number}") for number in (0, 29)] == [b"0", b"29"]


def test_redis_sentinel_names_its_primary(start_redis: StartRedis) -> None:
    primary = start_redis()
    sentinel = start_redis(watching=primary)

    with sentinel.client() as client:
        found = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "primary")

    assert found == ["127.0.0.1", str(primary.port)]


def test_consul_agent_restarted_is_empty(start_consul: StartConsul) -> None:
    agent = start_consul()
    agent.put("holdfast/name", "value")

    agent.restart()

    assert agent.request("GET", "/v1/kv/holdfast/name")[0] == 404


def test_consul_agent_persistent_keeps_its_data_over_a_kill(start_consul: StartConsul) -> None:
    agent = start_consul(persistent=True)
    agent.put("holdfast/name", "value")

    agent.restart()

    assert agent.request("GET", "/v1/kv/holdfast/name?raw") == (200, "value")


def test_consul_agent_with_access_control_refuses_a_strange_token(start_consul: StartConsul) -> None:
    agent, stranger = start_consul(access_control=True), "99999999-2222-4333-8444-555555555555"

    assert agent.request("PUT", "/v1/kv/name", raw=b"1", token=stranger)[0] == 403
    assert agent.request("PUT", "/v1/kv/name", raw=b"1") == (200, True)


def test_consul_agent_of_three_without_the_others_has_no_leader(start_consul: StartConsul) -> None:
    agent = start_consul(servers=3)

    assert agent.request("GET", "/v1/kv/name") == (500, "No cluster leader")


def test_consul_agent_shared_is_given_without_keys(consul_agent: ConsulAgent) -> None:
    assert consul_agent.request("GET", "/v1/kv/?recurse")[0] == 404
    assert consul_agent.request("GET", "/v1/agent/services") == (200, {})


def test_server_that_cannot_start_is_reported_with_its_own_words(start_redis: StartRedis) -> None:
    with pytest.raises(AssertionError, match="no-such-option"):
        start_redis("--no-such-option", "yes")


def test_wait_that_is_in_vain_says_what_was_waited_for() -> None:
    with pytest.raises(AssertionError, match=r"the moon turns blue: not within 0 s"):
        wait_until(lambda: False, "the moon turns blue", within_s=0.0)


def test_free_port_is_below_those_that_the_kernel_gives() -> None:
    assert 10_000 <= free_port() < 32_768


def test_server_program_missing_is_skipped_with_the_command_that_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(GIVEN, "HOLDFAST_TEST_CONSUL", raising=False)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("tests.servers._FETCHED", Path("/nowhere"))

    with pytest.raises(pytest.skip.Exception, match=r"no consul on this machine: run `make servers`"):
        server_program("consul")


def test_server_program_missing_in_ci_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(GIVEN, "HOLDFAST_TEST_CONSUL", raising=False)
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("tests.servers._FETCHED", Path("/nowhere"))

    with pytest.raises(pytest.fail.Exception, match=r"make servers"):
        server_program("consul")


def test_server_program_named_in_the_environment_that_is_no_file_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GIVEN, "HOLDFAST_TEST_CONSUL", "/nowhere/consul")

    with pytest.raises(pytest.fail.Exception, match=r"HOLDFAST_TEST_CONSUL names '/nowhere/consul', which is no file"):
        server_program("consul")


def test_variables_that_name_servers_are_in_no_tests_environment() -> None:
    assert [name for name in os.environ if name.startswith("HOLDFAST_TEST_")] == []
