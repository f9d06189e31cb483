"""What the drivers of Consul do by themselves, which `holdfast.adapters.consul.client` does otherwise (adr/0036).

Run once more with python-consul 1.1.0 by `tests/integration/test_python_consul.py`.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import time

import consul
import pytest

from tests.fakes.raw_agent import http_answer, raw_agent

pytestmark = pytest.mark.slow

IS_CONTINUATION = os.environ.get("HOLDFAST_TEST_CONSUL_DRIVER", "py-consul") == "py-consul"


def test_token_of_the_environment_wins_over_the_one_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "of-the-environment")
    with raw_agent(http_answer("[]")) as server:
        consul.Consul(host="127.0.0.1", port=server.server_address[1], token="given").kv.get("a", recurse=True)  # noqa: S106 - nobody's

    assert "of-the-environment" in server.asked[0]
    assert "given" not in server.asked[0]


def test_address_of_the_environment_wins_over_the_one_that_is_given_in_2018_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with raw_agent(http_answer("[]")) as meant, raw_agent(http_answer("[]")) as other:
        monkeypatch.setenv("CONSUL_HTTP_ADDR", f"127.0.0.1:{other.server_address[1]}")
        consul.Consul(host="127.0.0.1", port=meant.server_address[1]).kv.get("a", recurse=True)

    assert (len(meant.asked), len(other.asked)) == ((1, 0) if IS_CONTINUATION else (0, 1))


def test_token_goes_with_a_heartbeat_since_the_continuation() -> None:
    with raw_agent(http_answer("")) as server:
        driver = consul.Consul(host="127.0.0.1", port=server.server_address[1], token="given")  # noqa: S106 - nobody's
        driver.agent.check.ttl_pass("service:a")
        driver.agent.service.deregister("a")

    assert ["given" in head for head in server.asked] == [IS_CONTINUATION] * 2


def test_metadata_and_timeouts_are_known_since_the_continuation() -> None:
    driver = consul.Consul(host="127.0.0.1", port=1)

    assert ("meta" in inspect.signature(driver.agent.service.register).parameters) is IS_CONTINUATION
    assert ("connections_timeout" in inspect.signature(consul.Consul.__init__).parameters) is IS_CONTINUATION


@pytest.mark.skipif(not IS_CONTINUATION, reason="says its token in the query, which a redirect drops")
def test_token_follows_a_redirect_to_another_server() -> None:
    with raw_agent(http_answer("[]")) as other:
        location = f"302 Found\r\nLocation: {other.address}/v1/kv/a"
        with raw_agent(http_answer("", status=location)) as server:
            driver = consul.Consul(host="127.0.0.1", port=server.server_address[1], token="given")  # noqa: S106 - nobody's
            driver.kv.get("a", recurse=True)

    assert "X-Consul-Token: given" in other.asked[0]


def test_blocking_query_that_was_abandoned_holds_up_the_end_of_the_process() -> None:
    program = """
import anyio, anyio.to_thread, consul

def ask():
    driver = consul.Consul(host="127.0.0.1", port=PORT)
    driver.kv.get("a", recurse=True, index=1, wait="1h")

async def main():
    with anyio.move_on_after(0.1):
        await anyio.to_thread.run_sync(ask, abandon_on_cancel=True)

anyio.run(main)
"""
    with raw_agent() as server:
        code = program.replace("PORT", str(server.server_address[1]))
        process = subprocess.Popen([sys.executable, "-c", code])
        try:
            deadline_s = time.monotonic() + 30
            while not server.asked and time.monotonic() < deadline_s:
                time.sleep(0.01)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2.0)
        finally:
            process.kill()
            process.wait()

    assert len(server.asked) == 1
