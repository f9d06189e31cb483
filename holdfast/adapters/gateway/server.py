"""Serving the gateway.

Responsibility: listen, serve until told to stop, and end in order.
Guarantees: once it is to stop, readiness is false while connections are still taken, running requests have
    `drain_timeout_s` in all, and what was answered by then is delivered within that time; it returns when the last
    connection is closed.
Not responsible for: signals: whoever starts it has them.
Source: uvicorn's settings; it runs on asyncio only.
"""

from __future__ import annotations

import asyncio
import errno
import math
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import anyio
import uvicorn
from anyio.to_thread import run_sync

from holdfast.adapters.gateway.application import build_gateway
from holdfast.adapters.gateway.guarded_protocol import guarded_protocol
from holdfast.adapters.gateway.history import History
from holdfast.ports.batch import StopSignal
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.gateway import GatewayOptions, GatewayServer
from holdfast.ports.service import Service

__all__ = ["serve_gateway"]

_BACKLOG: Final = 2048
_OTHER_FILES: Final = 256
"""Descriptors that are left to everything else: connections of backends, databases, logs; unmeasured."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield  # they are the caller's


async def serve_gateway(
    service: Service, options: GatewayOptions, *, stop: StopSignal, on_listening: Callable[[str], None]
) -> None:
    """Serve `service` until `stop` is set, then drain it and return.

    Args:
        service: what answers.
        options: how it is served.
        stop: asks for the end.
        on_listening: told the address, once connections are taken.

    Raises:
        ConfigurationError: it cannot listen there, or runs on trio.

    Cancellation: every connection is closed.
    """
    _require_asyncio()
    options = replace(options, max_connections=min(options.max_connections, _most_connections()))
    listener = await run_sync(_listen, options)
    history = History()
    config = uvicorn.Config(
        build_gateway(service, options, history=history),
        http=guarded_protocol(options),
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        log_level="error",  # or each client that speaks no HTTP would have a line, which is its mistake
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=math.ceil(options.keep_alive_s),
        backlog=_BACKLOG,
    )
    server = _Server(config, lambda: on_listening(_address(listener)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(history.follow, service.health)
        tasks.start_soon(_end, service, server, options, stop)
        try:
            await server.serve(sockets=[listener])
        finally:
            listener.close()
        tasks.cancel_scope.cancel()


def _most_connections() -> int:
    """Return how many connections there are descriptors for; without any left the server could take none for health."""
    try:
        import resource  # noqa: PLC0415 - POSIX only
    except ImportError:
        return sys.maxsize
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(1, soft - _OTHER_FILES)


def _require_asyncio() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        message = "uvicorn, which serves it, runs on asyncio only; start it there, or serve build_gateway by hypercorn"
        raise ConfigurationError(message, path="gateway") from None


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _end(service: Service, server: _Server, options: GatewayOptions, stop: StopSignal) -> None:
    await stop.wait()
    ends_at_s = anyio.current_time() + options.drain_timeout_s
    await service.drain(options.drain_timeout_s)
    server.config.timeout_graceful_shutdown = max(1, math.ceil(ends_at_s - anyio.current_time()))
    server.should_exit = True


def _listen(options: GatewayOptions) -> socket.socket:
    place = f"{options.host}:{options.port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except UnicodeError as error:  # a name that DNS has no room for
        raise ConfigurationError(
            f"cannot listen on {place}: this is no name; choose another", path="gateway.host"
        ) from error
    except (OSError, OverflowError) as error:
        is_host = isinstance(error, socket.gaierror) or getattr(error, "errno", None) == errno.EADDRNOTAVAIL
        path = "gateway.host" if is_host else "gateway.port"
        # Behind what is wrong the system's words have the address, which is told already.
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (while")[0]
        raise ConfigurationError(f"cannot listen on {place}: {reason}; choose another", path=path) from error


_: GatewayServer = serve_gateway
