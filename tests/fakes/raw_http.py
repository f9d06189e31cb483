"""A client that sends any bytes it likes, for servers that must stand them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.abc

__all__ = ["RawAnswer", "RawClient", "connected", "request_bytes"]


def request_bytes(
    body: bytes = b"", *headers: str, method: str = "POST", path: str = "/v1/chat/completions", length: bool = True
) -> bytes:
    """Return a request for JSON, as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", "content-type: application/json", *headers]
    if length:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True)
class RawAnswer:
    status: int
    headers: dict[str, str]
    body: bytes


class RawClient:
    """One connection."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def send(self, chunks: Iterable[bytes], *, pause_s: float = 0.0) -> None:
        """Send `chunks` one by one; a server that has closed the connection meanwhile is no error."""
        try:
            for chunk in chunks:
                await self.stream.send(chunk)
                await anyio.sleep(pause_s)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass

    async def answer(self) -> RawAnswer:
        """Return the next answer; its body must have a length, or end with the connection."""
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += await self.stream.receive()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        while len(self._buffer) < length:
            self._buffer += await self.stream.receive()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return RawAnswer(int(first.split()[1]), headers, body)

    async def rest_bytes(self) -> int:
        """Return how much came until the server ended the connection."""
        taken_bytes = len(self._buffer)
        try:
            while True:
                taken_bytes += len(await self.stream.receive())
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return taken_bytes

    async def is_closed(self) -> bool:
        """Return True once the server has ended the connection, without another answer."""
        return await self.rest_bytes() == 0


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[RawClient]:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        yield RawClient(stream)
