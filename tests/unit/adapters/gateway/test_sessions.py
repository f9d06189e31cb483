"""Conversations begun, shown and ended through the gateway, over the wired path, in virtual time."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest
from fastapi import FastAPI

from holdfast.adapters.gateway import holdfast_router
from holdfast.adapters.memory import MemorySessions
from holdfast.application.settings import Settings
from holdfast.ports.errors import SessionStoreError
from holdfast.ports.gateway import ApiKey, GatewayOptions
from holdfast.ports.session import RemovedSession, Session, SessionBounds
from holdfast.testing import VirtualClock
from tests.fakes.asgi import AsgiClient
from tests.fakes.gateway import CHAT, SESSIONS, Gateway, opened_gateway, question
from tests.fakes.service import Answering, assert_nothing_is_held, opened

pytestmark = pytest.mark.anyio

PERSONAS = Settings.model_validate({"prompts": {"p": "Be brief."}, "personas": {"Critic": {"prompt": "p"}}})


@asynccontextmanager
async def running(
    backend: Answering | None = None,
    settings: Settings | None = None,
    *,
    tenants: tuple[str, ...] = (),
    **parts: Any,  # noqa: ANN401 - those of `opened`
) -> AsyncGenerator[Gateway]:
    """Open a gateway, where a tenant's key is its name."""
    keys = tuple(ApiKey(tenant=name, sha256=hashlib.sha256(name.encode()).digest()) for name in tenants)
    async with opened_gateway(
        {"a": backend or Answering()}, settings, options=GatewayOptions(keys=keys), **parts
    ) as it:
        yield it
        assert_nothing_is_held(it.service.health())


def key(tenant: str) -> dict[str, str]:
    return {"authorization": f"Bearer {tenant}"}


def on(session_id: str) -> dict[str, str]:
    return {"x-holdfast-session": session_id}


def path_of(session_id: str) -> str:
    return f"{SESSIONS}/{session_id}"


async def test_session_is_begun_with_a_name_that_is_made_up_and_says_where_it_is() -> None:
    async with running() as gateway:
        answers = [await gateway.client.post(SESSIONS, {}) for _ in range(2)]
        sessions = gateway.service.health().sessions

    first, second = (answer.document for answer in answers)
    assert [answer.status for answer in answers] == [201, 201]
    assert first["id"] != second["id"]
    assert answers[0].headers["location"] == f"sessions/{first['id']}"
    assert (first["object"], first["version"], first["persona"]) == ("session", 1, None)
    assert (first["turns"], first["messages"]) == (0, 0)
    assert sessions.sessions == 2
    assert sessions.size_bytes == first["size_bytes"] + second["size_bytes"]


async def test_session_of_a_client_goes_on_from_request_to_request_and_counts_what_was_said() -> None:
    backend = Answering(text="re {}".format)
    async with running(backend) as gateway:
        session_id = (await gateway.client.post(SESSIONS, {"system": "Be brief."})).document["id"]
        for text in ("first", "second"):
            await gateway.client.post(CHAT, question(text), **on(session_id))
        shown = await gateway.client.get(path_of(session_id))
        kept = await gateway.service.sessions.open(session_id, tenant="default")

    assert [message.content for message in backend.prompts[1].messages] == ["Be brief.", "first", "re 1", "second"]
    assert shown.status == 200
    assert shown.document == {
        "id": session_id,
        "object": "session",
        "version": 3,
        "persona": None,
        "turns": 2,
        "messages": 5,
        "size_bytes": kept.size_bytes,
    }


async def test_session_that_is_shown_tells_nothing_of_what_was_said() -> None:
    async with running(Answering(text="the answer")) as gateway:
        session_id = (await gateway.client.post(SESSIONS, {"system": "the rules"})).document["id"]
        await gateway.client.post(CHAT, question("the question"), **on(session_id))
        shown = await gateway.client.get(path_of(session_id))

    assert not [word for word in ("rules", "question", "answer") if word in shown.text]


