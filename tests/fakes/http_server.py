"""A server in the test's own process that answers each request byte for byte as the test says."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

__all__ = ["Asked", "FakeServer", "Handler", "chunked", "drip", "http", "json_answer", "serving"]

_MAX_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    """Which connection it came on, from 1."""

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document


Handler = Callable[[Asked, SocketStream], Awaitable[None]]
"""Answers one request on the raw connection; may close it, or never answer."""


@dataclass(slots=True)
class FakeServer:
    """What came in so far."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0

    async def wait_left(self, *, within_s: float = 5.0) -> None:
        """Wait until every client has closed its connection."""
        with anyio.fail_after(within_s):
            while self.open_connections:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.005)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[FakeServer]:
    """Serve on a free port of the loopback interface for the length of the block."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - no Django here
    server = FakeServer(url=f"http://127.0.0.1:{port}/v1")

    async def serve(stream: SocketStream) -> None:
        server.connections += 1
        server.open_connections += 1
        number = server.connections
        try:
            async with stream:
                reader = BufferedByteReceiveStream(stream)
                while True:
                    asked = await _read_request(reader, number)
                    server.asked.append(asked)
                    await handler(asked, stream)
        except (anyio.IncompleteRead, anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
            pass  # the client has left, or the test closed the connection
        finally:
            server.open_connections -= 1

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield server
        tasks.cancel_scope.cancel()


async def _read_request(reader: BufferedByteReceiveStream, connection: int) -> Asked:
    head = (await reader.receive_until(b"\r\n\r\n", _MAX_HEAD_BYTES)).decode()
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.receive_exactly(int(headers.get("content-length", "0")))
    return Asked(path=first.split(" ")[1], headers=headers, body=body, connection=connection)


def http(status: int, body: bytes, **headers: str) -> bytes:
    """Return a whole answer; underscores in the names of headers stand for dashes."""
    named = {"content_length": str(len(body)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode() + body


def json_answer(document: object, status: int = 200, **headers: str) -> bytes:
    """Return a whole answer in JSON."""
    return http(status, json.dumps(document).encode(), content_type="application/json", **headers)


def chunked(*parts: bytes, content_type: str = "text/event-stream", ends: bool = True) -> bytes:
    """Return a whole answer in chunks, or one that stops before its last one."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    return (
        head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part) + (b"0\r\n\r\n" if ends else b"")
    )


async def drip(stream: ByteStream, content: bytes, *, step: int) -> None:
    """Send the content in steps of so many bytes, each of which arrives by itself."""
    for at in range(0, len(content), step):
        await stream.send(content[at : at + step])
        await anyio.lowlevel.checkpoint()
