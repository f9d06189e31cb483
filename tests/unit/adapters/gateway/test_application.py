"""The gateway as a plain ASGI application: where it stands, and that going past FastAPI is no other rule."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import anyio
import pytest
from fastapi import FastAPI

from holdfast.adapters.gateway import ApiKeyGate, build_gateway, holdfast_router
from holdfast.ports.gateway import ApiKey, GatewayOptions
from tests.fakes.asgi import AsgiClient, Exchange, events_of
from tests.fakes.gateway import CHAT, SESSIONS, question
from tests.fakes.service import Answering, assert_nothing_is_held, opened

pytestmark = pytest.mark.anyio

KEYS = (ApiKey(tenant="ann", sha256=hashlib.sha256(b"ann").digest()),)
ANN = {"authorization": "Bearer ann"}

Scope = MutableMapping[str, Any]
Application = Callable[..., Awaitable[None]]


class Placed:
    """Says to `app` where it stands, as a server or a proxy does, and keeps what it was told."""

    def __init__(self, app: Application, *, root_path: str, path: Callable[[str], str]) -> None:
        self._app = app
        self._root_path = root_path
        self._path = path
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:  # noqa: ANN401 - of ASGI
        self.scopes.append({**scope, "root_path": self._root_path, "path": self._path(scope["path"])})
        await self._app(self.scopes[-1], receive, send)


@asynccontextmanager
async def both() -> AsyncGenerator[tuple[AsgiClient, AsgiClient]]:
    """Give clients of the gateway and of FastAPI's routes alone, over one service."""
    async with opened({"a": Answering()}) as service:
        routes = FastAPI()
        options = GatewayOptions(keys=KEYS, max_body_bytes=1000)
        routes.include_router(holdfast_router(service, tenant=ApiKeyGate(KEYS), max_body_bytes=1000))
        yield AsgiClient(build_gateway(service, options), ANN), AsgiClient(routes, ANN)


def at_root_path(path: str) -> str:
    return f"/llm{path}"


def past_a_proxy_that_strips(path: str) -> str:
    return path


async def test_gateway_under_a_root_path_answers_conversations_past_fastapi() -> None:
    async with opened({"a": Answering()}) as service:
        placed = Placed(build_gateway(service), root_path="/llm", path=at_root_path)
        whole = await AsgiClient(placed).post(CHAT, question())
        streamed = await AsgiClient(placed).post(CHAT, question("again", stream=True))
        models = await AsgiClient(placed).get("/v1/models")

    assert [answer.status for answer in (whole, streamed, models)] == [200, 200, 200]
    assert events_of(streamed.body)[-1] == "[DONE]"
    assert ["app" in scope for scope in placed.scopes] == [False, False, True]  # which FastAPI writes there


async def test_gateway_under_a_root_path_that_the_server_takes_off_answers_all_the_same() -> None:
    async with opened({"a": Answering()}) as service:
        placed = Placed(build_gateway(service), root_path="/llm", path=past_a_proxy_that_strips)
        client = AsgiClient(placed)
        answers = [await client.post(CHAT, question()), await client.get("/v1/models"), await client.post(SESSIONS, {})]

    assert [answer.status for answer in answers] == [200, 200, 201]


@pytest.mark.parametrize("root_path", ["", "/behind/a/proxy"])
async def test_gateway_mounted_into_an_application_answers_under_its_path_and_nowhere_else(root_path: str) -> None:
    async with opened({"a": Answering()}) as service:
        app = FastAPI()
        app.mount("/llm", build_gateway(service))
        client = AsgiClient(Placed(app, root_path=root_path, path=lambda path: f"{root_path}{path}"))
        answer = await client.post(f"/llm{CHAT}", question())
        begun = await client.post(f"/llm{SESSIONS}", {"id": "mine"})
        gone = await client.post(f"/llm{CHAT}", question(), **{"x-holdfast-session": "other"})
        outside = await client.post(CHAT, question())

    assert [exchange.status for exchange in (answer, begun, gone, outside)] == [200, 201, 404, 404]
    assert gone.document["error"]["code"] == "session_not_found"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *((method, CHAT, 405) for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS")),
        ("POST", f"{CHAT}/", 307),
        ("GET", f"{CHAT}/", 307),
        ("POST", f"{CHAT}/more", 404),
        ("POST", f"/{CHAT}", 404),
        ("POST", CHAT.upper(), 404),
        ("POST", f"{SESSIONS}/", 307),
    ],
)
async def test_gateway_method_or_path_beside_a_conversations_is_told_what_fastapi_says(
    method: str, path: str, status: int
) -> None:
    async with both() as (gateway, routes):
        told, expected = await gateway.ask(method, path), await routes.ask(method, path)

    assert told.status == expected.status == status
    for name in ("allow", "location"):
        assert told.headers.get(name) == expected.headers.get(name)


