"""HTTP by aiohttp, on asyncio.

Responsibility: `Transport` on the faster of the two drivers.
Guarantees: those of `Transport`; nothing that aiohttp itself would raise comes out.
Not responsible for: trio, which aiohttp does not run on: see `holdfast.adapters.inference.http.httpx_transport`.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from holdfast.adapters.inference.http.config import HttpConfig
from holdfast.adapters.inference.http.transport import (
    BrokenConnectionError,
    Incoming,
    MalformedAnswerError,
    SlowConnectError,
    Transport,
    TransportError,
    UnreachableError,
)

try:
    import aiohttp
    from aiohttp.client_proto import ResponseHandler
except ImportError as error:
    raise ImportError("this driver needs aiohttp: pip install 'holdfast[openai]'", name="aiohttp") from error

__all__ = ["AiohttpTransport"]

_RAISED: Final = (aiohttp.ClientError, OSError)
_READ_BYTES: Final = 2 * 1024
"""What is taken from a plain connection at once, and what of it may wait for its reader before no more is taken. For a
reader who does not keep up twice as much is held at most, and not the hundreds of KiB that asyncio and aiohttp would
take by themselves (adr/0028); one who does gets a long answer in more parts."""

_READ_BYTES_OVER_TLS: Final = 8 * 1024
"""What may wait over TLS, where asyncio itself holds hundreds of KiB, and loses the end of an answer behind which the
server closes if it is to read into a buffer."""

_is_new: Final = ContextVar("_is_new", default=False)
"""Whether a connection was opened for the call of this task."""


class AiohttpTransport:
    """Connections to one server. Make it on a running asyncio loop.

    Args:
        base_url: what paths are appended to.
        config: how long connecting may take, and how long a connection is kept.
    """

    def __init__(self, base_url: str, config: HttpConfig) -> None:
        self._base_url = base_url
        self._config = config
        self._keeping = self._session(force_close=False)
        self._fresh: aiohttp.ClientSession | None = None

    async def post(self, path: str, *, headers: Mapping[str, str], body: bytes, fresh: bool) -> Incoming:
        """Send a request and return the answer as soon as its head has come, as `Transport` says."""
        if not fresh:
            session = self._keeping
        elif self._fresh is None:
            session = self._fresh = self._session(force_close=True)
        else:
            session = self._fresh
        _is_new.set(False)
        try:
            response = await session.post(self._base_url + path, data=body, headers=headers, allow_redirects=False)
        except _RAISED as error:
            raise _told(error, is_reused=not _is_new.get()) from error
        return _AiohttpIncoming(response)

    async def aclose(self) -> None:
        """Close every connection."""
        for session in (self._keeping, self._fresh):
            if session is not None:
                await session.close()

    def _session(self, *, force_close: bool) -> aiohttp.ClientSession:
        over_tls = urlsplit(self._base_url).scheme == "https"
        most_bytes = _READ_BYTES_OVER_TLS if over_tls else _READ_BYTES
        return aiohttp.ClientSession(
            connector=_Connector(keep_alive_s=None if force_close else self._config.keep_alive_s, over_tls=over_tls),
            timeout=aiohttp.ClientTimeout(total=None, connect=self._config.connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=most_bytes // 2,  # aiohttp stops beyond twice that
        )


class _AiohttpIncoming:
    """An answer that aiohttp reads."""

    __slots__ = ("_response", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status

    @property
    def has_ended(self) -> bool:
        """Whether all of the body was read."""
        return self._response.content.at_eof()

    def header(self, name: str) -> str | None:
        """Return the first header of that name."""
        return self._response.headers.get(name)

    def read_nowait(self) -> bytes:
        """Return the next part of the body if it has come."""
        try:
            return self._response.content.read_nowait()
        except _RAISED as error:
            raise _told(error, is_reused=False) from error

    async def read(self) -> bytes:
        """Return the next part of the body."""
        try:
            return await self._response.content.readany()
        except _RAISED as error:
            raise _told(error, is_reused=False) from error

    async def aclose(self) -> None:
        """Keep or close the connection; at its end, aiohttp has kept it already."""
        self._response.close()


class _Handler(ResponseHandler, asyncio.BufferedProtocol):
    """Takes no more at once than `buffer` holds; without one the event loop reads up to 256 KiB."""

    def __init__(self, loop: asyncio.AbstractEventLoop, buffer: memoryview) -> None:
        super().__init__(loop)
        self._received = buffer

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - as asyncio has it
        return self._received

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self._received[:nbytes]))


class _Connector(aiohttp.TCPConnector):
    """Bounds what its plain connections read at once, but not how many there are: the pool in front of it does.

    It also notes which calls a connection is opened for, which tracing would tell too, but at a price for every call.
    """

    def __init__(self, *, keep_alive_s: float | None, over_tls: bool) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - a type of aiohttp's is written without its items
            limit=0, force_close=keep_alive_s is None, keepalive_timeout=keep_alive_s
        )
        if not over_tls:
            # One for all of them: what is read into it is taken out before the loop reads anything else.
            buffer = memoryview(bytearray(_READ_BYTES))
            make: Callable[..., ResponseHandler] = _Handler
            self._factory = partial(make, self._loop, buffer)

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - as the driver has it
    ) -> ResponseHandler:
        _is_new.set(True)
        return await super()._create_connection(req, traces, timeout)


def _told(error: Exception, *, is_reused: bool) -> TransportError:
    """Return what `error` is called here."""
    match error:
        case aiohttp.ServerTimeoutError():
            return SlowConnectError("no connection in time")
        case aiohttp.ClientConnectorError():
            return UnreachableError(f"no connection: {_reason(error.os_error) or type(error).__name__}")
        case aiohttp.ClientResponseError():
            return MalformedAnswerError("what came is no HTTP")
        case _:
            return BrokenConnectionError("the connection broke", is_stale=is_reused)


def _reason(error: OSError) -> str | None:
    # The loop writes the address into it, which is nothing for the clients of a service. The numbers of TLS and of
    # looking up names are none of the system's.
    if error.errno is None or error.errno < 0 or isinstance(error, ssl.SSLError):
        return error.strerror
    return os.strerror(error.errno)


_: type[Transport] = AiohttpTransport
