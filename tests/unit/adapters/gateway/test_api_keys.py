from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from holdfast.ports.gateway import ApiKey, GatewayOptions
from tests.fakes.gateway import CHAT, opened_gateway, question
from tests.fakes.service import Answering

pytestmark = pytest.mark.anyio

OLD, NEW, OTHER = "acme-key-of-last-year", "acme-key-of-this-year", "another-tenant's-key-é"


def key_of(tenant: str, key: str) -> ApiKey:
    return ApiKey(tenant=tenant, sha256=hashlib.sha256(key.encode()).digest())


KEYS = GatewayOptions(keys=(key_of("acme", OLD), key_of("acme", NEW), key_of("other", OTHER)))
CLOSED = ("/v1/models", "/metrics", "/status", "/status.json")


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "tenant"),
    [
        (f"Bearer {OLD}", "acme"),
        (f"bearer  {NEW} ", "acme"),
        (basic(OTHER), "other"),
    ],
)
async def test_key_says_whose_the_request_is(authorization: str, tenant: str) -> None:
    async with opened_gateway({"a": Answering()}, options=KEYS) as gateway:
        answer = await gateway.client.post(CHAT, question(), authorization=authorization)
        tenants = [getattr(recorded.event, "tenant", None) for recorded in gateway.service.events]

    assert answer.status == 200
    assert tenant in tenants


async def test_key_duplicates_of_two_tenants_share_no_answer() -> None:
    backend = Answering()
    async with opened_gateway({"a": backend}, options=KEYS) as gateway:
        await gateway.client.post(CHAT, question(), authorization=f"Bearer {OLD}")
        await gateway.client.post(CHAT, question(), authorization=basic(OTHER))

    assert backend.calls == 2


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer wrong",
        f"Token {OLD}",
        OLD,
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
    ],
)
async def test_key_that_is_unknown_is_401_before_the_body_is_looked_at(authorization: str) -> None:
    async with opened_gateway({"a": Answering()}, options=KEYS) as gateway:
        answer = await gateway.client.ask("POST", CHAT, [b"no json"], headers={"authorization": authorization})
        received = gateway.service.health().requests.received

    assert answer.status == 401
    assert answer.document["error"]["code"] == "invalid_api_key"
    assert OLD not in answer.text
    assert received == 0


@pytest.mark.parametrize("path", CLOSED)
async def test_key_is_asked_for_by_everything_that_tells_of_the_service(path: str) -> None:
    async with opened_gateway({"a": Answering()}, options=KEYS) as gateway:
        without = await gateway.client.get(path)
        with_key = await gateway.client.get(path, authorization=f"Bearer {NEW}")

    assert (without.status, with_key.status) == (401, 200)


async def test_key_missing_makes_a_browser_ask_for_one() -> None:
    async with opened_gateway({"a": Answering()}, options=KEYS) as gateway:
        answer = await gateway.client.get("/status")

    assert answer.headers["www-authenticate"].startswith('Basic realm="holdfast"')


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_key_is_not_asked_for_by_probes(path: str) -> None:
    async with opened_gateway({"a": Answering()}, options=KEYS) as gateway:
        answer = await gateway.client.get(path, host="10.0.0.7:8000")

    assert answer.status == 200


async def test_key_is_compared_with_every_other_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    real = hmac.compare_digest

    def compare(known: bytes, given: bytes) -> bool:
        compared.append(known)
        return real(known, given)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    async with opened_gateway({"a": Answering()}, options=KEYS) as gateway:
        await gateway.client.get("/v1/models", authorization=f"Bearer {OLD}")

    assert compared == [key.sha256 for key in KEYS.keys]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "[::1]:8000", "[::1]"])
async def test_without_keys_this_machine_is_answered(host: str) -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        answer = await gateway.client.get("/v1/models", host=host)

    assert answer.status == 200


@pytest.mark.parametrize(
    "host", ["rebound.example", "rebound.example:8000", "10.0.0.7", "localhost.example", "", "::1:80:x"]
)
async def test_without_keys_any_other_name_is_403_because_a_web_page_may_have_it(host: str) -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        answer = await gateway.client.get("/v1/models", host=host)

    assert answer.status == 403
    assert answer.document["error"]["code"] == "host"
