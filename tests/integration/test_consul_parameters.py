"""Consul's keys as parameters: what the contract does not say."""

from __future__ import annotations

import base64
import json

import pytest

from holdfast.adapters.consul import ConsulClient, ConsulParameters
from holdfast.ports.errors import StoreError, StoreRefusedError
from tests.fakes.consul_agent import ConsulAgent, StartConsul
from tests.fakes.raw_agent import http_answer, raw_agent

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


async def _read(agent: ConsulAgent, prefix: str = "holdfast") -> object:
    return (await ConsulParameters(ConsulClient(agent.address), prefix).parameters(index=0, wait_s=0.0))[1]


@pytest.mark.parametrize("prefix", ["holdfast", "holdfast/", "/holdfast/"])
async def test_prefix_is_the_same_with_and_without_slashes(consul_agent: ConsulAgent, prefix: str) -> None:
    consul_agent.put("holdfast/timeout_s", "5")
    consul_agent.put("holdfast-of-others/timeout_s", "6")

    assert await _read(consul_agent, prefix) == {"timeout_s": "5"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", "5"),
        ("true", "true"),
        ("", ""),
        ("null", None),
        ('["a", "b"]', ["a", "b"]),
        ('{"strategy": "weighted"}', {"strategy": "weighted"}),
        ("[sic] is no list", "[sic] is no list"),
        ("nullified", "nullified"),
        ("[" + "1" * 5000 + "]", "[" + "1" * 5000 + "]"),
        ("jä\n", "jä\n"),
    ],
)
async def test_value_is_text_unless_it_is_an_object_a_list_or_null(
    consul_agent: ConsulAgent, text: str, value: object
) -> None:
    consul_agent.put("holdfast/name", text)

    assert await _read(consul_agent) == {"name": value}


async def test_folder_that_the_interface_made_holds_nothing(consul_agent: ConsulAgent) -> None:
    consul_agent.put("holdfast/", "")
    consul_agent.put("holdfast/guard/", "")

    assert await _read(consul_agent) == {}


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"guard": "quiet", "guard/retry": "2"}, "the key 'holdfast/guard/retry' is no parameter: 'guard' has a value"),
        ({"guard": '{"a": 1}', "guard/a": "quiet"}, "the key 'holdfast/guard/a' is no parameter: it is given twice"),
        ({"name": b"\xffquiet"}, "the key 'holdfast/name' is no parameter: holds no text"),
        ({"name": "[" * 100_000}, "the key 'holdfast/name' is no parameter: is nested too deeply"),
    ],
)
async def test_key_that_is_no_parameter_is_refused_without_its_value(
    consul_agent: ConsulAgent, keys: dict[str, str | bytes], complaint: str
) -> None:
    for key, value in keys.items():
        consul_agent.put(f"holdfast/{key}", value)

    with pytest.raises(StoreRefusedError, match=complaint) as raised:
        await _read(consul_agent)

    assert "quiet" not in str(raised.value)


async def test_token_needs_to_read_these_keys_only_and_without_that_they_do_not_seem_to_be_gone(
    start_consul: StartConsul,
) -> None:
    agent = start_consul(access_control=True)
    agent.put("holdfast/timeout_s", "5")
    rules = 'key_prefix "holdfast/" { policy = "read" }'
    agent.request("PUT", "/v1/acl/policy", {"Name": "reads", "Rules": rules})
    _, made = agent.request("PUT", "/v1/acl/token", {"Policies": [{"Name": "reads"}]})
    assert isinstance(made, dict)

    store = ConsulParameters(ConsulClient(agent.address, token=made["SecretID"]), "holdfast")
    assert (await store.parameters(index=0, wait_s=0.0))[1] == {"timeout_s": "5"}
    with pytest.raises(StoreRefusedError, match="Permission denied"):
        await ConsulParameters(ConsulClient(agent.address, token=made["SecretID"]), "other").parameters(
            index=0, wait_s=0.0
        )


@pytest.mark.parametrize(
    "entry",
    [{"Key": "holdfast/a", "Value": 5}, {"Key": "holdfast/a", "Value": "%%%"}, {"Value": "MQ=="}, {"Key": None}],
)
async def test_entry_that_no_agent_sends_is_refused_or_no_parameter(entry: dict[str, object]) -> None:
    with raw_agent(http_answer(json.dumps([entry]))) as server:
        store = ConsulParameters(ConsulClient(server.address), "holdfast")
        try:
            _, values = await store.parameters(index=0, wait_s=0.0)
        except StoreError as error:
            values = {"refused": type(error).__name__}

    assert set(values) <= {"refused", "None", "a"}


async def test_index_that_makes_no_sense_is_none() -> None:
    body = json.dumps([{"Key": "holdfast/a", "Value": base64.b64encode(b"1").decode()}])
    with raw_agent(http_answer(body, index="soon")) as server:
        store = ConsulParameters(ConsulClient(server.address), "holdfast")

        assert await store.parameters(index=0, wait_s=0.0) == (None, {"a": "1"})
