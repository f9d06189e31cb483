"""The bridge to a Consul agent, asked through the driver that is installed.

Run once more with python-consul 1.1.0 by `tests/integration/test_python_consul.py`.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import traceback
from contextlib import nullcontext
from pathlib import Path

import anyio
import consul
import pytest

from holdfast.adapters.consul.address import Address
from holdfast.adapters.consul.client import ConsulClient, Entries, parse_index
from holdfast.ports.errors import ConfigurationError, HoldfastError, StoreRefusedError, StoreUnavailableError
from tests.fakes.certificate import write_certificate
from tests.fakes.consul_agent import ConsulAgent, StartConsul
from tests.fakes.raw_agent import http_answer, raw_agent
from tests.fakes.server_process import wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

DRIVER = os.environ.get("HOLDFAST_TEST_CONSUL_DRIVER", "py-consul")
STRANGER = "99999999-2222-4333-8444-555555555555"
SERVICE = {
    "ID": "web-1",
    "Name": "web",
    "Address": "127.0.0.1",
    "Port": 4000,
    "Tags": ["blue"],
    "Meta": {"model": "tiny"},
    "Check": {"CheckID": "web-1:ttl", "TTL": "30s", "DeregisterCriticalServiceAfter": "1m"},
}


def test_driver_is_the_one_that_this_run_is_about() -> None:
    is_continuation = DRIVER == "py-consul"

    assert hasattr(consul, "exceptions") == is_continuation
    assert is_continuation or consul.__version__ == "1.1.0"


async def test_keys_below_a_prefix_are_read_with_their_index(consul_agent: ConsulAgent) -> None:
    consul_agent.put("holdfast/max_in_flight", "8")
    consul_agent.put("holdfast/läuft", "jä")
    consul_agent.put("other", "1")

    index, entries = await ConsulClient(consul_agent.address).keys("holdfast/")

    assert {entry["Key"]: entry["Value"] for entry in entries} == {
        "holdfast/max_in_flight": b"8",
        "holdfast/läuft": "jä".encode(),
    }
    assert parse_index(index) == max(entry["ModifyIndex"] for entry in entries)


async def test_keys_that_are_not_there_are_none_and_have_an_index_all_the_same(consul_agent: ConsulAgent) -> None:
    index, entries = await ConsulClient(consul_agent.address).keys("nothing/")

    assert entries == ()
    assert parse_index(index)


async def test_keys_are_waited_for_until_they_change(consul_agent: ConsulAgent) -> None:
    client = ConsulClient(consul_agent.address)
    consul_agent.put("holdfast/a", "1")
    index, _ = await client.keys("holdfast/")
    answers: list[tuple[str, Entries]] = []

    async def wait() -> None:
        answers.append(await client.keys("holdfast/", index=parse_index(index) or 0, wait_s=60))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(0.05)
        assert answers == []
        await anyio.to_thread.run_sync(consul_agent.put, "holdfast/a", "2")

    [(later, [entry])] = answers
    assert entry["Value"] == b"2"
    assert later != index


async def test_keys_that_do_not_change_are_answered_when_the_wait_is_over(consul_agent: ConsulAgent) -> None:
    client = ConsulClient(consul_agent.address, timeout_s=20)
    index, _ = await client.keys("nothing/")

    again, entries = await client.keys("nothing/", index=parse_index(index) or 0, wait_s=0.1)

    assert (again, entries) == (index, ())


async def test_register_makes_a_service_with_metadata_that_is_healthy_once_its_check_passed(
    consul_agent: ConsulAgent,
) -> None:
    client = ConsulClient(consul_agent.address)

    await client.register(SERVICE)
    _, before = await client.healthy("web")
    assert await client.pass_ttl("web-1:ttl")
    _, [instance] = await client.healthy("web")

    assert before == []
    service = instance["Service"]
    assert (service["ID"], service["Port"], service["Tags"], service["Meta"]) == (
        "web-1",
        4000,
        ["blue"],
        {"model": "tiny"},
    )


async def test_pass_of_a_check_that_the_agent_forgot_says_so(consul_agent: ConsulAgent) -> None:
    assert not await ConsulClient(consul_agent.address).pass_ttl("nobody:ttl")


async def test_pass_of_a_check_that_a_newer_agent_forgot_says_so() -> None:
    """As of Consul 1.11: `agent/agent_endpoint.go` answers 404."""
    with raw_agent(http_answer('Unknown check ID "web-1:ttl"', status="404 Not Found")) as server:
        assert not await ConsulClient(server.address).pass_ttl("web-1:ttl")


async def test_deregister_removes_the_service_and_may_be_done_twice(consul_agent: ConsulAgent) -> None:
    client = ConsulClient(consul_agent.address)
    await client.register(SERVICE)

    await client.deregister("web-1")
    await client.deregister("web-1")

    assert consul_agent.request("GET", "/v1/agent/services") == (200, {})


async def test_every_call_says_the_token() -> None:
    with raw_agent(http_answer("[]")) as server:
        for client in (
            ConsulClient(server.address, token="given"),  # noqa: S106 - nobody's
            ConsulClient(server.address, read_token=lambda: "from-a-file\n"),
        ):
            await client.keys("holdfast/")
            await client.healthy("web")
            await client.register(SERVICE)
            await client.pass_ttl("web-1:ttl")
            await client.deregister("web-1")

    assert ["X-Consul-Token: given\n" in head for head in server.asked] == [True] * 5 + [False] * 5
    assert ["X-Consul-Token: from-a-file\n" in head for head in server.asked] == [False] * 5 + [True] * 5
    assert not any("token=" in head for head in server.asked)


async def test_environment_changes_neither_address_nor_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "127.0.0.1:1")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "of-somebody-else")
    monkeypatch.setenv("CONSUL_HTTP_SSL", "true")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with raw_agent(http_answer("[]")) as server:
        await ConsulClient(server.address).keys("holdfast/")

    [head] = server.asked
    assert "of-somebody-else" not in head


def test_environment_that_makes_no_sense_is_not_read_or_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "http://127.0.0.1:1")
    refused = pytest.raises(ConfigurationError, match=r"consul.address: .*: unset that, or install py-consul")

    with refused if DRIVER == "python-consul" else nullcontext():  # which reads it whatever it is told
        assert ConsulClient("http://127.0.0.1:8500").name == "consul"


async def test_token_that_may_change_is_read_for_each_call() -> None:
    tokens = iter(["first", "second"])
    with raw_agent(http_answer("[]")) as server:
        client = ConsulClient(server.address, read_token=lambda: next(tokens))
        await client.keys("holdfast/")
        await client.keys("holdfast/")

    assert [head.split("X-Consul-Token: ")[1].split("\n")[0] for head in server.asked] == ["first", "second"]


@pytest.mark.parametrize(
    ("token", "complaint"),
    [
        (None, "consul: a.token_file: t: is open to others"),
        ("two words", "consul: its token must be one word of ASCII, which is not shown here"),
        ("", "its token must be one word"),
    ],
)
async def test_token_that_cannot_be_read_or_used_is_refused_and_nothing_asked(
    token: str | None, complaint: str
) -> None:
    def read_token() -> str:
        if token is None:
            raise ConfigurationError("t: is open to others", path="a.token_file")
        return token

    with raw_agent(http_answer("[]")) as server, pytest.raises(StoreRefusedError, match=complaint) as raised:
        await ConsulClient(server.address, read_token=read_token).keys("holdfast/")

    assert server.asked == []
    assert "two words" not in str(raised.value)


async def test_token_that_may_not_is_refused_for_good(start_consul: StartConsul) -> None:
    agent = start_consul(access_control=True)
    client = ConsulClient(agent.address, token=STRANGER)

    for call in (client.keys("holdfast/"), client.register(SERVICE), client.pass_ttl("web-1:ttl")):
        with pytest.raises(StoreRefusedError, match=r"consul: answered 403.*see to its token") as raised:
            await call
        assert STRANGER not in str(raised.value)


async def test_token_that_may_does_everything(start_consul: StartConsul) -> None:
    agent = start_consul(access_control=True)
    agent.put("holdfast/a", "1")
    client = ConsulClient(agent.address, token=agent.token)

    await client.register(SERVICE)
    assert await client.pass_ttl("web-1:ttl")

    assert len((await client.keys("holdfast/"))[1]) == 1
    assert len((await client.healthy("web"))[1]) == 1
    await client.deregister("web-1")


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ('operator = "read"', "answered 403: Permission denied; see to its token"),
        ('node_prefix "" { policy = "read" }', "answered 403: Permission denied; see to its token"),
        ('service "web" { policy = "read" }', "shows no instance of 'web', and there are some; see to its token"),
    ],
)
async def test_service_that_the_token_may_not_read_is_refused_and_not_empty(
    rules: str, complaint: str, start_consul: StartConsul
) -> None:
    agent = start_consul(access_control=True)
    await ConsulClient(agent.address, token=agent.token).register(SERVICE)
    agent.request("PUT", "/v1/acl/policy", {"Name": "reads", "Rules": rules})
    _, made = agent.request("PUT", "/v1/acl/token", {"Policies": [{"Name": "reads"}]})
    assert isinstance(made, dict)
    client = ConsulClient(agent.address, token=made["SecretID"])
    assert await client.healthy("web") == ((await client.healthy("web"))[0], [])

    with pytest.raises(StoreRefusedError, match=complaint):
        await client.require_readable_service("web")


async def test_service_that_the_token_may_read_is_readable_well_or_not(consul_agent: ConsulAgent) -> None:
    client = ConsulClient(consul_agent.address)
    await client.require_readable_service("web")
    await client.register(SERVICE)
    healthy = []
    for state in ("pass", "warn", "fail"):
        consul_agent.request("PUT", f"/v1/agent/check/{state}/web-1:ttl")
        await client.require_readable_service("web")
        healthy.append(len((await client.healthy("web"))[1]))

    assert healthy == [1, 0, 0]


async def test_answers_about_a_service_that_no_agent_sends_are_no_permission() -> None:
    with raw_agent(http_answer("null")) as server, pytest.raises(StoreUnavailableError, match="no agent sends"):
        await ConsulClient(server.address).require_readable_service("web")
    with raw_agent(http_answer("busy", status="503 Unavailable")) as server, pytest.raises(StoreUnavailableError):
        await ConsulClient(server.address).require_readable_service("web")


@pytest.mark.slow
async def test_agent_without_a_leader_is_unavailable(start_consul: StartConsul) -> None:
    agent = start_consul(servers=3)

    with pytest.raises(StoreUnavailableError, match=r"consul: answered 500: .*No cluster leader"):
        await ConsulClient(agent.address).keys("holdfast/")


async def test_agent_that_is_killed_is_unavailable_and_met_again_after_its_restart(start_consul: StartConsul) -> None:
    agent = start_consul()
    client = ConsulClient(agent.address)
    await client.keys("holdfast/")

    agent.kill()
    with pytest.raises(StoreUnavailableError, match=r"consul: does not answer: Connection refused"):
        await client.keys("holdfast/")
    await anyio.to_thread.run_sync(agent.start)

    assert (await client.keys("holdfast/"))[1] == ()


async def test_agent_that_is_frozen_is_given_up_in_time(start_consul: StartConsul) -> None:
    agent = start_consul()
    client = ConsulClient(agent.address, timeout_s=0.2)
    agent.freeze()

    for call in (client.keys("holdfast/"), client.pass_ttl("web-1:ttl")):
        with pytest.raises(StoreUnavailableError, match=r"consul: did not answer within 0.2 s|timed out"):
            await call


@pytest.mark.parametrize(
    ("answer", "kind", "complaint"),
    [
        (http_answer("no leader", status="500 Oops"), StoreUnavailableError, "answered 500: no leader"),
        (http_answer("", status="503 Busy"), StoreUnavailableError, "answered 503: nothing more"),
        (http_answer("slow down", status="429 Too Many"), StoreUnavailableError, "answered 429: slow down"),
        (http_answer("rpc error: Permission denied", status="500 Oops"), StoreRefusedError, "see to its token"),
        (http_answer("ACL support disabled", status="401 No"), StoreRefusedError, "answered 401"),
        (http_answer("bad", status="400 Bad"), StoreRefusedError, "answered 400: bad"),
        (http_answer("", status="301 Moved"), StoreRefusedError, "answered 301"),
        (http_answer("x" * 10_000, status="400 Bad"), StoreRefusedError, "answered 400: x{300}$"),
        (http_answer("<html>"), StoreUnavailableError, "what no agent sends"),
        (http_answer("null"), StoreUnavailableError, "what no agent sends"),
        (http_answer('{"a": 1}'), StoreUnavailableError, "what no agent sends"),
        (http_answer("[1, 2]"), StoreUnavailableError, "what no agent sends"),
        (http_answer("[" * 100_000), StoreUnavailableError, "what no agent sends"),
        (http_answer('[{"Value": "%"}]')[:-5], StoreUnavailableError, "what no agent sends"),
        (http_answer("", status="404 Not Found", index=None), StoreUnavailableError, "what no agent sends"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", StoreUnavailableError, "does not answer"),
        (b"", StoreUnavailableError, "does not answer: Remote end closed"),
        (http_answer('[{"Key": "holdfast/a", "Value": 5}]'), StoreUnavailableError, "what no agent sends"),
        (http_answer(b" " * (8 * 1024 * 1024 + 1)), StoreRefusedError, "an answer of more than 8388608 bytes"),
    ],
)
async def test_answer_that_is_none_is_told_by_its_kind(
    answer: bytes, kind: type[HoldfastError], complaint: str
) -> None:
    with raw_agent(answer) as server, pytest.raises(kind, match=complaint):
        await ConsulClient(server.address).keys("holdfast/")


async def test_register_at_what_is_no_agent_is_refused() -> None:
    answer = http_answer("no such page", status="404 Not Found")
    with raw_agent(answer) as server, pytest.raises(StoreRefusedError, match="answered 404: no such page"):
        await ConsulClient(server.address).register(SERVICE)


@pytest.mark.parametrize("sent", ["-5", "18446744073709551616000", "0x10", "soon", "", "１２"])
async def test_index_is_returned_as_it_was_sent(sent: str) -> None:
    with raw_agent(http_answer("[]", index=sent.encode("utf-8").decode("latin-1"))) as server:
        index, entries = await ConsulClient(server.address).keys("holdfast/")

    assert entries == []
    assert parse_index(index) is None


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return write_certificate(tmp_path / "agent.pem")


async def test_agent_with_a_certificate_is_asked_by_who_trusts_it_and_told_no_token_by_others(
    certificate: Path,
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with raw_agent(http_answer("[]"), tls=tls) as server:
        trusting = ConsulClient(server.address, token="given", ca_file=certificate)  # noqa: S106 - nobody's
        assert await trusting.keys("holdfast/") == ("1", [])
        with pytest.raises(StoreRefusedError, match=r"consul: its certificate is not trusted: self-signed certificate"):
            await ConsulClient(server.address, token="given").keys("holdfast/")  # noqa: S106 - as above

    assert len(server.asked) == 1


async def test_index_that_is_missing_is_empty() -> None:
    with raw_agent(http_answer("[]", index=None)) as server:
        assert await ConsulClient(server.address).keys("holdfast/") == ("", [])


async def test_question_that_is_cancelled_ends_its_connection_at_once() -> None:
    with raw_agent() as server:
        client = ConsulClient(server.address)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_keep_asking, client)
            await anyio.to_thread.run_sync(lambda: wait_until(lambda: bool(server.asked), "it is asked"))
            tasks.cancel_scope.cancel()

        assert await anyio.to_thread.run_sync(server.ended.wait, 10)


async def _keep_asking(client: ConsulClient) -> None:
    await client.keys("holdfast/", index=1, wait_s=3600)


async def test_change_that_is_cancelled_is_seen_through(consul_agent: ConsulAgent) -> None:
    client = ConsulClient(consul_agent.address)
    consul_agent.freeze()
    is_over = False

    async def register() -> None:
        nonlocal is_over
        try:
            await client.register(SERVICE)
        finally:
            is_over = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(register)
        await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.05)
            assert not is_over
            consul_agent.thaw()

    assert is_over
    _, services = consul_agent.request("GET", "/v1/agent/services")
    assert list(services) == ["web-1"]  # type: ignore[call-overload] # a JSON object


async def test_change_that_is_cancelled_takes_no_longer_than_its_time() -> None:
    with raw_agent() as server:
        client = ConsulClient(server.address, timeout_s=0.2)
        with anyio.move_on_after(0.05) as scope:
            await client.pass_ttl("web-1:ttl")

        assert scope.cancelled_caught
        assert await anyio.to_thread.run_sync(server.ended.wait, 10)


async def test_change_that_is_cancelled_before_it_begins_is_not_made() -> None:
    with raw_agent(http_answer("true")) as server:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ConsulClient(server.address).deregister("web-1")

    assert scope.cancelled_caught
    assert server.asked == []


async def test_questions_that_wait_are_bounded_and_hold_up_no_change() -> None:
    with raw_agent(http_answer("true")) as server:
        server.silent_to = "GET"
        client = ConsulClient(server.address)
        async with anyio.create_task_group() as tasks:
            for _ in range(33):
                tasks.start_soon(_keep_asking, client)
            await anyio.to_thread.run_sync(lambda: wait_until(lambda: len(server.asked) == 32, "32 are asked"))

            assert await client.pass_ttl("web-1:ttl")
            tasks.cancel_scope.cancel()

    assert [head[:3] for head in server.asked] == ["GET"] * 32 + ["PUT"]


def test_process_that_ends_while_a_question_waits_does_not_wait_for_it() -> None:
    program = """
