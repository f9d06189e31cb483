"""The routes in an application of one's own, and what they tell of themselves."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Header, HTTPException

from holdfast.adapters.gateway import build_gateway, holdfast_router
from holdfast.adapters.gateway.request_headers import RequestHeaders
from holdfast.ports.gateway import GatewayOptions
from tests.fakes.asgi import AsgiClient
from tests.fakes.gateway import CHAT, SESSIONS, opened_gateway, question
from tests.fakes.service import Answering, opened

pytestmark = pytest.mark.anyio


async def by_header(x_team: Annotated[str | None, Header()] = None) -> str:
    if x_team is None:
        raise HTTPException(403, "say which team you are", headers={"x-why": "team"})
    return x_team


@asynccontextmanager
async def own_application(**more: Any) -> AsyncGenerator[tuple[AsgiClient, Answering, FastAPI]]:  # noqa: ANN401
    backend, app = Answering(), FastAPI()
    async with opened({"a": backend}) as service:
        app.include_router(holdfast_router(service, tenant=by_header, **more), prefix="/llm")
        yield AsgiClient(app), backend, app


async def test_router_in_an_application_of_ones_own_answers_under_its_prefix() -> None:
    async with own_application() as (client, backend, _):
        answer = await client.post(f"/llm{CHAT}", question(), x_team="blue")

    assert answer.status == 200
    assert backend.calls == 1


async def test_router_tenant_is_what_the_dependency_says() -> None:
    async with own_application() as (client, backend, _):
        await client.post(f"/llm{CHAT}", question(), x_team="blue")
        await client.post(f"/llm{CHAT}", question(), x_team="red")
        await client.post(f"/llm{CHAT}", question(), x_team="red")

    assert backend.calls == 2


async def test_router_refusal_of_the_dependency_comes_in_the_shape_of_the_others() -> None:
    async with own_application() as (client, backend, _):
        answer = await client.post(f"/llm{CHAT}", question())

    assert answer.status == 403
    assert answer.headers["x-why"] == "team"
    assert answer.document["error"]["message"] == "say which team you are"
    assert backend.calls == 0


async def by_required_header(x_team: Annotated[str, Header()]) -> str:
    return x_team


async def test_router_dependency_that_misses_what_it_needs_is_told_in_the_shape_of_the_others() -> None:
    async with opened({"a": Answering()}) as service:
        app = FastAPI()
        app.include_router(holdfast_router(service, tenant=by_required_header))
        answer = await AsgiClient(app).post(CHAT, question())

    error = answer.document["error"]
    assert answer.status == 422
    assert (error["type"], error["param"]) == ("invalid_request_error", "x-team")
    assert error["message"] == "x-team: field required"


@pytest.mark.parametrize(("headers", "retry_after"), [(None, "1"), ({"Retry-After": "7"}, "7")])
async def test_router_refusal_of_the_dependency_that_asks_to_come_back_says_when(
    headers: dict[str, str] | None, retry_after: str
) -> None:
    async def busy() -> str:
        raise HTTPException(503, "busy", headers=headers)

    async with opened({"a": Answering()}) as service:
        app = FastAPI()
        app.include_router(holdfast_router(service, tenant=busy))
        answer = await AsgiClient(app).post(CHAT, question())

    assert answer.status == 503
    assert answer.headers["retry-after"] == retry_after


async def test_router_dependencies_of_the_application_are_asked_too() -> None:
    seen: list[str] = []

    async def audit() -> None:
        seen.append("asked")

    async with opened({"a": Answering()}) as service:
        app = FastAPI()
        app.include_router(holdfast_router(service), dependencies=[Depends(audit)])
        answer = await AsgiClient(app).post(CHAT, question(stream=True), host="my.example")

    assert answer.status == 200
    assert seen == ["asked"]


async def test_router_body_is_bounded_in_an_application_of_ones_own() -> None:
    async with own_application(max_body_bytes=100) as (client, _, _):
        answer = await client.post(f"/llm{CHAT}", question("x" * 200), x_team="blue")

    assert answer.status == 413


async def test_router_values_of_a_body_are_bounded_in_an_application_of_ones_own() -> None:
    async with own_application(max_body_values=4) as (client, _, _):
        answer = await client.post(f"/llm{CHAT}", question(), x_team="blue")

    assert "has more than 4 values" in answer.document["error"]["message"]


async def test_models_are_the_service_and_its_personas() -> None:
    async with opened_gateway(
        {"a": Answering(), "b": Answering()}, options=GatewayOptions(personas=("critic",))
    ) as gateway:
        answer = await gateway.client.get("/v1/models")

    entries = answer.document["data"]
    assert answer.document["object"] == "list"
    assert [entry["id"] for entry in entries] == ["holdfast", "holdfast:critic"]
    assert entries[0]["backends"] == ["a", "b"]
    assert {entry["object"] for entry in entries} == {"model"}


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", CHAT, 405), ("DELETE", "/healthz", 405)]
)
async def test_path_or_method_that_is_not_offered_comes_in_the_shape_of_the_others(
    method: str, path: str, status: int
) -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        answer = await gateway.client.ask(method, path)

    assert answer.status == status
    assert answer.document["error"]["type"] == "invalid_request_error"


async def test_client_that_leaves_before_its_body_is_complete_asks_nothing() -> None:
    backend = Answering()

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:  # noqa: ANN401 - of ASGI
        sent.append(message)

    async with opened({"a": backend}) as service:
        app = build_gateway(service)
        scope = AsgiClient(app)._scope("POST", CHAT, {"content-type": "application/json"})  # what a server would give
        await app(scope, receive, send)

    assert sent[0]["status"] == 499
    assert backend.calls == 0


def _references(part: Any) -> list[str]:  # noqa: ANN401 - any part of a document
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [reference for value in part.values() for reference in _references(value)]
    return [reference for item in part for reference in _references(item)] if isinstance(part, list) else []


async def test_openapi_describes_the_whole_body_without_references_that_lead_nowhere() -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        document = (await gateway.client.get("/openapi.json")).document

    body = document["paths"][CHAT]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"messages", "model", "stream", "tools", "n"} <= set(body["properties"])
    assert body["additionalProperties"] is False
    assert _references(body) == []


async def test_openapi_tells_of_every_header_that_is_heeded() -> None:
    asked: list[str] = []

    class Heard(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - as that of a dict
            asked.append(key)
            return super().get(key, default)

    RequestHeaders.of(Heard(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
    async with opened_gateway({"a": Answering()}) as gateway:
        document = (await gateway.client.get("/openapi.json")).document

    told = {parameter["name"]: parameter for parameter in document["paths"][CHAT]["post"]["parameters"]}
    assert set(told) == set(asked)
    assert {parameter["in"] for parameter in told.values()} == {"header"}
    assert "no-cache" in told["cache-control"]["description"]


async def test_openapi_tells_of_every_route_and_no_page_that_loads_from_elsewhere() -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        document = (await gateway.client.get("/openapi.json")).document
        pages = [(await gateway.client.get(path)).status for path in ("/docs", "/redoc")]

    assert set(document["paths"]) == {
        *(CHAT, SESSIONS, f"{SESSIONS}/{{session_id}}", "/v1/models"),
        *("/healthz", "/readyz", "/metrics", "/status", "/status.json"),
    }
    assert pages == [404, 404]
