"""Real llama-servers that are left, killed, frozen and asked by many, through the whole path."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest

from holdfast import Settings, open_orchestrator
from holdfast.adapters.inference.anthropic import AnthropicDialect
from holdfast.adapters.inference.http import HttpBackendProvider
from holdfast.adapters.inference.http.dialect import Dialect
from holdfast.adapters.inference.openai import OpenAIDialect
from holdfast.application.orchestrator import Orchestrator
from holdfast.ports.errors import BackendAuthenticationError, BackendRequestError, BackendTimeoutError
from holdfast.ports.events import FellBack
from holdfast.ports.inference import Message, Parameters, Prompt, ResponseFormat, Role, StreamingBackend
from holdfast.ports.service import Reply
from tests.fakes.http_driver import DRIVERS, Driver
from tests.fakes.llama_server import LlamaServer, StartLlama
from tests.fakes.service import ask, assert_nothing_is_held, told

pytestmark = [pytest.mark.anyio, pytest.mark.real_time, pytest.mark.slow]

SHORT = Parameters(temperature=0.0, max_tokens=16)
LONG = Parameters(
    temperature=0.0,
    max_tokens=4000,
    response_format=ResponseFormat.JSON,
    json_schema='{"type": "object", "properties": {"a": {"type": "array", "minItems": 50, "items": '
    '{"type": "string", "minLength": 100, "maxLength": 100}}}, "required": ["a"]}',
)
"""Takes the tiny model several seconds, for it must not end before."""


def settings_of(*servers: LlamaServer, strategy: str = "ordered", **guard: Any) -> Settings:  # noqa: ANN401 - JSON
    backends = {f"llama-{n}": {"kind": "openai", "base_url": server.url} for n, server in enumerate(servers)}
    return Settings.model_validate({"backends": backends, "routing": {"strategy": strategy}, "guard": guard})


async def wait_busy(server: LlamaServer, busy: int, *, within_s: float) -> None:
    """Wait until the server works on so many answers."""
    with anyio.fail_after(within_s):
        while await anyio.to_thread.run_sync(server.busy_slots) != busy:  # noqa: ASYNC110 - it tells nobody
            await anyio.sleep(0.02)


async def assert_leaving_frees_its_slot(server: LlamaServer, work: Callable[[], Awaitable[object]]) -> None:
    """Begin the work, leave it when the server works on it, and assert that the server soon does so no more."""

    async def begin() -> None:
        await work()

    await wait_busy(server, 0, within_s=10)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begin)
        await wait_busy(server, 1, within_s=10)
        tasks.cancel_scope.cancel()
    await wait_busy(server, 0, within_s=1.0)


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Driver:
    driver: Driver = request.param
    return driver


class TestLeaving:
    @pytest.fixture
    def anyio_backend(self, driver: Driver) -> str:
        return driver.loop

    @pytest.mark.parametrize("streams", [False, True])
    @pytest.mark.parametrize("dialect", [OpenAIDialect(), AnthropicDialect(model="tiny", max_tokens=4000)])
    async def test_call_that_is_left_frees_its_slot_within_a_second(
        self, llama_server: LlamaServer, driver: Driver, dialect: Dialect, streams: bool
    ) -> None:
        # What Anthropic's API has no field for cannot make an answer long: there, many questions do.
        prompt = Prompt(messages=(Message(role=Role.USER, content="tell me " * 300),), parameters=LONG)
        provider = HttpBackendProvider("llama", llama_server.url, dialect, open_transport=driver.open_transport)
        backend = await provider.create()
        assert isinstance(backend, StreamingBackend)

        async def deliver(_: str) -> None:
            return

        async def work() -> None:
            while True:
                await (backend.stream(prompt, deliver) if streams else backend.complete(prompt))

        await assert_leaving_frees_its_slot(llama_server, work)
        await provider.close(backend)


async def test_submit_that_is_left_frees_its_slot_within_a_second(llama_server: LlamaServer) -> None:
    async with open_orchestrator(settings_of(llama_server)) as service:
        await assert_leaving_frees_its_slot(
            llama_server, lambda: service.submit(ask("tell me everything", parameters=LONG))
        )
        health = service.health()

    assert health.backends[0].breaker.failed == 0
    assert_nothing_is_held(health)


async def test_stream_that_is_left_frees_its_slot_within_a_second(llama_server: LlamaServer) -> None:
    async def read(service: Orchestrator) -> None:
        async with service.stream(ask("tell me all", parameters=LONG)) as stream:
            async for _ in stream:
                pass

    async with open_orchestrator(settings_of(llama_server)) as service:
        await assert_leaving_frees_its_slot(llama_server, lambda: read(service))
        health = service.health()

    assert health.streams.left == 1
    assert_nothing_is_held(health)


async def test_twenty_identical_streams_make_one_call_and_are_all_complete(llama_server: LlamaServer) -> None:
    texts: list[str] = []

    async def read(service: Orchestrator) -> None:
        async with service.stream(ask("sing", parameters=SHORT)) as stream:
            texts.append("".join([piece async for piece in stream]))

    async with open_orchestrator(settings_of(llama_server)) as service:
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(read, service)
        health = service.health()

    assert len(texts) == 20
    assert len(set(texts)) == 1
    assert texts[0]
    assert health.backends[0].breaker.admitted == 1
    assert health.streams.completed == 20


async def test_replicas_say_the_same(start_llama: StartLlama) -> None:
    texts: set[str] = set()
    for server in (start_llama(), start_llama()):
        async with open_orchestrator(settings_of(server)) as service:
            texts.add((await service.submit(ask("sing", parameters=SHORT))).text)

    [text] = texts
    assert text


async def test_many_calls_in_turn_on_kept_connections_all_succeed_at_once(llama_server: LlamaServer) -> None:
    async with open_orchestrator(settings_of(llama_server)) as service:
        replies = [await service.submit(ask(f"question {n}", parameters=SHORT)) for n in range(150)]

    assert {reply.attempts for reply in replies} == {1}
    assert all(reply.usage.input_tokens and reply.usage.output_tokens for reply in replies)


async def test_server_killed_among_three_in_mid_load_costs_no_request(start_llama: StartLlama) -> None:
    servers = [start_llama() for _ in range(3)]
    replies: list[Reply] = []
    numbers = iter(range(300))

    async def ask_on(service: Orchestrator) -> None:
        for number in numbers:
            replies.append(await service.submit(ask(f"question {number}", parameters=SHORT)))
            if len(replies) == 100:
                servers[0].kill()

    async with open_orchestrator(settings_of(*servers, strategy="weighted")) as service:
        async with anyio.create_task_group() as tasks:
            for _ in range(12):
                tasks.start_soon(ask_on, service)
        health = service.health()

    assert len(replies) == 300
    assert all(reply.text for reply in replies)
    assert {reply.backend for reply in replies} == {"llama-0", "llama-1", "llama-2"}
    assert health.requests.failed == 0
    assert health.backends[0].breaker.failed > 0
    assert_nothing_is_held(health)


async def test_server_that_comes_back_is_asked_again(start_llama: StartLlama) -> None:
    server = start_llama()
    guard: dict[str, Any] = {"breaker": {"open_s": 0.05, "max_open_s": 0.1}, "retry": {"max_attempts": 1}}
    async with open_orchestrator(settings_of(server, **guard)) as service:
        await service.submit(ask("before", parameters=SHORT))
        server.kill()
        for number in range(6):
            with pytest.raises(ConnectionError):
                await service.submit(ask(f"meanwhile {number}", parameters=SHORT))
        await anyio.to_thread.run_sync(server.restart)
        end_s = time.monotonic() + 10
        reply: Reply | None = None
        while reply is None and time.monotonic() < end_s:
            try:
                reply = await service.submit(ask("after", parameters=SHORT))
            except ConnectionError:
                await anyio.sleep(0.05)

    assert reply is not None
    assert reply.text


async def test_server_that_is_frozen_is_given_up_and_another_answers(
    start_llama: StartLlama, llama_server: LlamaServer
) -> None:
    frozen = start_llama()
    frozen.freeze()
    try:
        settings = Settings.model_validate(
            {
                "backends": {
                    "frozen": {
                        "kind": "openai",
                        "base_url": frozen.url,
                        "http": {"first_byte_timeout_s": 0.3, "connect_timeout_s": 0.3},
                        "guard": {"retry": {"max_attempts": 1}},
                    },
                    "other": {"kind": "openai", "base_url": llama_server.url},
                }
            }
        )
        async with open_orchestrator(settings) as service:
            reply = await service.submit(ask("sing", parameters=SHORT))
            events = told(service, FellBack)
    finally:
        frozen.thaw()

    assert reply.backend == "other"
    assert [event.error for event in events] == [BackendTimeoutError.__name__]


@pytest.mark.parametrize(
    ("kind", "more"), [("openai", {}), ("anthropic", {"model": "tiny", "max_tokens": 16})], ids=["openai", "anthropic"]
)
async def test_server_with_a_key_wants_that_key(start_llama: StartLlama, kind: str, more: dict[str, Any]) -> None:
    server = start_llama(api_key="sesame")
    backend = {"kind": kind, "base_url": server.url, **more}

    def with_key(key: str | None) -> Settings:
        return Settings.model_validate({"backends": {"b": backend | ({} if key is None else {"api_key": key})}})

    for wrong in (None, "open"):
        async with open_orchestrator(with_key(wrong)) as service:
            with pytest.raises(BackendAuthenticationError, match="status 401"):
                await service.submit(ask("sing", parameters=SHORT))
    async with open_orchestrator(with_key("sesame")) as service:
        reply = await service.submit(ask("sing", parameters=SHORT))

    assert reply.text


async def test_question_that_is_too_long_is_the_callers_mistake(llama_server: LlamaServer) -> None:
    async with open_orchestrator(settings_of(llama_server)) as service:
        with pytest.raises(BackendRequestError, match="status 400, exceed_context_size_error"):
            await service.submit(ask("x" * 20_000, parameters=SHORT))
        breaker = service.health().backends[0].breaker

    assert (breaker.failed, breaker.ignored) == (0, 1)


async def test_json_as_a_schema_wants_it(llama_server: LlamaServer) -> None:
    schema = '{"type": "object", "properties": {"a": {"const": 7}}, "required": ["a"], "additionalProperties": false}'
    parameters = Parameters(max_tokens=64, response_format=ResponseFormat.JSON, json_schema=schema)
    async with open_orchestrator(settings_of(llama_server)) as service:
        reply = await service.submit(ask("sing", parameters=parameters))

    assert "".join(reply.text.split()) == '{"a":7}'