async def test_session_streams_too() -> None:
    backend = Answering()
    async with running(backend) as gateway:
        session_id = (await gateway.client.post(SESSIONS, {"id": "mine"})).document["id"]
        await gateway.client.post(CHAT, question("first", stream=True), **on(session_id))
        await gateway.client.post(CHAT, question("second", stream=True), **on(session_id))

    assert [message.content for message in backend.prompts[1].messages] == ["first", "42", "second"]


async def test_session_has_the_persona_that_it_was_begun_with_by_its_own_name() -> None:
    backend = Answering()
    async with running(backend, PERSONAS) as gateway:
        begun = await gateway.client.post(SESSIONS, {"persona": "critic"})
        answer = await gateway.client.post(CHAT, question(), **on(begun.document["id"]))

    assert begun.document["persona"] == "Critic"
    assert answer.headers["x-holdfast-persona"] == "Critic"
    assert backend.prompts[0].messages[0].content == "Be brief."


async def test_session_of_a_persona_that_is_not_there_is_refused() -> None:
    async with running(settings=PERSONAS) as gateway:
        answer = await gateway.client.post(SESSIONS, {"persona": "stranger"})
        sessions = gateway.service.health().sessions

    assert answer.status == 400
    assert answer.document["error"]["message"] == "persona: there is no 'stranger'; known: Critic"
    assert sessions.created == 0


async def test_session_that_is_begun_again_under_its_name_is_one_session() -> None:
    async with running() as gateway:
        begun = await gateway.client.post(SESSIONS, {"id": "mine", "system": "one"})
        again = await gateway.client.post(SESSIONS, {"id": "mine", "system": "two"})
        kept = await gateway.service.sessions.open("mine", tenant="default")

    assert (begun.status, again.status) == (201, 409)
    assert again.document["error"]["code"] == "session_conflict"
    assert kept.system == b"one"


async def test_session_that_was_ended_is_not_found_any_more() -> None:
    async with running() as gateway:
        await gateway.client.post(SESSIONS, {"id": "mine"})
        ended = await gateway.client.ask("DELETE", path_of("mine"))
        shown = await gateway.client.get(path_of("mine"))
        again = await gateway.client.ask("DELETE", path_of("mine"))
        asked = await gateway.client.post(CHAT, question(), **on("mine"))
        sessions = gateway.service.health().sessions

    assert ended.status == 200
    assert ended.document == {"id": "mine", "object": "session.deleted", "deleted": True}
    assert [answer.status for answer in (shown, again, asked)] == [404, 404, 404]
    assert (sessions.sessions, sessions.deleted) == (0, 1)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_session_that_never_was_is_404_in_one_clear_line(method: str) -> None:
    async with running() as gateway:
        answer = await gateway.client.ask(method, path_of("gone"))

    assert answer.status == 404
    assert answer.document["error"] == {
        "message": "session 'gone': not found; it may have expired: create one",
        "type": "invalid_request_error",
        "param": None,
        "code": "session_not_found",
    }


async def test_session_of_another_tenant_is_as_unknown_as_one_that_never_was() -> None:
    backend = Answering()
    async with running(backend, tenants=("ann", "bob")) as gateway:
        await gateway.client.post(SESSIONS, {"id": "mine"}, **key("ann"))
        shown = await gateway.client.get(path_of("mine"), **key("bob"))
        unknown = await gateway.client.get(path_of("gone"), **key("bob"))
        ended = await gateway.client.ask("DELETE", path_of("mine"), headers=key("bob"))
        asked = await gateway.client.post(CHAT, question(), **key("bob"), **on("mine"))
        own = await gateway.client.get(path_of("mine"), **key("ann"))

    assert [answer.status for answer in (shown, ended, asked)] == [404, 404, 404]
    assert shown.text == unknown.text.replace("gone", "mine")
    assert own.status == 200
    assert backend.calls == 0


