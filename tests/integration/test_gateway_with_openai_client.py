"""The official client of OpenAI's API, unmodified, against a gateway that listens."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from holdfast.adapters.system import SystemClock
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import Settings
from holdfast.ports.errors import BackendUnavailableError
from holdfast.ports.gateway import ApiKey, GatewayOptions
from holdfast.ports.inference import Completion, Deliver, Prompt, Usage
from tests.fakes.gateway import Served, eventually, served
from tests.fakes.openai_client import openai_client
from tests.fakes.service import ONCE, Answering, assert_nothing_is_held, opened

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

PATIENCE_S = 20.0
KEY = "a-key-of-some-length"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # uvicorn runs on nothing else


class Speaking:
    """Streams a text letter by letter; hangs before the first one, or fails after `fails_after` letters."""

    def __init__(self, text: str, *, hangs: bool = False, fails_after: int | None = None) -> None:
        self._text = text
        self._hangs = hangs
        self._fails_after = fails_after
        self.calls = 0
        self.running = 0

    async def complete(self, prompt: Prompt) -> Completion:
        raise AssertionError("it is streamed")

    async def stream(self, prompt: Prompt, deliver: Deliver) -> Completion:
        self.calls += 1
        self.running += 1
        try:
            if self._hangs:
                await anyio.sleep_forever()
            for number, letter in enumerate(self._text):
                if number == self._fails_after:
                    raise BackendUnavailableError("fell over", backend="speaking")
                await deliver(letter)
                await anyio.sleep(0.001)
        finally:
            self.running -= 1
        return Completion(text=self._text, model="speaking-1", usage=Usage(input_tokens=2, output_tokens=9))


@asynccontextmanager
async def running(
    backend: Any,  # noqa: ANN401 - any backend
    *,
    options: GatewayOptions | None = None,
    settings: Settings | None = None,
) -> AsyncGenerator[tuple[Served, Orchestrator]]:
    with anyio.fail_after(PATIENCE_S):
        async with (
            opened({"a": backend}, settings, clock=SystemClock()) as service,
            served(service, options) as gateway,
        ):
            yield gateway, service


async def text_of(stream: openai.AsyncStream[ChatCompletionChunk]) -> str:
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


def question(text: str = "what is the answer?") -> Any:  # noqa: ANN401 - the client's own types are many
    return [{"role": "user", "content": text}]


async def test_openai_client_gets_a_completion() -> None:
    async with running(Answering(text="42")) as (gateway, _), openai_client(gateway.address) as client:
        answer = await client.chat.completions.with_raw_response.create(model="holdfast", messages=question())

    assert answer.parse().choices[0].message.content == "42"
    assert answer.headers["x-holdfast-disposition"] == "called"


async def test_openai_client_streams_a_completion_with_usage() -> None:
    async with running(Speaking("forty-two")) as (gateway, _), openai_client(gateway.address) as client:
        stream = await client.chat.completions.create(
            model="holdfast", messages=question(), stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "forty-two"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 11


async def test_openai_client_lists_the_models() -> None:
    options = GatewayOptions(personas=("critic",))
    async with running(Answering(), options=options) as (gateway, _), openai_client(gateway.address) as client:
        models = [model.id async for model in client.models.list()]

    assert models == ["holdfast", "holdfast:critic"]


async def test_openai_client_begins_a_session_goes_on_with_it_and_ends_it() -> None:
    backend = Answering(text="re {}".format)
    async with running(backend) as (gateway, _), openai_client(gateway.address) as client:
        session: Any = await client.post("/sessions", body={"system": "Be brief."}, cast_to=object)
        on = {"x-holdfast-session": session["id"]}
        for text in ("first", "second"):
            await client.chat.completions.create(model="holdfast", messages=question(text), extra_headers=on)
        shown: Any = await client.get(f"/sessions/{session['id']}", cast_to=object)
        ended: Any = await client.delete(f"/sessions/{session['id']}", cast_to=object)
        with pytest.raises(openai.NotFoundError, match="it may have expired"):
            await client.chat.completions.create(model="holdfast", messages=question(), extra_headers=on)

    assert [message.content for message in backend.prompts[1].messages] == ["Be brief.", "first", "re 1", "second"]
    assert (session["version"], shown["version"], shown["turns"]) == (1, 3, 2)
    assert ended["deleted"] is True
    assert backend.calls == 2


async def test_openai_client_meets_its_own_errors() -> None:
    settings = Settings.model_validate({"tenant_rate_limit": {"requests_per_minute": 1, "burst_requests": 1}})
    async with running(Answering(), settings=settings) as (gateway, _), openai_client(gateway.address) as client:
        await client.chat.completions.create(model="holdfast", messages=question())

        with pytest.raises(openai.RateLimitError) as limited:
            await client.chat.completions.create(model="holdfast", messages=question("another"))
        with pytest.raises(openai.BadRequestError) as wrong:
            await client.chat.completions.create(model="holdfast", messages=question(), n=3)

    assert int(limited.value.response.headers["retry-after"]) >= 1
    assert (wrong.value.param, wrong.value.type) == ("n", "invalid_request_error")


async def test_openai_client_with_a_key_is_its_tenant_and_without_one_is_refused() -> None:
    keys = (ApiKey(tenant="acme", sha256=hashlib.sha256(KEY.encode()).digest()),)
    async with running(Answering(), options=GatewayOptions(keys=keys)) as (gateway, service):
        async with openai_client(gateway.address, key=KEY) as client:
            await client.chat.completions.create(model="holdfast", messages=question())
        async with openai_client(gateway.address, key="wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(model="holdfast", messages=question())
        tenants = [recorded.event.tenant for recorded in service.events if hasattr(recorded.event, "tenant")]

    assert tenants == ["acme"]


async def test_openai_client_is_told_of_a_stream_that_is_cut() -> None:
    settings = Settings(guard=ONCE)
    backend = Speaking("forty-two", fails_after=5)
    async with running(backend, settings=settings) as (gateway, _), openai_client(gateway.address) as client:
        stream = await client.chat.completions.create(model="holdfast", messages=question(), stream=True)

        with pytest.raises(openai.APIError, match="was cut after 5 characters"):
            await text_of(stream)


@pytest.mark.parametrize("hangs", [True, False], ids=["before the first token", "in the midst"])
async def test_openai_client_that_leaves_ends_its_call_within_a_second(hangs: bool) -> None:
    backend = Speaking("x" * 100_000, hangs=hangs)
    async with running(backend) as (gateway, service), openai_client(gateway.address) as client:

        async def ask() -> None:
            stream = await client.chat.completions.create(model="holdfast", messages=question(), stream=True)
            await text_of(stream)

        with anyio.move_on_after(0.5):
            await ask()
        with anyio.fail_after(1.0):
            await eventually(lambda: backend.running == 0)
        await eventually(lambda: service.health().requests.in_flight == 0)
        await anyio.sleep(0.05)
        assert_nothing_is_held(service.health())

    assert backend.calls == 1


async def test_twenty_openai_clients_with_one_question_share_one_call_and_get_it_whole() -> None:
    backend, texts = Speaking("forty-two " * 20), list[str]()
    async with running(backend) as (gateway, service), openai_client(gateway.address) as client:

        async def ask() -> None:
            stream = await client.chat.completions.create(model="holdfast", messages=question(), stream=True)
            texts.append(await text_of(stream))

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)
        shared = service.health().deduplication

    assert backend.calls == 1
    assert texts == ["forty-two " * 20] * 20
    assert shared.called == 1
    assert shared.joined + shared.cached == 19


async def test_stream_that_runs_when_the_gateway_is_told_to_stop_is_delivered_to_its_end() -> None:
    backend, texts = Speaking("forty-two " * 30), list[str]()
    async with running(backend) as (gateway, _), openai_client(gateway.address) as client:

        async def ask() -> None:
            stream = await client.chat.completions.create(model="holdfast", messages=question(), stream=True)
            texts.append(await text_of(stream))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await eventually(lambda: backend.running == 1)
            gateway.stop.set()
        await gateway.ended.wait()

    assert texts == ["forty-two " * 30]


async def test_stream_that_outlasts_draining_ends_with_an_error_within_the_bound() -> None:
    options = GatewayOptions(drain_timeout_s=0.3)
    backend = Speaking("x" * 1_000_000)
    async with running(backend, options=options) as (gateway, _), openai_client(gateway.address) as client:
        stream = await client.chat.completions.create(model="holdfast", messages=question(), stream=True)
        gateway.stop.set()

        with pytest.raises(openai.APIError, match="this instance is ending"):
            await text_of(stream)
        await gateway.ended.wait()

    assert backend.running == 0
