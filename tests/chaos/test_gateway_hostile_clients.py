"""Clients that mean harm, against a gateway that listens: each is refused, and nobody else notices."""

from __future__ import annotations

import gc
import gzip
import json
import resource
import tracemalloc
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import anyio
import pytest

from holdfast.application.orchestrator import Orchestrator
from holdfast.ports.gateway import GatewayOptions
from tests.fakes.gateway import Served, question, served
from tests.fakes.raw_http import RawClient, connected, request_bytes
from tests.fakes.service import Answering, opened

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

PATIENCE_S = 20.0
QUICK = GatewayOptions(
    max_body_bytes=64 * 1024, header_timeout_s=0.3, body_timeout_s=0.3, keep_alive_s=5.0, max_connections=20
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # uvicorn runs on nothing else


@asynccontextmanager
async def limited(
    service: AbstractAsyncContextManager[Orchestrator], options: GatewayOptions
) -> AsyncGenerator[Served]:
    """Serve, for as long as a test may take."""
    with anyio.fail_after(PATIENCE_S):
        async with service as opened_service, served(opened_service, options) as running:
            yield running


@asynccontextmanager
async def gateway(options: GatewayOptions = QUICK) -> AsyncGenerator[Served]:
    """Serve, and check in the end that an honest client is still answered."""
    async with limited(opened({"a": Answering()}), options) as running:
        yield running
        async with connected(running.port) as honest:
            await honest.send([request_bytes(json.dumps(question()).encode())])
            assert (await honest.answer()).status == 200


def slices(text: bytes, size: int) -> Iterator[bytes]:
    return (text[start : start + size] for start in range(0, len(text), size))


async def error_code(client: RawClient, status: int) -> str:
    answer = await client.answer()
    assert answer.status == status
    code: str = json.loads(answer.body)["error"]["code"]
    return code


async def test_gateway_headers_that_trickle_in_end_with_408() -> None:
    async with gateway() as running, connected(running.port) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.send(slices(request_bytes(b"{}"), 1), pause_s=0.05))

        assert await error_code(client, 408) == "request_timeout"
        assert await client.is_closed()
        tasks.cancel_scope.cancel()


async def test_gateway_connection_without_a_request_ends() -> None:
    async with gateway() as running, connected(running.port) as client:
        assert await error_code(client, 408) == "request_timeout"


async def test_gateway_headers_that_trickle_in_on_a_kept_connection_end_with_408() -> None:
    async with gateway() as running, connected(running.port) as client, anyio.create_task_group() as tasks:
        await client.send([request_bytes(method="GET", path="/healthz")])
        assert (await client.answer()).status == 200

        tasks.start_soon(lambda: client.send(slices(request_bytes(b"{}"), 1), pause_s=0.05))

        assert await error_code(client, 408) == "request_timeout"
        tasks.cancel_scope.cancel()


async def test_gateway_request_that_takes_long_is_not_cut_by_the_time_for_headers() -> None:
    body = json.dumps(question()).encode()
    async with limited(opened({"a": Answering(delay_s=0.8)}), QUICK) as running, connected(running.port) as client:
        await client.send([request_bytes(body)])

        assert (await client.answer()).status == 200


async def test_gateway_body_that_trickles_in_ends_with_408() -> None:
    head, body = request_bytes(length=False)[:-2] + b"content-length: 90\r\n\r\n", b"[" * 90
    async with gateway() as running, connected(running.port) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.send([head, *slices(body, 1)], pause_s=0.05))

        assert await error_code(client, 408) == "slow_body"
        tasks.cancel_scope.cancel()


async def test_gateway_body_that_goes_on_after_its_refusal_ends_with_the_connection() -> None:
    head = request_bytes(b"", "transfer-encoding: chunked", "content-encoding: gzip", length=False)
    async with gateway() as running, connected(running.port) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.send([head, *([b"1\r\nx\r\n"] * 1000)], pause_s=0.02))

        assert await error_code(client, 415) == "encoding"
        assert await client.is_closed()
        tasks.cancel_scope.cancel()


async def test_gateway_length_announced_twice_is_refused_and_the_connection_closed() -> None:
    request = request_bytes(b"0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", "transfer-encoding: chunked")
    async with gateway() as running, connected(running.port) as client:
        await client.send([request])

        assert await error_code(client, 400) == "framing"
        assert await client.is_closed()


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"GET /healthz\r\n\r\n", 400),
        (b"GET  /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (b"GET /healthz RTSP/1.0\r\nhost: localhost\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nhost : localhost\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: \0\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: a\rb\r\n\r\n", 400),
    ],
)
async def test_gateway_what_is_no_http_is_refused(request_text: bytes, status: int) -> None:
    async with gateway() as running, connected(running.port) as client:
        await client.send([request_text])

        assert (await client.answer()).status == status
        assert await client.is_closed()


async def test_gateway_broken_chunk_in_a_body_ends_the_request() -> None:
    head = request_bytes(b"", "transfer-encoding: chunked", length=False)
    async with gateway(GatewayOptions()) as running, connected(running.port) as client:
        await client.send([head, b"5\r\nhello\r\n"])
        await anyio.sleep(0.1)
        await client.send([b"zz\r\n"])

        assert (await client.answer()).status == 400
        assert await client.is_closed()