import anyio
from holdfast.adapters.consul.client import ConsulClient

async def main(address):
    with anyio.move_on_after(0.2):
        await ConsulClient(address).keys("holdfast/", index=1, wait_s=3600)

anyio.run(main, ADDRESS)
"""
    with raw_agent() as server:
        code = program.replace("ADDRESS", repr(server.address))
        ended = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)

    assert ended.returncode == 0
    assert "wait=3600.000s" in server.asked[0]


@pytest.mark.parametrize(
    ("address", "options", "complaint"),
    [
        ("127.0.0.1:8500", {}, "consul.address: must be http://HOST:PORT"),
        ("ftp://127.0.0.1", {}, "consul.address: must be"),
        ("http://", {}, "consul.address: must be"),
        ("http://127.0.0.1:port", {}, "consul.address: must be"),
        ("http://user:quiet", {}, "consul.address: must be"),
        ("http://127.0.0.1:99999", {}, "consul.address: must be"),
        ("http://127.0.0.1:0", {}, "consul.address: must be"),
        ("http://127.0.0.1/v1", {}, "consul.address: must be"),
        ("http://user:quiet@127.0.0.1", {}, "consul.address: must be"),
        ("http://127.0.0.1?token=quiet", {}, "consul.address: must be"),
        ("http://127.0.0.1", {"token": "two quiet words"}, "consul.token: must be one word of ASCII"),
        ("http://127.0.0.1", {"token": "quiet\r\nX-Header: 1"}, "consul.token: must be one word"),
        ("http://127.0.0.1", {"token": ""}, "consul.token: must be one word"),
        ("http://127.0.0.1", {"token": "a", "read_token": str}, "consul.token_file: is given beside"),
        ("http://127.0.0.1", {"ca_file": Path("b")}, "consul.ca_file: checks no certificate"),
        ("https://127.0.0.1", {"ca_file": Path("/nowhere/ca.pem")}, "consul.ca_file: '/nowhere/ca.pem' cannot be used"),
    ],
)
def test_client_with_what_cannot_be_used_is_refused(address: str, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as raised:
        ConsulClient(address, **options)  # type: ignore[arg-type] # by the cases above

    assert "quiet" not in "".join(traceback.format_exception(raised.value))


def test_section_is_named_in_what_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^registry\.address: must be"):
        ConsulClient("nowhere", section="registry")


@pytest.mark.parametrize(("url", "port"), [("http://agent", 8500), ("https://agent/", 8501), ("http://agent:80", 80)])
def test_port_left_out_is_that_of_the_scheme(url: str, port: int) -> None:
    assert Address.parse(url, ssl.create_default_context).port == port