async def test_session_of_one_name_is_another_for_each_tenant() -> None:
    async with running(tenants=("ann", "bob")) as gateway:
        begun = [
            await gateway.client.post(SESSIONS, {"id": "ours", "system": tenant}, **key(tenant))
            for tenant in ("ann", "bob")
        ]
        await gateway.client.ask("DELETE", path_of("ours"), headers=key("ann"))
        kept = await gateway.service.sessions.open("ours", tenant="bob")

    assert [answer.status for answer in begun] == [201, 201]
    assert kept.system == b"bob"


@pytest.mark.parametrize(("method", "path"), [("POST", SESSIONS), ("GET", path_of("s")), ("DELETE", path_of("s"))])
async def test_sessions_are_for_those_with_a_key_whatever_is_asked(method: str, path: str) -> None:
    async with running(tenants=("ann",)) as gateway:
        await gateway.service.sessions.create(tenant="ann", session_id="s")
        answer = await gateway.client.ask(method, path, headers=key("mallory"))
        sessions = gateway.service.health().sessions

    assert answer.status == 401
    assert (sessions.sessions, sessions.created) == (1, 1)


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ([], None),
        ("mine", None),
        (None, None),
        ({"name": "mine"}, "name"),
        ({"max_bytes": 10}, "max_bytes"),
        ({"id": ""}, "id"),
        ({"id": 7}, "id"),
        ({"id": "a/b"}, "id"),
        ({"id": ".."}, "id"),
        ({"id": "Grüße"}, "id"),
        ({"id": "a b"}, "id"),
        ({"id": "a\n"}, "id"),
        ({"id": "a" * 257}, "id"),
        ({"system": ""}, "system"),
        ({"system": ["Be brief."]}, "system"),
        ({"persona": True}, "persona"),
    ],
    ids=str,
)
async def test_session_body_that_is_wrong_is_refused_by_the_name_of_the_field(
    document: object, param: str | None
) -> None:
    async with running() as gateway:
        answer = await gateway.client.post(SESSIONS, document)
        sessions = gateway.service.health().sessions

    error = answer.document["error"]
    assert answer.status == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["message"].startswith(param or "the body")
    assert sessions.created == 0


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"{", {}, 400),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {"content-encoding": "gzip"}, 415),
        (b'{"system": "%b"}' % (b"x" * 200), {}, 413),
    ],
)
async def test_session_body_that_cannot_be_read_is_refused_as_everywhere(
    body: bytes, headers: dict[str, str], status: int
) -> None:
    async with opened_gateway({"a": Answering()}, options=GatewayOptions(max_body_bytes=100)) as gateway:
        headers = {"content-type": "application/json", **headers}
        answer = await gateway.client.ask("POST", SESSIONS, [body], headers=headers)

    assert answer.status == status


async def test_session_that_its_system_message_does_not_fit_into_is_413() -> None:
    settings = Settings.model_validate({"sessions": {"max_bytes": 4096}})
    async with running(settings=settings) as gateway:
        answer = await gateway.client.post(SESSIONS, {"system": "x" * 5000})
        sessions = gateway.service.health().sessions

    assert answer.status == 413
    assert "do not fit into the 4096 of a session" in answer.document["error"]["message"]
    assert sessions.size_bytes == 0


async def test_session_for_which_there_is_no_room_takes_that_of_the_one_used_longest_ago() -> None:
    settings = Settings.model_validate({"sessions": {"max_sessions": 2}})
    async with running(settings=settings) as gateway:
        for name in ("first", "second", "third"):
            await gateway.client.post(SESSIONS, {"id": name})
        shown = [(await gateway.client.get(path_of(name))).status for name in ("first", "second", "third")]
        sessions = gateway.service.health().sessions

    assert shown == [404, 200, 200]
    assert (sessions.sessions, sessions.evicted) == (2, 1)


async def test_session_that_is_shown_counts_as_used_and_is_kept_longer() -> None:
    clock = VirtualClock()
    settings = Settings.model_validate({"sessions": {"max_sessions": 2}})
    async with running(settings=settings, clock=clock) as gateway:
        for name in ("first", "second"):
            await gateway.client.post(SESSIONS, {"id": name})
        await gateway.client.get(path_of("first"))
        await gateway.client.post(SESSIONS, {"id": "third"})
        shown = [(await gateway.client.get(path_of(name))).status for name in ("first", "second", "third")]

    assert shown == [200, 404, 200]


