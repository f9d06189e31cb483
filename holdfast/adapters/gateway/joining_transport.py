"""Fewer calls of the system for what is written.

Responsibility: send together what is written together: the head of an answer and its body, the events of a stream.
Guarantees: the order of what was written; it is sent before the event loop waits for anything, and no more than
    `most_bytes` wait for that; what was written before the end is sent before the end.
Not responsible for: what waits because the client takes nothing: the transport beneath tells of that, as ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["JoiningTransport"]


class JoiningTransport(asyncio.Transport):
    """A transport that joins what is written to it.

    Args:
        transport: sends it.
        loop: on which both are used.
        most_bytes: how much is joined at most.
    """

    __slots__ = ("_loop", "_most_bytes", "_transport", "_written")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, *, most_bytes: int) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._most_bytes = most_bytes
        self._written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data` together with what else is written in this step of the loop."""
        if data and not self._written:
            self._loop.call_soon(self._send)
        self._written += data
        if len(self._written) >= self._most_bytes:
            self._send()

    def _send(self) -> None:
        written, self._written = self._written, b""
        if written and not self._transport.is_closing():
            self._transport.write(written)

    def write_eof(self) -> None:
        """Send what was written, and then that no more will come."""
        self._send()
        self._transport.write_eof()

    def close(self) -> None:
        """Close the connection once what was written has been sent."""
        self._send()
        self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return whether the connection is closed, or about to be."""
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        """Take nothing from the client."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take again what the client sends."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's own
        """Return what is known of the connection."""
        return self._transport.get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Say how much may wait for the client before the protocol is told to pause."""
        self._transport.set_write_buffer_limits(high, low)
