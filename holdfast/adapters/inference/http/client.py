"""One server, and what may be expected of it.

Responsibility: send a request, wait for as long as one may, read no more than one may, and say what went wrong in the
    words of the port.
Guarantees: each time limit is an error of its own; a kept connection that turns out to be stale is replaced once by a
    fresh one; whatever ends an exchange, its connection is kept or closed at once.
Not responsible for: what is asked and answered: see the dialects; trying again, which stands around a backend.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Final, Self, TypeVar

import anyio

from holdfast.adapters.inference.http.config import HttpConfig
from holdfast.adapters.inference.http.status import failure_of
from holdfast.adapters.inference.http.transport import (
    BrokenConnectionError,
    Incoming,
    MalformedAnswerError,
    SlowConnectError,
    Transport,
    TransportError,
)
from holdfast.ports.errors import (
    BackendError,
    BackendProtocolError,
    BackendTimeoutError,
    BackendUnavailableError,
)

__all__ = ["Exchange", "HttpClient"]

T = TypeVar("T")

_OK: Final = 200

_MAX_FAILURE_BYTES: Final = 64 * 1024
"""What is read of the body of a failure, for its kind; a longer one costs its connection."""

_LINGER_S: Final = 0.1
"""Seconds to wait, behind the end of a stream, for that of its body, so that the connection can be kept; unmeasured."""


class HttpClient:
    """Talks to one server, in any number of exchanges at once.

    Args:
        name: of the backend; errors carry it.
        transport: the connections; closed with the client.
        config: what an exchange may take.
        unix_s: the time by our clock, for dates.
    """

    def __init__(
        self, name: str, transport: Transport, *, config: HttpConfig, unix_s: Callable[[], float] = time.time
    ) -> None:
        self.name = name
        self.config = config
        self._transport = transport
        self._unix_s = unix_s

    async def post(self, path: str, *, headers: Mapping[str, str], body: bytes, idempotent: bool) -> Exchange:
        """Send a request, and return the answer, to be read in an ``async with`` block.

        Args:
            path: appended to the address of the server.
            headers: to be sent.
            body: to be sent.
            idempotent: whether it may be sent again where a kept connection broke before there was an answer.

        Raises:
            BackendTimeoutError: connecting, or the head of the answer, took too long.
            BackendUnavailableError: no connection, or it broke; or the server failed.
            BackendThrottledError: the server pushes back.
            BackendAuthenticationError: it does not accept the key.
            BackendRequestError: it refuses the request.
            BackendProtocolError: the answer cannot be understood, leads elsewhere, or is compressed.

        Cancellation: the connection is closed, so that the server notices.
        """
        patience = _Patience(self.name, self.config)
        incoming = await self._send(path, headers=headers, body=body, idempotent=idempotent, patience=patience)
        exchange = Exchange(incoming, self.name, patience)
        if incoming.status != _OK:
            async with exchange:
                raise await self._failure(exchange)
        if (incoming.header("content-encoding") or "identity").strip().lower() != "identity":
            async with exchange:
                raise BackendProtocolError("its answer is compressed, which it was asked not to do", backend=self.name)
        return exchange

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def _send(
        self, path: str, *, headers: Mapping[str, str], body: bytes, idempotent: bool, patience: _Patience
    ) -> Incoming:
        async def send(*, fresh: bool = False) -> Incoming:
            return await patience.wait(
                lambda: self._transport.post(path, headers=headers, body=body, fresh=fresh),
                "first byte",
                self.config.first_byte_timeout_s,
            )

        try:
            try:
                return await send()
            except BrokenConnectionError as error:
                if not error.is_stale or not idempotent:
                    raise
            return await send(fresh=True)
        except TransportError as error:
            raise _told(error, self.name, self.config) from error

    async def _failure(self, exchange: Exchange) -> BackendError:
        try:
            body = await exchange.read_all(max_bytes=_MAX_FAILURE_BYTES)
        except BackendError:  # what it says is not needed to know what it is
            body = b""
        return failure_of(
            exchange.incoming.status, exchange.incoming.header, body, backend=self.name, now_unix_s=self._unix_s()
        )


class Exchange:
    """An answer with status 200, or that of a failure, while it is read.

    At the end of an ``async with`` block its connection is kept or closed.

    Args:
        incoming: the answer.
        backend: whose it is.
        patience: what is left of its time.

    Attributes:
        incoming: the answer.
    """

    __slots__ = ("_backend", "_patience", "incoming")

    def __init__(self, incoming: Incoming, backend: str, patience: _Patience) -> None:
        self.incoming = incoming
        self._backend = backend
        self._patience = patience

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.incoming.aclose()

    @property
    def media_type(self) -> str:
        """What the body is, such as ``application/json``, in lower case and without parameters; nothing if unsaid."""
        return (self.incoming.header("content-type") or "").partition(";")[0].strip().lower()

    async def read(self) -> bytes:
        """Return the next part of the body; nothing at its end.

        Raises:
            BackendTimeoutError: nothing came for too long, or the whole exchange takes too long.
            BackendUnavailableError: the connection broke.
            BackendProtocolError: the body is not in the form that its head says.
        """
        config = self._patience.config
        try:
            part = self.incoming.read_nowait()  # which is often all, and a time limit costs more than to look
            if part or self.incoming.has_ended:
                return part
            return await self._patience.wait(self.incoming.read, "idle", config.idle_timeout_s)
        except TransportError as error:
            raise _told(error, self._backend, config) from error

    async def read_all(self, *, max_bytes: int) -> bytes:
        """Return the whole body.

        Raises:
            BackendProtocolError: it is longer than `max_bytes`, or not in the form that its head says.
            BackendError: as `read`.
        """
        parts: list[bytes] = []
        size_bytes = 0
        while part := await self.read():
            size_bytes += len(part)
            if size_bytes > max_bytes:
                raise BackendProtocolError(
                    f"its answer is longer than {max_bytes} bytes; ask for less, or raise http.max_reply_bytes",
                    backend=self._backend,
                )
            parts.append(part)
        return b"".join(parts)

    async def linger(self) -> None:
        """Wait a moment for the end of the body, behind which nothing is of interest."""
        if not self.incoming.has_ended:
            with anyio.move_on_after(_LINGER_S), contextlib.suppress(TransportError):
                await self.incoming.read()


class _Patience:
    """What is left of the time of one exchange, without that in which nobody waits for the server."""

    __slots__ = ("_backend", "_left_s", "config")

    def __init__(self, backend: str, config: HttpConfig) -> None:
        self._backend = backend
        self._left_s = config.total_timeout_s
        self.config = config

    async def wait(self, work: Callable[[], Awaitable[T]], phase: str, timeout_s: float) -> T:
        """Return what `work` returns; raise `BackendTimeoutError` if that takes too long."""
        begun_s = anyio.current_time()
        if self._left_s < timeout_s:
            phase, timeout_s = "total", self.config.total_timeout_s
        with anyio.CancelScope(deadline=begun_s + min(timeout_s, self._left_s)):
            try:
                return await work()
            finally:
                self._left_s -= anyio.current_time() - begun_s
        raise BackendTimeoutError(backend=self._backend, phase=phase, timeout_s=timeout_s)


def _told(error: TransportError, backend: str, config: HttpConfig) -> BackendError:
    """Return what the port calls `error`."""
    match error:
        case SlowConnectError():
            return BackendTimeoutError(backend=backend, phase="connect", timeout_s=config.connect_timeout_s)
        case MalformedAnswerError():
            return BackendProtocolError(str(error), backend=backend)
        case _:
            return BackendUnavailableError(str(error), backend=backend)