async def test_session_takes_a_request_of_its_tenants_limit() -> None:
    settings = Settings.model_validate({"tenant_rate_limit": {"requests_per_minute": 2, "burst_requests": 2}})
    async with running(settings=settings, tenants=("ann", "bob")) as gateway:
        answers = [await gateway.client.post(SESSIONS, {}, **key("ann")) for _ in range(3)]
        other = await gateway.client.post(SESSIONS, {}, **key("bob"))
        asked = await gateway.client.post(CHAT, question(), **key("ann"))
        ended = await gateway.client.ask("DELETE", path_of(answers[0].document["id"]), headers=key("ann"))

    assert [answer.status for answer in answers] == [201, 201, 429]
    assert int(answers[2].headers["retry-after"]) == 30
    assert answers[2].document["error"]["type"] == "rate_limit_error"
    assert (other.status, asked.status, ended.status) == (201, 429, 200)


async def test_session_is_not_begun_while_draining_but_shown_and_ended() -> None:
    async with running() as gateway:
        await gateway.client.post(SESSIONS, {"id": "mine"})
        await gateway.service.drain(0.0)
        begun = await gateway.client.post(SESSIONS, {"id": "late"})
        shown = await gateway.client.get(path_of("mine"))
        ended = await gateway.client.ask("DELETE", path_of("mine"))

    assert begun.status == 503
    assert int(begun.headers["retry-after"]) >= 1
    assert begun.document["error"]["message"] == "this instance is ending; ask again"
    assert (shown.status, ended.status) == (200, 200)


class BrokenStore(MemorySessions):
    """Keeps nothing."""

    async def create(self, session: Session, *, bounds: SessionBounds) -> tuple[RemovedSession, ...]:
        raise SessionStoreError("no answer from 10.0.0.7:6379", path="/srv/sessions.sqlite")


async def test_sessions_that_cannot_be_kept_are_503_with_retry_after() -> None:
    async with running(session_store=nullcontext(BrokenStore(clock=VirtualClock()))) as gateway:
        answer = await gateway.client.post(SESSIONS, {})

    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.document["error"]["message"] == "sessions cannot be read or written now; ask again"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", SESSIONS, 405), ("PUT", path_of("s"), 405), ("HEAD", path_of("s"), 405), ("GET", f"{SESSIONS}/a/b", 404)],
)
async def test_sessions_path_or_method_that_is_not_offered_is_told_so(method: str, path: str, status: int) -> None:
    async with running() as gateway:
        answer = await gateway.client.ask(method, path)

    assert answer.status == status


async def test_sessions_in_an_application_of_ones_own_are_under_its_prefix() -> None:
    backend, app = Answering(), FastAPI()
    async with opened({"a": backend}) as service:
        app.include_router(holdfast_router(service), prefix="/llm")
        client = AsgiClient(app)
        begun = await client.post(f"/llm{SESSIONS}", {"id": "mine"})
        await client.post(f"/llm{CHAT}", question("first"), **on("mine"))
        await client.post(f"/llm{CHAT}", question("second"), **on("mine"))
        shown = await client.get(f"/llm{path_of('mine')}")
        ended = await client.ask("DELETE", f"/llm{path_of('mine')}")

    assert (begun.status, shown.status, ended.status) == (201, 200, 200)
    assert shown.document["turns"] == 2
    assert [message.content for message in backend.prompts[1].messages] == ["first", "42", "second"]


async def test_openapi_describes_what_a_session_is_begun_with() -> None:
    async with running() as gateway:
        document = (await gateway.client.get("/openapi.json")).document

    begin = document["paths"][SESSIONS]["post"]
    body = begin["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"id", "system", "persona"}
    assert body["additionalProperties"] is False
    assert "201" in begin["responses"]
    assert set(document["paths"][f"{SESSIONS}/{{session_id}}"]) == {"get", "delete"}
