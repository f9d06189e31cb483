"""How a connection is set up, on real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import anyio
import pytest
import uvicorn
from uvicorn.server import ServerState

from holdfast.adapters.gateway import build_gateway
from holdfast.adapters.gateway.guarded_protocol import guarded_protocol
from holdfast.ports.gateway import GatewayOptions
from tests.fakes.raw_http import request_bytes
from tests.fakes.service import Answering, opened

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # uvicorn runs on nothing else


@dataclass
class Connection:
    client: socket.socket
    server: socket.socket

    async def receive(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.client, 65536)


@asynccontextmanager
async def connection() -> AsyncGenerator[Connection]:
    """Connect to the protocol by a listening socket of Python's own, as the server makes it."""
    loop, options = asyncio.get_running_loop(), GatewayOptions()
    make = cast("Callable[..., asyncio.Protocol]", guarded_protocol(options))  # with what uvicorn gives each
    async with opened({"a": Answering()}) as service:
        config = uvicorn.Config(build_gateway(service, options), lifespan="off", log_config=None)
        config.load()
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            client.connect(listener.getsockname())
            client.setblocking(False)
            server, _ = listener.accept()
            protocol = make(config=config, server_state=ServerState(), app_state={})
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, server)
            try:
                yield Connection(client, server)
            finally:
                transport.close()
                await anyio.lowlevel.checkpoint()


async def test_connection_sends_small_pieces_without_waiting_for_the_client_to_acknowledge_the_last() -> None:
    async with connection() as connected:
        no_delay = connected.server.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    assert no_delay != 0


async def test_connection_bounds_what_waits_for_its_client_in_the_kernel() -> None:
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is None:
        pytest.skip("this system has no such bound")
    async with connection() as connected:
        unsent_bytes = connected.server.getsockopt(socket.IPPROTO_TCP, option)

    assert unsent_bytes == 2048


async def test_connection_sends_the_head_of_an_answer_together_with_its_body() -> None:
    with anyio.fail_after(10.0):
        async with connection() as connected:
            connected.client.send(request_bytes(method="GET", path="/healthz"))
            first = await connected.receive()

    assert first.endswith(b'\r\n\r\n{"status":"ok"}')