def _apart_from_names(answer: Exchange) -> tuple[int | None, str, dict[str, str]]:
    named = {"x-request-id", "x-holdfast-queue-s", "x-holdfast-backend-s", "content-length"}
    headers = {name: value for name, value in answer.headers.items() if name not in named}
    body = answer.document if answer.status != 200 else answer.document["choices"]
    return answer.status, str(body), headers


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"messages": [{"role": "user", "content": "why?"}]}', {"cache-control": "no-cache"}, 200),
        (b'{"messages": [{"role": "user", "content": "why?"}]}', {"authorization": "Bearer bob"}, 401),
        (b'{"messages": [{"role": "user", "content": "why?"}]}', {"x-holdfast-session": "gone"}, 404),
        (b'{"messages": [{"role": "user", "content": "why?"}]}', {"x-holdfast-priority": "urgent"}, 400),
        (b'{"messages": [{"role": "user", "content": "why?"}]}', {"content-type": "text/plain"}, 415),
        (b'{"messages": [{"role": "user", "content": " "}]}', {}, 400),
        (b'{"messages": []}', {}, 400),
        (b'{"messages": ', {}, 400),
        (b"", {}, 400),
        (b'"%b"' % (b"x" * 2000), {}, 413),
    ],
)
async def test_gateway_conversation_is_answered_as_by_the_route_of_fastapi(
    body: bytes, headers: dict[str, str], status: int
) -> None:
    sent = {"content-type": "application/json", **headers}
    async with both() as (gateway, routes):
        told = await gateway.ask("POST", CHAT, [body], headers=sent)
        expected = await routes.ask("POST", CHAT, [body], headers=sent)

    assert told.status == status
    assert _apart_from_names(told) == _apart_from_names(expected)


@pytest.mark.parametrize(("method", "path"), [("POST", CHAT), ("POST", SESSIONS), ("GET", "/healthz")])
async def test_gateway_request_whose_end_can_be_read_in_two_ways_is_refused_on_every_path(
    method: str, path: str
) -> None:
    both_lengths = {"content-type": "application/json", "content-length": "2", "transfer-encoding": "chunked"}
    async with both() as (gateway, _):
        answer = await gateway.ask(method, path, [b"{}"], headers=both_lengths)

    assert answer.status == 400
    assert answer.headers["connection"] == "close"
    assert answer.document["error"]["code"] == "framing"


async def test_gateway_bug_behind_another_route_tells_the_client_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> NoReturn:
        raise ZeroDivisionError("secret detail")

    exchange = Exchange()
    async with opened({"a": Answering()}) as service:
        client = AsgiClient(build_gateway(service))
        monkeypatch.setattr(service, "health", fail)
        with pytest.raises(ZeroDivisionError):
            await client.ask("GET", "/readyz", exchange=exchange)

    assert (exchange.status, exchange.document["error"]["code"]) == (500, "internal")
    assert "secret" not in exchange.text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_gateway_answer_that_cannot_be_sent_on_is_followed_by_no_other(stream: bool) -> None:
    exchange, body = Exchange(), json.dumps(question(stream=stream)).encode()

    async def fail(_: bytes) -> None:
        raise ZeroDivisionError("of the server's")

    async with opened({"a": Answering()}) as service:
        client = AsgiClient(build_gateway(service))
        headers = {"content-type": "application/json"}
        with pytest.raises(ZeroDivisionError):
            await client.ask("POST", CHAT, [body], headers=headers, exchange=exchange, on_event=fail)
        await anyio.sleep(0.01)
        assert_nothing_is_held(service.health())

    assert exchange.status == 200
    assert b"internal" not in exchange.body


async def test_gateway_lets_a_lifespan_through() -> None:
    told: list[str] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup" if not told else "lifespan.shutdown"}

    async def send(message: Any) -> None:  # noqa: ANN401 - of ASGI
        told.append(message["type"])

    async with opened({"a": Answering()}) as service:
        await build_gateway(service)({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)

    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