@pytest.mark.parametrize("beginning", [b"2;name=", b"2\r\n{}\r\n0\r\nx-trailer: "], ids=["extension", "trailer"])
async def test_gateway_chunk_of_a_body_that_comes_with_a_flood_beside_it_is_431(beginning: bytes) -> None:
    head = request_bytes(b"", "transfer-encoding: chunked", length=False)
    async with gateway() as running, connected(running.port) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.send([head, beginning, *([b"x" * 16 * 1024] * 64)]))

        assert await error_code(client, 431) == "request_header_fields_too_large"
        tasks.cancel_scope.cancel()


async def test_gateway_requests_that_are_sent_at_once_on_one_connection_are_answered_one_by_one() -> None:
    backend = Answering(delay_s=0.05)
    backend.text = lambda number: f"answer {number}, beside {backend.running} others"
    requests = b"".join(request_bytes(json.dumps(question(f"number {number}")).encode()) for number in range(3))
    async with limited(opened({"a": backend}), QUICK) as running, connected(running.port) as client:
        await client.send([requests])
        answers = [json.loads((await client.answer()).body) for _ in range(3)]

    assert [answer["choices"][0]["message"]["content"] for answer in answers] == [
        f"answer {number}, beside 0 others" for number in (1, 2, 3)
    ]


async def test_gateway_ten_megabytes_of_headers_are_431_and_leave_no_memory_behind() -> None:
    flood = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n" + b"x-flood: " + b"x" * (10 * 1024 * 1024)
    async with gateway() as running:
        gc.collect()
        tracemalloc.start()
        try:
            async with connected(running.port) as client, anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: client.send(slices(flood, 64 * 1024)))

                assert await error_code(client, 431) == "request_header_fields_too_large"
                tasks.cancel_scope.cancel()
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak_bytes < 4 * 1024 * 1024


async def test_gateway_compressed_bomb_is_415_unread() -> None:
    bomb = gzip.compress(b"[" * (20 * 1024 * 1024))
    async with gateway() as running, connected(running.port) as client:
        await client.send([request_bytes(bomb, "content-encoding: gzip")])

        assert await error_code(client, 415) == "encoding"


@pytest.mark.parametrize(
    "document",
    [b"[" * 60_000, b'{"a":' * 10_000, b'{"messages": ' + b"[" * 70 + b"]" * 70 + b"}", b"1" * 5000, b'{"n": NaN}'],
    ids=["arrays", "objects", "valid", "digits", "NaN"],
)
async def test_gateway_json_that_is_none_or_too_deep_is_400(document: bytes) -> None:
    async with gateway() as running, connected(running.port) as client:
        await client.send([request_bytes(document)])

        assert await error_code(client, 400) == "json"


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "", "json"]
)
async def test_gateway_body_that_is_not_said_to_be_json_is_415(media_type: str) -> None:
    body = json.dumps(question()).encode()
    request = request_bytes(body).replace(b"application/json", media_type.encode())
    async with gateway() as running, connected(running.port) as client:
        await client.send([request])

        assert await error_code(client, 415) == "media_type"


async def test_gateway_body_announced_as_too_large_is_413_unread() -> None:
    head = request_bytes(length=False)[:-2] + b"content-length: 99999999999999999999999\r\n\r\n"
    async with gateway() as running, connected(running.port) as client:
        await client.send([head])

        assert (await client.answer()).status in {400, 413}


async def test_gateway_body_that_grows_too_large_is_413() -> None:
    head = request_bytes(b"", "transfer-encoding: chunked", length=False)
    chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    async with gateway() as running, connected(running.port) as client:
        await client.send([head, *([chunk] * 40)])

        assert await error_code(client, 413) == "too_large"


async def test_gateway_connection_beyond_the_most_is_503_with_retry_after() -> None:
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(
            limited(opened({"a": Answering()}), GatewayOptions(max_connections=3))
        )
        for _ in range(3):
            client = await stack.enter_async_context(connected(running.port))
            await client.send([request_bytes(method="GET", path="/healthz")])
            assert (await client.answer()).status == 200
        late = await stack.enter_async_context(connected(running.port))

        answer = await late.answer()

    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"


async def test_gateway_client_that_takes_nothing_is_cut_off() -> None:
    whole_bytes = 32_000_000
    service = opened({"a": Answering(text="x" * whole_bytes)})
    async with limited(service, GatewayOptions(write_timeout_s=0.3)) as running, connected(running.port) as client:
        await client.send([request_bytes(json.dumps(question()).encode())])
        await anyio.sleep(2.0)
        taken_bytes = await client.rest_bytes()

    assert taken_bytes < whole_bytes


async def test_gateway_hundred_hostile_clients_at_once_leave_an_honest_one_alone() -> None:
    def deep() -> bytes:
        return request_bytes(b"[" * 50_000)

    async with gateway(GatewayOptions(max_connections=200, header_timeout_s=0.5)) as running:
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with anyio.create_task_group() as tasks:

            async def attack(number: int) -> None:
                async with connected(running.port) as client:
                    await client.send([deep() if number % 2 else b"POST /v1/chat"])
                    assert (await client.answer()).status in {400, 408}

            for number in range(100):
                tasks.start_soon(attack, number)
            async with connected(running.port) as honest:
                await honest.send([request_bytes(json.dumps(question("in between")).encode())])
                assert (await honest.answer()).status == 200
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib

    assert grown_kib < 64 * 1024
