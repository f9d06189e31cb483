"""HTTP by httpx2, on asyncio and on trio.

Responsibility: `Transport` wherever aiohttp is not installed or does not run.
Guarantees: those of `Transport`; nothing that httpx2 itself would raise comes out.
Not responsible for: speed: on asyncio aiohttp carries several times as much.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Generator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import anyio

from holdfast.adapters.inference.http.config import HttpConfig
from holdfast.adapters.inference.http.transport import (
    BrokenConnectionError,
    Incoming,
    MalformedAnswerError,
    SlowConnectError,
    Transport,
    UnreachableError,
)

try:
    import httpx2
except ImportError as error:
    raise ImportError("this driver needs httpx2: pip install 'holdfast[openai]'", name="httpx2") from error

__all__ = ["HttpxTransport"]

_RAISED: Final = (httpx2.HTTPError, httpx2.StreamError, OSError)
_CUT: Final = ("Server disconnected", "peer closed connection")
_CLOSE_WITHIN_S: Final = 1.0
"""Seconds that closing a connection may take when its call is cancelled; it says nothing to the server but good-bye."""


class HttpxTransport:
    """Connections to one server. Make it on the loop that it is used on.

    Args:
        base_url: what paths are appended to.
        config: how long connecting may take, and how long a connection is kept.
    """

    def __init__(self, base_url: str, config: HttpConfig) -> None:
        self._base_url = base_url
        self._config = config
        self._keeping = self._client(kept=None)
        self._fresh: httpx2.AsyncClient | None = None

    async def post(self, path: str, *, headers: Mapping[str, str], body: bytes, fresh: bool) -> Incoming:
        """Send a request and return the answer as soon as its head has come, as `Transport` says."""
        if not fresh:
            client = self._keeping
        elif self._fresh is None:
            client = self._fresh = self._client(kept=0)
        else:
            client = self._fresh
        seen = _Seen()
        request = client.build_request(
            "POST",
            self._base_url + path,
            content=body,
            headers=headers,
            extensions={"trace": seen.note},
        )
        with _translated(seen):
            response = await client.send(request, stream=True)
        return _HttpxIncoming(response)

    async def aclose(self) -> None:
        """Close every connection."""
        for client in (self._keeping, self._fresh):
            if client is not None:
                with contextlib.suppress(*_RAISED):
                    await client.aclose()

    def _client(self, *, kept: int | None) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=httpx2.Timeout(None, connect=self._config.connect_timeout_s),
            # The pool in front of it bounds how many connections there are.
            limits=httpx2.Limits(
                max_connections=None, max_keepalive_connections=kept, keepalive_expiry=self._config.keep_alive_s
            ),
        )


class _Seen:
    """Whether a connection was opened for a call."""

    __slots__ = ("is_new",)

    def __init__(self) -> None:
        self.is_new = False

    async def note(self, event: str, _: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.started":
            self.is_new = True


class _HttpxIncoming:
    """An answer that httpx2 reads."""

    __slots__ = ("_parts", "_response", "has_ended", "status")

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._parts: AsyncIterator[bytes] = response.aiter_raw()
        self.status = response.status_code
        self.has_ended = False

    def header(self, name: str) -> str | None:
        """Return the first header of that name."""
        return next(iter(self._response.headers.get_list(name)), None)

    def read_nowait(self) -> bytes:
        """Return nothing: what this driver has read is known to those who wait for it."""
        return b""

    async def read(self) -> bytes:
        """Return the next part of the body."""
        with _translated(None):
            async for part in self._parts:
                if part:
                    return part
        self.has_ended = True
        return b""

    async def aclose(self) -> None:
        """Keep or close the connection, also when cancelled."""
        with anyio.move_on_after(_CLOSE_WITHIN_S, shield=True):
            with contextlib.suppress(*_RAISED):
                await self._response.aclose()
            # The driver leaves a generator behind that nobody closes, of which trio would warn. It ends by itself when
            # it finds that there is no connection any more.
            with contextlib.suppress(*_RAISED):
                async for _ in self._parts:
                    pass


@contextlib.contextmanager
def _translated(seen: _Seen | None) -> Generator[None]:
    """Say in our own errors what httpx2 raises; `seen` is None once an answer has begun."""
    try:
        yield
    except httpx2.ConnectTimeout as error:
        raise SlowConnectError("no connection in time") from error
    except httpx2.ConnectError as error:
        raise UnreachableError("no connection") from error
    except httpx2.RemoteProtocolError as error:
        # The driver has one error for two cases: nothing came, or something that is no HTTP.
        if str(error).startswith(_CUT):
            raise BrokenConnectionError("the connection broke", is_stale=_is_stale(seen)) from error
        raise MalformedAnswerError("what came is no HTTP") from error
    except _RAISED as error:
        raise BrokenConnectionError("the connection broke", is_stale=_is_stale(seen)) from error


def _is_stale(seen: _Seen | None) -> bool:
    return seen is not None and not seen.is_new


_: type[Transport] = HttpxTransport
