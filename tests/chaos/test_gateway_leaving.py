"""Clients that leave, over real sockets: their calls end at once, whatever they had sent."""

from __future__ import annotations

import json

import anyio
import pytest
from anyio.abc import SocketStream

from holdfast.adapters.inference.http import HttpBackendProvider, HttpConfig
from holdfast.adapters.inference.http.aiohttp_transport import AiohttpTransport
from holdfast.adapters.inference.http.httpx_transport import HttpxTransport
from holdfast.adapters.inference.http.provider import OpenTransport
from holdfast.adapters.inference.openai import OpenAIDialect
from holdfast.adapters.system import SystemClock
from holdfast.ports.inference import Completion, Deliver, Prompt
from tests.fakes.chat_server import events, openai_piece
from tests.fakes.gateway import eventually, question, served
from tests.fakes.http_server import Asked, chunked, serving
from tests.fakes.raw_http import connected, request_bytes
from tests.fakes.service import assert_nothing_is_held, opened

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # uvicorn runs on nothing else


class Thinking:
    """Never answers, but for what it streams at first."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self.running = 0

    async def complete(self, prompt: Prompt) -> Completion:
        self.running += 1
        try:
            await anyio.sleep_forever()
        finally:
            self.running -= 1
        raise AssertionError("it slept for ever")

    async def stream(self, prompt: Prompt, deliver: Deliver) -> Completion:
        for piece in self.pieces:
            await deliver(piece)
        return await self.complete(prompt)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("size", [20, 300_000], ids=["short", "longer than is read at once"])
async def test_gateway_client_that_leaves_before_the_first_piece_ends_its_call(stream: bool, size: int) -> None:
    backend = Thinking()
    with anyio.fail_after(20.0):
        async with opened({"a": backend}, clock=SystemClock()) as service, served(service) as gateway:
            async with connected(gateway.port) as client:
                await client.send([request_bytes(json.dumps(question("x" * size, stream=stream)).encode())])
                await eventually(lambda: backend.running == 1)
            await eventually(lambda: backend.running == service.health().requests.in_flight == 0)

            assert service.health().requests.cancelled == 1
            assert_nothing_is_held(service.health())


async def test_gateway_client_that_leaves_in_the_midst_of_a_stream_ends_its_call() -> None:
    backend = Thinking("once upon a time")
    with anyio.fail_after(20.0):
        async with opened({"a": backend}, clock=SystemClock()) as service, served(service) as gateway:
            async with connected(gateway.port) as client:
                await client.send([request_bytes(json.dumps(question(stream=True)).encode())])
                await eventually(lambda: backend.running == 1)
            await eventually(lambda: backend.running == service.health().requests.in_flight == 0)

            assert service.health().requests.cancelled == 1
            assert_nothing_is_held(service.health())


@pytest.mark.parametrize("open_transport", [AiohttpTransport, HttpxTransport], ids=["aiohttp", "httpx2"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "said",
    [b"", chunked(ends=False), chunked(events(openai_piece("once")), ends=False)],
    ids=["before the head", "before the first token", "in the midst"],
)
async def test_gateway_client_that_leaves_takes_its_call_from_the_server_behind_within_a_second(
    said: bytes, stream: bool, open_transport: OpenTransport
) -> None:
    hears = anyio.Event()

    async def think(_: Asked, connection: SocketStream) -> None:
        await connection.send(said)
        hears.set()

    with anyio.fail_after(20.0):
        async with serving(think) as server:
            provider = HttpBackendProvider(
                "a", server.url, OpenAIDialect(), config=HttpConfig(), open_transport=open_transport
            )
            backend = await provider.create()
            async with opened({"a": backend}, clock=SystemClock()) as service, served(service) as gateway:
                async with connected(gateway.port) as client:
                    await client.send([request_bytes(json.dumps(question(stream=stream)).encode())])
                    await hears.wait()
                    await anyio.sleep(0.05)  # so that what was said has been heard
                await server.wait_left(within_s=1.0)
                await eventually(lambda: service.health().requests.in_flight == 0)

                assert server.connections == 1
                assert service.health().requests.cancelled == 1
                assert_nothing_is_held(service.health())
            await provider.close(backend)


async def test_gateway_client_that_leaves_after_an_answer_harms_nobody_who_comes_later() -> None:
    backend = Thinking()
    with anyio.fail_after(20.0):
        async with opened({"a": backend}, clock=SystemClock()) as service, served(service) as gateway:
            async with connected(gateway.port) as first:
                await first.send([request_bytes(method="GET", path="/healthz")])
                await first.answer()
            async with connected(gateway.port) as second:
                await second.send([request_bytes(json.dumps(question()).encode())])
                await eventually(lambda: backend.running == 1)
                await anyio.sleep(0.1)

                assert backend.running == 1
