"""What uvicorn leaves open on a connection.

Responsibility: bound the time for the headers of a request and for a client to take what waits for it, the connections
    at once, and what waits for each; refuse what is no HTTP with a status of its own.
Guarantees: headers that trickle in, on a new connection or on one that is kept open, end with 408; headers that are too
    large with 431; a refusal reaches the client also while it still sends; a client that takes nothing is cut off.
Not responsible for: bodies: see `holdfast.adapters.gateway.body_reading`.
Source: RFC 9112, sections 9.5 and 9.6; `uvicorn.protocols.http.h11_impl`.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from http import HTTPStatus
from typing import Any, Final, cast

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from holdfast.adapters.gateway.client_presence import PRESENCE, ClientPresence
from holdfast.adapters.gateway.joining_transport import JoiningTransport
from holdfast.adapters.gateway.json_text import encode_json
from holdfast.adapters.gateway.refusals import bad_request
from holdfast.ports.gateway import GatewayOptions

__all__ = ["guarded_protocol"]

_JOINED_BYTES: Final = 2 * 1024
"""How much is joined before it is sent. Once any of it waits for the client, whoever writes has to wait, too: asyncio
would let 64 KiB wait in this process."""

_UNSENT_BYTES: Final = 2 * 1024
"""What may wait for one client in the kernel beyond what is on its way; without a bound it takes megabytes."""

_LINGER_S: Final = 2.0
"""How long a refused client may go on sending before it is cut off: closing at once would reset the connection, and the
refusal would be lost with it."""


def guarded_protocol(options: GatewayOptions) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol within the bounds of `options`."""
    return type("GuardedProtocol", (_GuardedProtocol,), {"options": options})


class _GuardedProtocol(H11Protocol):
    options: GatewayOptions

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._refused = False
        self._presence = ClientPresence(self._listen)
        self.app_state = {**self.app_state, PRESENCE: self._presence}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tcp = cast("asyncio.Transport", transport)  # TCP always is one
        super().connection_made(JoiningTransport(tcp, self.loop, most_bytes=_JOINED_BYTES))
        self.transport.set_write_buffer_limits(high=0)
        _set_up(self.transport.get_extra_info("socket"))
        if len(self.connections) > self.options.max_connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections; come back later", "retry-after: 1\r\n")
        else:
            self._await_head()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._stop_write_timer()
        self._presence.leave()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn forgets it where the connection broke

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.options.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_write_timer()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        hint = getattr(sys.exception(), "error_status_hint", HTTPStatus.BAD_REQUEST)  # h11 knows why
        cycle = self._running_cycle()
        if cycle is not None:
            cycle.disconnected = True  # the body went wrong: whoever reads it is told so
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        self._refuse(HTTPStatus(hint), msg)

    def shutdown(self) -> None:
        if self._refused:
            self.transport.close()
        else:
            super().shutdown()

    def _listen(self) -> None:
        self.flow.resume_reading()  # a connection that is not read from does not tell that it has ended

    def _last_cycle(self) -> RequestResponseCycle | None:
        return cast("RequestResponseCycle | None", self.cycle)  # uvicorn declares that there always is one

    def _running_cycle(self) -> RequestResponseCycle | None:
        cycle = self._last_cycle()
        return None if cycle is None or cycle.response_complete else cycle

    def _await_head(self) -> None:
        """Let the clock run while a request is expected or begun, and stop it once its headers are there."""
        if self._refused or self.transport.is_closing():
            return
        if self._running_cycle() is not None:
            self._stop_head_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.options.header_timeout_s, self._give_up)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        cycle = self._last_cycle()
        if cycle is not None and cycle.more_body:  # it was answered, and its body still comes
            self.transport.close()
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the request took too long; send it faster")

    def _refuse(self, status: HTTPStatus, message: str, headers: str = "") -> None:
        """Answer past the state of the connection, which is over, and close it once the client has had time to read."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        body = encode_json(bad_request(message, code=status.name.lower()).document)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{headers}connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(_LINGER_S, self.transport.abort)


def _set_up(peer: socket.socket) -> None:
    # asyncio does so by itself only where the listening socket names its protocol, which Python's own do not.
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # Linux and macOS have it
    if option is not None:
        peer.setsockopt(socket.IPPROTO_TCP, option, _UNSENT_BYTES)
