"""How many calls of a server over HTTP one process carries: bare drivers, adapters, and the whole wired path.

The server is another process on the loopback interface that answers at once from prepared bytes, so what is measured is
the client. A row tells the processor time of this process for each call while so many callers ask at once, because that
is what one core is shared by, and because the server has to run beside it: 333 µs are 3,000 calls a second. All ask the
same question of the same server, on a connection for each caller that is kept. The bare drivers send bytes that are
prepared and read bytes; the client of openai and our adapter write and read JSON.

P99 is over the time for which a single caller waits, and the others are ahead of it: of 64 callers whose calls take
0.2 ms each, nobody waits for less than 13 ms. What stands in memory before the first call is left out of collections of
garbage, for one of all that is imported here would be the P99.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import aiohttp
import anyio
import httpx2
import openai
from harness import Row, report

from holdfast import Message, PoolConfig, Prompt, Request, Role, Settings, open_orchestrator
from holdfast.adapters.inference.http import HttpBackend, HttpBackendProvider, HttpConfig
from holdfast.adapters.inference.http.aiohttp_transport import AiohttpTransport
from holdfast.adapters.inference.http.httpx_transport import HttpxTransport
from holdfast.adapters.inference.http.provider import OpenTransport
from holdfast.adapters.inference.openai import OpenAIDialect
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import GuardSettings

_CALLERS: Final = 64
_READERS: Final = 16
_PIECES: Final = 10
_ROUNDS: Final = 5
_SUBMIT_BUDGET_US: Final = 1e6 / 3000
_STREAM_BUDGET_US: Final = 1e6 / 1000
_QUESTION: Final = "What is the answer?"
_PROMPT: Final = Prompt(messages=(Message(role=Role.USER, content=_QUESTION),))

Call = Callable[[], Awaitable[object]]


class _Server(asyncio.Protocol):
    """Answers each request, whole or as a stream, as soon as all of it is there."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a server of TCP
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if len(rest) < length:
                return
            body, self._received = rest[:length], rest[length:]
            assert self._transport is not None  # noqa: S101 - made before anything is received
            self._transport.write(_STREAMED if b'"stream":true' in body.replace(b" ", b"") else _WHOLE)


def _piece(content: str | None, reason: str | None = None) -> bytes:
    delta = {} if content is None else {"content": content}
    chunk = {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
    return (
        b"data: " + json.dumps(chunk | {"id": "1", "object": "chat.completion.chunk", "created": 1}).encode() + b"\n\n"
    )


def _whole() -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": "word " * _PIECES}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": _PIECES, "total_tokens": 17}
    document = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    body = json.dumps(document).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def _streamed() -> bytes:
    parts = [_piece("word ") for _ in range(_PIECES)] + [_piece(None, "stop"), b"data: [DONE]\n\n"]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n%s0\r\n\r\n" % chunks
    )


_WHOLE: Final = _whole()
_STREAMED: Final = _streamed()


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def _server() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, Path(__file__), "--serve"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()


async def _measure(path: str, call: Call, *, callers: int, calls: int, budget_us: float | None = None) -> Row:
    rounds: list[float] = []
    singles: list[float] = []
    gc.collect()
    for _ in range(_ROUNDS + 1):
        numbers = iter(range(calls))

        async def work(numbers: Iterator[int] = numbers) -> None:
            for _ in numbers:
                began_s = time.perf_counter()
                await call()
                singles.append(time.perf_counter() - began_s)

        began_s = time.process_time()
        async with anyio.create_task_group() as tasks:
            for _ in range(callers):
                tasks.start_soon(work)
        rounds.append((time.process_time() - began_s) / calls)
    return Row(
        path=path,
        p50_us=statistics.median(rounds[1:]) * 1e6,
        fastest_us=min(rounds[1:]) * 1e6,
        slowest_us=max(rounds[1:]) * 1e6,
        p99_us=statistics.quantiles(singles[calls:], n=100)[98] * 1e6,
        rounds=_ROUNDS,
        calls=calls,
        budget_p50_us=budget_us,
    )


def _body(*, streams: bool) -> bytes:
    return json.dumps(OpenAIDialect().body(_PROMPT, streams=streams)).encode()


