"""How many calls of a server over HTTP one process carries: bare drivers, adapters, and the whole wired path.

The server is another process on the loopback interface that answers at once from prepared bytes, so what is measured
is the client. A row tells the processor time of this process for each call while so many callers ask at once, because
that is what one core is shared by, and because the server has to run beside it: 333 µs are 3,000 calls a second. All
ask the same question of the same server, on a connection for each caller that is kept, and the rows of one loop take
turns round by round, so that whatever else the machine does meets them alike. The bare drivers send bytes that are
prepared and read bytes; the client of openai and our adapter write and read JSON.

P99 is over the time for which a single caller waits, and the others are ahead of it: of 64 callers whose calls take
0.2 ms each, nobody waits for less than 13 ms. What stands in memory before the first call is left out of collections
of garbage, for one of all that is imported here would be the P99.
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
from dataclasses import dataclass, replace
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
_KEPT_S: Final = 60.0
_ROUNDS: Final = 11
_SUBMIT_BUDGET: Final = 3.5
"""Times what bare aiohttp takes, with which it is measured in turn; adr/0047 has why it is no rate."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    path: str
    call: Call
    callers: int
    calls: int
    budget_us: float | None = None
    budget_times_first: float | None = None

    async def round_s(self) -> tuple[float, list[float]]:
        """Return the processor time for each call of one round, and for how long each one's caller waited."""
        numbers = iter(range(self.calls))
        waits_s: list[float] = []

        async def work() -> None:
            for _ in numbers:
                began_s = time.perf_counter()
                await self.call()
                waits_s.append(time.perf_counter() - began_s)

        began_s = time.process_time()
        async with anyio.create_task_group() as tasks:
            for _ in range(self.callers):
                tasks.start_soon(work)
        return (time.process_time() - began_s) / self.calls, waits_s


async def _measure(cases: list[_Case]) -> list[Row]:
    """Measure in turn, round by round, so that whatever else the machine does meets all of them alike."""
    rounds = {case.path: [await case.round_s()][1:] for case in cases}  # the first one only warms up
    for _ in range(_ROUNDS):
        for case in cases:
            rounds[case.path].append(await case.round_s())
    rows = [_row(case, *zip(*rounds[case.path], strict=True)) for case in cases]
    return [
        row if case.budget_times_first is None else replace(row, budget_p50_us=case.budget_times_first * rows[0].p50_us)
        for case, row in zip(cases, rows, strict=True)
    ]


def _row(case: _Case, rounds_s: tuple[float, ...], waits_s: tuple[list[float], ...]) -> Row:
    return Row(
        path=case.path,
        p50_us=statistics.median(rounds_s) * 1e6,
        fastest_us=min(rounds_s) * 1e6,
        slowest_us=max(rounds_s) * 1e6,
        p99_us=statistics.quantiles(itertools.chain.from_iterable(waits_s), n=100)[98] * 1e6,
        rounds=_ROUNDS,
        calls=case.calls,
        budget_p50_us=case.budget_us,
    )


def _body(*, streams: bool) -> bytes:
    return json.dumps(OpenAIDialect().body(_PROMPT, streams=streams)).encode()


@asynccontextmanager
async def _bare_cases(url: str) -> AsyncGenerator[list[_Case]]:
    target = f"{url}/chat/completions"
    whole, streamed = _body(streams=False), _body(streams=True)

    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        httpx2.AsyncClient(limits=httpx2.Limits(max_connections=None, keepalive_expiry=_KEPT_S), timeout=None) as other,
        openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client,
    ):

        async def by_aiohttp(body: bytes) -> None:
            async with session.post(target, data=body) as response:
                await response.read()

        async def by_httpx() -> None:
            (await other.post(target, content=whole)).read()

        async def by_openai() -> None:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": _QUESTION}])

        async def streamed_by_openai() -> None:
            async for _ in await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": _QUESTION}], stream=True
            ):
                pass

        yield [
            _Case(path="whole, bare aiohttp", call=lambda: by_aiohttp(whole), callers=_CALLERS, calls=500),
            _Case(path="whole, bare httpx2", call=by_httpx, callers=_CALLERS, calls=100),
            _Case(path="whole, client of openai", call=by_openai, callers=_CALLERS, calls=100),
            _Case(path="stream, bare aiohttp", call=lambda: by_aiohttp(streamed), callers=_READERS, calls=250),
            _Case(path="stream, client of openai", call=streamed_by_openai, callers=_READERS, calls=50),
        ]


@asynccontextmanager
async def _backend(url: str, open_transport: OpenTransport, *, always_streams: bool) -> AsyncGenerator[HttpBackend]:
    provider = HttpBackendProvider(
        "b",
        url,
        OpenAIDialect(),
        config=HttpConfig(keep_alive_s=_KEPT_S),
        always_streams=always_streams,
        open_transport=open_transport,
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


@asynccontextmanager
async def _own_cases(url: str, driver: str, open_transport: OpenTransport, loop: str) -> AsyncGenerator[list[_Case]]:
    is_fast = driver == "aiohttp"
    calls = 500 if is_fast else 100
    by = f"{driver}, {loop}"
    new = _asker()
    async with (
        _backend(url, open_transport, always_streams=False) as whole,
        _backend(url, open_transport, always_streams=True) as streaming,
        _service(whole) as service,
        _service(streaming) as streaming_service,
    ):
        yield [
            _Case(path=f"whole, adapter, {by}", call=lambda: whole.complete(_PROMPT), callers=_CALLERS, calls=calls),
            _Case(
                path=f"whole, submit, {by}",
                call=lambda: service.submit(new()),
                callers=_CALLERS,
                calls=calls,
                budget_times_first=_SUBMIT_BUDGET if is_fast else None,
            ),
            _Case(
                path=f"whole by a stream, adapter, {by}",
                call=lambda: streaming.complete(_PROMPT),
                callers=_CALLERS,
                calls=calls,
            ),
            _Case(
                path=f"whole by a stream, submit, {by}",
                call=lambda: streaming_service.submit(new()),
                callers=_CALLERS,
                calls=calls,
            ),
            _Case(
                path=f"stream, {by}",
                call=lambda: _read(streaming_service, new()),
                callers=_READERS,
                calls=calls // 2,
                budget_us=_STREAM_BUDGET_US if is_fast else None,
            ),
        ]


async def _read(service: Orchestrator, request: Request) -> None:
    async with service.stream(request) as stream:
        async for _ in stream:
            pass


async def _by_aiohttp(url: str) -> list[Row]:
    async with _bare_cases(url) as bare, _own_cases(url, "aiohttp", AiohttpTransport, "asyncio") as own:
        return await _measure(bare + own)


async def _by_httpx(url: str, loop: str) -> list[Row]:
    async with _own_cases(url, "httpx2", HttpxTransport, loop) as own:
        return await _measure(own)


def main() -> bool:
    """Print the table and return whether every budget is kept."""
    gc.collect()
    gc.freeze()
    with _server() as url:
        rows = anyio.run(_by_aiohttp, url)
        for loop in ("asyncio", "trio"):
            rows += anyio.run(_by_httpx, url, loop, backend=loop)
    title = f"Over HTTP, {_CALLERS} callers, {_READERS} readers of {_PIECES} pieces, load {os.getloadavg()[0]:.1f}"
    return report(title, rows, packages=("aiohttp", "httpx2", "openai", "anyio", "trio"))


if __name__ == "__main__":
    if "--serve" in sys.argv:
        asyncio.run(_serve())
    sys.exit(not main())
