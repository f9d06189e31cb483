"""A server of chat completions whose answers never end, sent as fast as they are taken; says its address."""

from __future__ import annotations

import anyio
from anyio.abc import SocketStream

from tests.fakes.chat_server import events, openai_piece
from tests.fakes.http_server import Asked, chunked, serving

_PIECE = events(openai_piece("0123456789" * 5) | {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1})
_PIECES = (b"%x\r\n%s\r\n" % (len(_PIECE), _PIECE)) * 64


async def answer(_: Asked, stream: SocketStream) -> None:
    """Send one of them."""
    await stream.send(chunked(ends=False))
    while True:
        await stream.send(_PIECES)


async def main() -> None:
    """Serve until killed."""
    async with serving(answer) as server:
        print(server.url, flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main)
