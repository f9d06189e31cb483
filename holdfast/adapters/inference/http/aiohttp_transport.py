"""HTTP by aiohttp, on asyncio.

Responsibility: `Transport` on the faster of the two drivers.
Guarantees: those of `Transport`; nothing that aiohttp itself would raise comes out.
Not responsible for: trio, which aiohttp does not run on: see `holdfast.adapters.inference.http.httpx_transport`.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

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
except ImportError as error:
    raise ImportError("this driver needs aiohttp: pip install 'holdfast[openai]'", name="aiohttp") from error

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler

__all__ = ["AiohttpTransport"]

_RAISED: Final = (aiohttp.ClientError, OSError)
_READ_BYTES: Final = 4 * 1024
"""What is read ahead of a reader who does not keep up: aiohttp stops when it holds about twice as much, which by its
own default would be 512 KiB for each of those who read slowly (adr/0028)."""

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
        # The pool in front of it bounds how many connections there are.
        connector = (
            _Connector(limit=0, force_close=True)
            if force_close
            else _Connector(limit=0, keepalive_timeout=self._config.keep_alive_s)
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, connect=self._config.connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_READ_BYTES,
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


class _Connector(aiohttp.TCPConnector):
    """Notes which calls a connection is opened for, which tracing would tell too, but at a price for every call."""

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
