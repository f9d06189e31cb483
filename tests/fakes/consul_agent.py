"""Real Consul agents on free ports of this machine: alone, kept on disk, with access control, or without a leader."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.fakes.server_process import ServerProcess
from tests.servers import free_port, server_program

__all__ = ["MANAGEMENT_TOKEN", "ConsulAgent", "StartConsul", "consul_agent", "running_consul_agent", "start_consul"]

MANAGEMENT_TOKEN = "11111111-2222-4333-8444-555555555555"  # noqa: S105 - of agents that live as long as a test
_PORT_NAMES = ("http", "server", "serf_lan", "serf_wan")


class ConsulAgent(ServerProcess):
    """One agent that is a server as well, and forgets everything when it ends unless it persists.

    Args:
        folder: Where it keeps its data and its log; exists already.
        options: Further options of its command line.
        persistent: Whether a restart brings back the key-value store, the catalog and what was registered.
        access_control: Whether every request needs a token; `MANAGEMENT_TOKEN` may do everything.
        servers: How many servers elect a leader; with more than this one it never has a leader.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        persistent: bool = False,
        access_control: bool = False,
        servers: int = 1,
    ) -> None:
        self.token = MANAGEMENT_TOKEN if access_control else None
        self._has_leader = servers == 1
        ports = {name: free_port() for name in _PORT_NAMES}
        self.port = ports["http"]
        config = folder / "agent.json"
        config.write_text(json.dumps(_configuration(ports, access_control=access_control)))
        dev = self._has_leader and not persistent
        command = [
            server_program("consul"),
            *("agent", "-config-file", config, "-node", "here", "-bind", "127.0.0.1", "-client", "127.0.0.1"),
            *(["-dev"] if dev else ["-server", "-bootstrap-expect", str(servers), "-data-dir", folder / "data"]),
            *options,
        ]
        super().__init__(f"consul on {self.port}", command, folder, is_ready=self._answers)

    @property
    def address(self) -> str:
        """Where it is asked: ``http://127.0.0.1:PORT``."""
        return f"http://127.0.0.1:{self.port}"

    def request(
        self, method: str, path: str, body: object = None, *, token: str | None = None, raw: bytes | None = None
    ) -> tuple[int, object]:
        """Ask it what no library stands in between: the status, and the decoded body or its text.

        Args:
            method: Such as ``"PUT"``.
            path: Such as ``"/v1/kv/name?recurse"``.
            body: Sent as JSON, unless `raw` is given.
            token: What to say in place of the management token, where access is controlled.
            raw: Sent as it is.
        """
        said = token if token is not None else self.token
        headers = {"X-Consul-Token": said} if said is not None else {}
        sent = raw if raw is not None else None if body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body=sent, headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def put(self, key: str, value: str | bytes) -> None:
        """Write one key of the key-value store."""
        status, said = self.request(
            "PUT", f"/v1/kv/{quote(key)}", raw=value.encode() if isinstance(value, str) else value
        )
        assert (status, said) == (200, True), (status, said)

    def delete(self, key: str) -> None:
        """Remove one key of the key-value store, and those below it."""
        status, said = self.request("DELETE", f"/v1/kv/{quote(key)}?recurse=true")
        assert status == 200, (status, said)

    def replace(self, prefix: str, keys: Mapping[str, str]) -> None:
        """Write these keys in place of all that begin with `prefix`, so that nobody sees some without the others."""
        changes: list[dict[str, object]] = [{"Verb": "delete-tree", "Key": prefix}]
        changes += [
            {"Verb": "set", "Key": key, "Value": base64.b64encode(value.encode()).decode()}
            for key, value in keys.items()
        ]
        status, said = self.request("PUT", "/v1/txn", [{"KV": change} for change in changes])
        assert status == 200, (status, said)

    def empty(self) -> None:
        """Remove every key and every service."""
        self.delete("")
        _, services = self.request("GET", "/v1/agent/services")
        assert isinstance(services, Mapping)
        for service in services:
            self.request("PUT", f"/v1/agent/service/deregister/{service}")

    def _answers(self) -> bool:
        try:
            status, leader = self.request("GET", "/v1/status/leader")
            if not self._has_leader:
                return True
            if status == 200 and leader and self.token is not None:
                status, _ = self.request("GET", "/v1/acl/token/self")
            if status == 200 and leader:  # a leader may be elected before it has read what it kept
                status, _ = self.request("GET", "/v1/kv/ready?consistent")
        except (OSError, http.client.HTTPException):
            return False
        return status == 404


def _configuration(ports: Mapping[str, int], *, access_control: bool) -> dict[str, object]:
    return {
        "ports": {**ports, "dns": -1, "grpc": -1, "https": -1},
        "performance": {"raft_multiplier": 1, "rpc_hold_timeout": "1s"},
        "disable_update_check": True,
        "log_level": "warn",
        "acl": {
            "enabled": access_control,
            "default_policy": "deny" if access_control else "allow",
            "tokens": {"master": MANAGEMENT_TOKEN, "agent": MANAGEMENT_TOKEN} if access_control else {},
        },
    }


StartConsul = Callable[..., ConsulAgent]
"""What the fixture `start_consul` gives: takes what `ConsulAgent` takes, without the folder."""


@pytest.fixture
def start_consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartConsul]:
    """Start agents of the test's own, which it may kill, freeze and restart; all are ended after it."""
    started: list[ConsulAgent] = []

    def start(*options: str, persistent: bool = False, access_control: bool = False, servers: int = 1) -> ConsulAgent:
        folder = tmp_path_factory.mktemp("consul")
        agent = ConsulAgent(folder, *options, persistent=persistent, access_control=access_control, servers=servers)
        started.append(agent)
        agent.start()
        return agent

    yield start

    for agent in started:
        agent.kill()


@pytest.fixture(scope="session")
def running_consul_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulAgent]:
    """Keep one agent for all tests of this process; ask for `consul_agent` instead, which is empty."""
    agent = ConsulAgent(tmp_path_factory.mktemp("consul"))
    agent.start()

    yield agent

    agent.kill()


@pytest.fixture
def consul_agent(running_consul_agent: ConsulAgent) -> ConsulAgent:
    """Give an agent with no keys and only its own service, shared with the tests before and after; leave it running."""
    running_consul_agent.empty()
    return running_consul_agent