async def _bare_rows(url: str) -> list[Row]:
    target = f"{url}/chat/completions"
    whole, streamed = _body(streams=False), _body(streams=True)
    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)

    async def by_openai(*, streams: bool) -> None:
        if not streams:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": _QUESTION}])
            return
        async for _ in await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": _QUESTION}], stream=True
        ):
            pass

    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        httpx2.AsyncClient(limits=httpx2.Limits(max_connections=None), timeout=None) as other,
        client,
    ):

        async def by_aiohttp(body: bytes) -> None:
            async with session.post(target, data=body) as response:
                await response.read()

        async def by_httpx(body: bytes) -> None:
            (await other.post(target, content=body)).read()

        return [
            await _measure("whole, bare aiohttp", lambda: by_aiohttp(whole), callers=_CALLERS, calls=1500),
            await _measure("whole, bare httpx2", lambda: by_httpx(whole), callers=_CALLERS, calls=200),
            await _measure("whole, client of openai", lambda: by_openai(streams=False), callers=_CALLERS, calls=200),
            await _measure("stream, bare aiohttp", lambda: by_aiohttp(streamed), callers=_READERS, calls=500),
            await _measure("stream, client of openai", lambda: by_openai(streams=True), callers=_READERS, calls=100),
        ]


@asynccontextmanager
async def _backend(url: str, open_transport: OpenTransport, *, always_streams: bool) -> AsyncGenerator[HttpBackend]:
    provider = HttpBackendProvider(
        "b", url, OpenAIDialect(), config=HttpConfig(), always_streams=always_streams, open_transport=open_transport
    )
    backend = await provider.create()
    assert isinstance(backend, HttpBackend)  # noqa: S101 - which is what it makes
    yield backend
    await provider.close(backend)


@asynccontextmanager
async def _service(backend: HttpBackend) -> AsyncGenerator[Orchestrator]:
    guard = GuardSettings(pool=PoolConfig(max_size=_CALLERS))
    settings = Settings(guard=guard, max_in_flight=_CALLERS)
    async with open_orchestrator(settings, backends={"b": backend}) as service:
        yield service


def _asker() -> Callable[[], Request]:
    numbers = itertools.count()
    return lambda: Request(messages=(Message(role=Role.USER, content=f"{_QUESTION} {next(numbers)}"),))


async def _own_rows(url: str, driver: str, open_transport: OpenTransport, loop: str) -> list[Row]:
    is_fast = driver == "aiohttp"
    new = _asker()
    calls = 1000 if is_fast else 200
    rows: list[Row] = []
    for always_streams in (False, True):
        async with (
            _backend(url, open_transport, always_streams=always_streams) as backend,
            _service(backend) as service,
        ):
            how = "whole" if not always_streams else "whole by a stream"

            async def ask(backend: HttpBackend = backend) -> None:
                await backend.complete(_PROMPT)

            async def submit(service: Orchestrator = service) -> None:
                await service.submit(new())

            rows.append(await _measure(f"{how}, adapter, {driver}, {loop}", ask, callers=_CALLERS, calls=calls))
            budget_us = _SUBMIT_BUDGET_US if is_fast and not always_streams else None
            rows.append(
                await _measure(
                    f"{how}, submit, {driver}, {loop}", submit, callers=_CALLERS, calls=calls, budget_us=budget_us
                )
            )
    async with _backend(url, open_transport, always_streams=True) as backend, _service(backend) as service:
        rows.append(
            await _measure(
                f"stream, {driver}, {loop}",
                lambda: _read(service, new()),
                callers=_READERS,
                calls=calls // 2,
                budget_us=_STREAM_BUDGET_US if is_fast else None,
            )
        )
    return rows


async def _read(service: Orchestrator, request: Request) -> None:
    async with service.stream(request) as stream:
        async for _ in stream:
            pass


def main() -> bool:
    """Print the table and return whether every budget is kept."""
    gc.collect()
    gc.freeze()
    with _server() as url:
        rows = anyio.run(_bare_rows, url)
        rows += anyio.run(_own_rows, url, "aiohttp", AiohttpTransport, "asyncio")
        for loop in ("asyncio", "trio"):
            rows += anyio.run(_own_rows, url, "httpx2", HttpxTransport, loop, backend=loop)
    title = f"Over HTTP, {_CALLERS} callers, {_READERS} readers of {_PIECES} pieces, load {os.getloadavg()[0]:.1f}"
    return report(title, rows, packages=("aiohttp", "httpx2", "openai", "anyio", "trio"))


if __name__ == "__main__":
    if "--serve" in sys.argv:
        asyncio.run(_serve())
    sys.exit(not main())
