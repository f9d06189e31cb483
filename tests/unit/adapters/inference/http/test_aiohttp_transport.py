"""Answers over TLS, which asyncio hands to aiohttp in another way than plain ones."""

from __future__ import annotations

import random
import ssl
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSListener, TLSStream

from holdfast.adapters.inference.http.aiohttp_transport import AiohttpTransport
from holdfast.adapters.inference.http.config import HttpConfig
from tests.fakes.certificate import write_certificate
from tests.fakes.http_server import http

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

BODY = random.Random(0).randbytes(100_000)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def answer(stream: TLSStream) -> None:
    async with stream:
        await stream.receive()
        await stream.send(http(200, BODY))


async def test_answers_over_tls_behind_which_the_server_closes_arrive_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = write_certificate(tmp_path / "certificate.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting)  # which it makes when it is imported
    plain = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = plain.extra(SocketAttribute.local_port)  # noqa: S610 - no Django here
    listener = TLSListener(plain, context, standard_compatible=False)
    transport = AiohttpTransport(f"https://127.0.0.1:{port}", HttpConfig())
    bodies: list[bytes] = []

    async def ask() -> None:
        incoming = await transport.post("/", headers={}, body=b"{}", fresh=False)
        body = b""
        while part := incoming.read_nowait() or await incoming.read():
            body += part
        await incoming.aclose()
        bodies.append(body)

    with anyio.fail_after(30.0):
        async with listener, anyio.create_task_group() as serving:
            serving.start_soon(listener.serve, answer)
            async with anyio.create_task_group() as asking:
                for _ in range(5):
                    asking.start_soon(ask)
            await transport.aclose()
            serving.cancel_scope.cancel()

    assert bodies == [BODY] * 5
