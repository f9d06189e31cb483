"""What is made of Consul's answers, whatever is in them."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.adapters.consul.client import ConsulClient
from holdfast.adapters.consul.registry import ConsulRegistry
from holdfast.ports.registry import ServiceInstance
from tests.fakes.registry import instance

pytestmark = pytest.mark.anyio

SERVICE = {"ID": "asks-1", "Service": "asks", "Address": "10.0.0.1", "Port": 8001, "Tags": [], "Meta": {}}
NODE = {"Node": "here", "Address": "192.0.2.7"}


class Answering(ConsulClient):
    """Answers what it is given, and notes what it was told to register."""

    def __init__(self, index: str = "7", *services: Any) -> None:  # noqa: ANN401 - any JSON
        super().__init__("http://127.0.0.1:1")
        self.index = index
        self.entries = [
            service if "Service" not in service else {"Node": NODE, "Service": service} for service in services
        ]
        self.registered: list[dict[str, Any]] = []
        self.doubted: list[str] = []

    async def healthy(self, service: str, *, index: int = 0, wait_s: float = 0.0) -> tuple[str, list[dict[str, Any]]]:
        return self.index, self.entries

    async def require_readable_service(self, service: str) -> None:
        self.doubted.append(service)

    async def register(self, definition: Any) -> None:  # noqa: ANN401 - as above
        self.registered.append(definition)


async def found(*services: Any) -> tuple[ServiceInstance, ...]:  # noqa: ANN401 - as above
    registry = ConsulRegistry(Answering("7", *services))
    return (await registry.instances("asks", index=0, wait_s=0.0))[1]


async def test_register_says_everything_and_begins_alive() -> None:
    client = Answering()
    own = ServiceInstance(
        service="asks", instance_id="asks-1", host="10.0.0.1", port=8001, tags=("eu",), metadata={"model": "tiny"}
    )

    await ConsulRegistry(client).register(own, ttl_s=15.0, forget_after_s=90.0)

    assert client.registered == [
        {
            "ID": "asks-1",
            "Name": "asks",
            "Address": "10.0.0.1",
            "Port": 8001,
            "Tags": ["eu"],
            "Meta": {"model": "tiny"},
            "Check": {
                "CheckID": "service:asks-1",
                "TTL": "15.000s",
                "Status": "passing",
                "DeregisterCriticalServiceAfter": "90.000s",
            },
        }
    ]


async def test_instances_are_in_order_of_their_ids() -> None:
    assert await found({**SERVICE, "ID": "asks-2", "Port": 8002}, SERVICE) == (instance(1), instance(2))


async def test_answer_is_doubted_only_where_it_is_empty() -> None:
    some, none = Answering("7", SERVICE), Answering("7")
    await ConsulRegistry(some).instances("asks", index=0, wait_s=0.0)
    await ConsulRegistry(none).instances("asks", index=0, wait_s=0.0)

    assert (some.doubted, none.doubted) == ([], ["asks"])


async def test_instance_without_an_address_has_that_of_its_node() -> None:
    [only] = await found({**SERVICE, "Address": ""})

    assert only.host == "192.0.2.7"


async def test_instance_without_tags_and_metadata_has_none() -> None:
    assert await found({**SERVICE, "Tags": None, "Meta": None}) == (instance(1),)


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"Node": NODE},
        {**SERVICE, "Port": 0},
        {**SERVICE, "Port": 65536},
        {**SERVICE, "Port": "http"},
        {**SERVICE, "Port": None},
        {"Service": "asks", "ID": "asks-3", "Address": "h"},
        {**SERVICE, "Meta": ["a"]},
        {**SERVICE, "Tags": 7},
    ],
)
async def test_entry_that_cannot_be_asked_is_left_out_and_the_others_are_not(odd: dict[str, Any]) -> None:
    assert await found(odd, SERVICE) == (instance(1),)


async def test_entry_without_any_address_is_left_out() -> None:
    client = Answering()
    client.entries = [{"Node": None, "Service": {**SERVICE, "Address": ""}}]

    assert (await ConsulRegistry(client).instances("asks", index=0, wait_s=0.0))[1] == ()


@pytest.mark.parametrize(("said", "meant"), [("7", 7), ("", None), ("soon", None), ("-1", None), ("9" * 40, None)])
async def test_index_that_makes_no_sense_is_none(said: str, meant: int | None) -> None:
    assert (await ConsulRegistry(Answering(said)).instances("asks", index=0, wait_s=0.0))[0] == meant
