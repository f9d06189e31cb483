"""Both drivers against a server that answers byte for byte as the test says."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from holdfast.adapters.inference.http.config import HttpConfig
from holdfast.adapters.inference.http.transport import (
    BrokenConnectionError,
    Incoming,
    MalformedAnswerError,
    SlowConnectError,
    Transport,
    UnreachableError,
)
from holdfast.testing import sweep_cancellation
from tests.fakes.http_driver import DRIVERS, Driver
from tests.fakes.http_server import Asked, FakeServer, Handler, chunked, drip, http, serving

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Driver:
    driver: Driver = request.param
    return driver


@pytest.fixture
def anyio_backend(driver: Driver) -> str:
    return driver.loop


@asynccontextmanager
async def talking(
    driver: Driver, handler: Handler, config: HttpConfig | None = None
) -> AsyncGenerator[tuple[FakeServer, Transport]]:
    async with serving(handler) as server:
        transport = driver.open_transport(server.url, config or HttpConfig())
        try:
            yield server, transport
        finally:
            await transport.aclose()


async def post(transport: Transport, *, fresh: bool = False, body: bytes = b"{}") -> Incoming:
    return await transport.post("/x", headers={"content-type": "application/json"}, body=body, fresh=fresh)


async def read(incoming: Incoming) -> bytes:
    return await incoming.read()


async def read_next(incoming: Incoming) -> bytes:
    return incoming.read_nowait() or await incoming.read()


async def read_all(incoming: Incoming, read: Callable[[Incoming], Awaitable[bytes]] = read) -> bytes:
    try:
        parts = []
        while part := await read(incoming):
            parts.append(part)
        return b"".join(parts)
    finally:
        await incoming.aclose()


def saying(content: bytes, *, closes: bool = False) -> Handler:
    async def handle(_: Asked, stream: SocketStream) -> None:
        await stream.send(content)
        if closes:
            await stream.aclose()

    return handle


def in_two_steps(gate: anyio.Event) -> Handler:
    """Answer with "first", and with "second" once the gate is open."""

    async def handle(_: Asked, stream: SocketStream) -> None:
        await stream.send(chunked(b"first", ends=False))
        await gate.wait()
        await stream.send(b"6\r\nsecond\r\n0\r\n\r\n")

    return handle


async def test_post_sends_path_headers_and_body_and_gives_head_and_body_back(driver: Driver) -> None:
    answer = http(201, b"\x00\xffbody", X_Own="first")
    async with talking(driver, saying(answer)) as (server, transport):
        incoming = await transport.post(
            "/a/b", headers={"x-key": "k", "accept-encoding": "identity"}, body=b"ask", fresh=False
        )

        assert (incoming.status, incoming.header("x-own"), incoming.header("x-none")) == (201, "first", None)
        assert await read_all(incoming) == b"\x00\xffbody"

    [asked] = server.asked
    assert (asked.path, asked.body, asked.headers["x-key"]) == ("/v1/a/b", b"ask", "k")
    assert asked.headers["accept-encoding"] == "identity"


async def test_connection_is_kept_when_the_body_was_read_to_its_end(driver: Driver) -> None:
    async with talking(driver, saying(chunked(b"one", b"two"))) as (server, transport):
        for _ in range(3):
            assert await read_all(await post(transport)) == b"onetwo"

        assert server.connections == 1


async def test_connection_is_closed_when_it_was_not(driver: Driver) -> None:
    async with talking(driver, saying(chunked(b"one", ends=False))) as (server, transport):
        incoming = await post(transport)
        await incoming.read()
        await incoming.aclose()
        await server.wait_left()

        assert server.open_connections == 0


async def test_fresh_connection_is_a_new_one_and_not_kept(driver: Driver) -> None:
    async with talking(driver, saying(http(200, b"x"))) as (server, transport):
        await read_all(await post(transport))
        for _ in range(2):
            await read_all(await post(transport, fresh=True))
        await read_all(await post(transport))

    assert [asked.connection for asked in server.asked] == [1, 2, 3, 1]


async def test_aclose_closes_every_connection(driver: Driver) -> None:
    async with serving(saying(http(200, b"x"))) as server:
        transport = driver.open_transport(server.url, HttpConfig())
        await read_all(await post(transport))
        await read_all(await post(transport, fresh=True))
        await transport.aclose()
        await server.wait_left()

        assert server.open_connections == 0


async def test_kept_connection_that_the_server_closes_on_the_next_request_is_stale(driver: Driver) -> None:
    async def second_dies(_: Asked, stream: SocketStream) -> None:
        if len(server.asked) > 1:
            await stream.aclose()
        else:
            await stream.send(http(200, b"x"))

    async with talking(driver, second_dies) as (server, transport):
        await read_all(await post(transport))
        with pytest.raises(BrokenConnectionError) as caught:
            await post(transport)

    assert caught.value.is_stale


async def test_new_connection_that_the_server_closes_at_once_is_not_stale(driver: Driver) -> None:
    async with talking(driver, saying(b"", closes=True)) as (_, transport):
        with pytest.raises(BrokenConnectionError) as caught:
            await post(transport)

    assert not caught.value.is_stale


async def test_kept_connection_that_was_reset_meanwhile_is_not_used_again_or_stale(driver: Driver) -> None:
    async with talking(driver, saying(http(200, b"x"), closes=True)) as (server, transport):
        broken: list[BrokenConnectionError] = []
        for _ in range(5):
            try:
                await read_all(await post(transport))
            except BrokenConnectionError as error:
                broken.append(error)

    assert server.connections >= 2
    assert all(error.is_stale for error in broken)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        chunked(b"half", ends=False),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\nhalf",
    ],
    ids=["length", "no last chunk", "within a chunk"],
)
async def test_body_that_is_cut_is_broken_and_not_stale(driver: Driver, answer: bytes) -> None:
    async with talking(driver, saying(answer, closes=True)) as (_, transport):
        incoming = await post(transport)
        with pytest.raises(BrokenConnectionError) as caught:
            await read_all(incoming)

    assert not caught.value.is_stale


@pytest.mark.parametrize("answer", [b"", chunked(b"half", ends=False)], ids=["before the head", "within the body"])
async def test_connection_that_is_reset_is_broken_and_a_new_one_is_not_stale(driver: Driver, answer: bytes) -> None:
    async def reset(_: Asked, stream: SocketStream) -> None:
        await stream.send(answer)
        abruptly = struct.pack("ii", 1, 0)
        stream.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abruptly)  # noqa: S610 - no Django here
        await stream.aclose()

    async with talking(driver, reset) as (_, transport):
        with pytest.raises(BrokenConnectionError) as caught:
            await read_all(await post(transport))

    assert not caught.value.is_stale


@pytest.mark.parametrize(
    "head",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
    ],
    ids=["another protocol", "no status", "no header", "a header of 200 kB", "a negative length"],
)
async def test_head_that_is_no_http_is_malformed(driver: Driver, head: bytes) -> None:
    async with talking(driver, saying(head)) as (_, transport):
        with pytest.raises((MalformedAnswerError, BrokenConnectionError)):
            await post(transport)


async def test_chunk_that_is_none_is_an_error(driver: Driver) -> None:
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nhalf\r\n"
    async with talking(driver, saying(answer)) as (_, transport):
        with pytest.raises((MalformedAnswerError, BrokenConnectionError)):
            await read_all(await post(transport))


async def test_nobody_there_is_unreachable(driver: Driver) -> None:
    async with serving(saying(b"")) as server:
        url = server.url
    transport = driver.open_transport(url, HttpConfig())
    try:
        with pytest.raises(UnreachableError) as caught:
            await post(transport)
    finally:
        await transport.aclose()

    assert str(caught.value) in {"no connection", "no connection: Connection refused"}


async def test_name_that_nobody_has_is_unreachable(driver: Driver) -> None:
    transport = driver.open_transport("http://nobody.invalid/v1", HttpConfig())
    try:
        with pytest.raises(UnreachableError) as caught:
            await post(transport)
    finally:
        await transport.aclose()

    assert re.fullmatch(r"no connection(: \D+)?", str(caught.value))  # an error without words would be a number


async def test_plain_server_at_an_address_of_https_is_unreachable(driver: Driver) -> None:
    async def answer_in_plain(stream: SocketStream) -> None:
        async with stream:
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - no Django here
    transport = driver.open_transport(f"https://127.0.0.1:{port}", HttpConfig())
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer_in_plain)
        with pytest.raises(UnreachableError) as caught:
            await post(transport)
        await transport.aclose()
        tasks.cancel_scope.cancel()

    assert str(caught.value) == "no connection" or "SSL" in str(caught.value)


async def test_connecting_that_takes_too_long_is_slow(driver: Driver) -> None:
    # A listener that accepts nobody, with room for one who waits.
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0, backlog=0)
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - no Django here
    transport = driver.open_transport(f"http://127.0.0.1:{port}", HttpConfig(connect_timeout_s=0.2))
    async with listener, await anyio.connect_tcp("127.0.0.1", port):
        with pytest.raises(SlowConnectError):
            await post(transport)
        await transport.aclose()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirect_is_given_back_and_not_followed(driver: Driver, status: int) -> None:
    async with talking(driver, saying(http(status, b"", location="/elsewhere"))) as (server, transport):
        incoming = await post(transport)
        await incoming.aclose()

    assert incoming.status == status
    assert len(server.asked) == 1


async def test_cookie_is_not_kept(driver: Driver) -> None:
    async with talking(driver, saying(http(200, b"x", Set_Cookie="a=b"))) as (server, transport):
        for _ in range(2):
            await read_all(await post(transport))

    assert [asked.headers.get("cookie") for asked in server.asked] == [None, None]


async def test_proxy_and_password_of_the_environment_are_not_used(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with talking(driver, saying(http(200, b"x"))) as (server, transport):
        assert await read_all(await post(transport)) == b"x"

    assert "authorization" not in server.asked[0].headers


async def test_compressed_body_is_given_as_it_came(driver: Driver) -> None:
    async with talking(driver, saying(http(200, b"\x1f\x8bnot really", content_encoding="gzip"))) as (_, transport):
        assert await read_all(await post(transport)) == b"\x1f\x8bnot really"


async def test_first_of_several_headers_is_given(driver: Driver) -> None:
    answer = b"HTTP/1.1 200 OK\r\nretry-after: 1\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n"
    async with talking(driver, saying(answer)) as (_, transport):
        incoming = await post(transport)
        await incoming.aclose()

    assert incoming.header("Retry-After") == "1"


async def test_parts_come_as_they_are_sent(driver: Driver) -> None:
    gate = anyio.Event()
    async with talking(driver, in_two_steps(gate)) as (_, transport):
        incoming = await post(transport)
        first = await incoming.read()
        gate.set()

        assert (first, await read_all(incoming)) == (b"first", b"second")


async def test_read_nowait_gives_what_has_come_or_nothing_and_the_rest_is_waited_for(driver: Driver) -> None:
    gate = anyio.Event()
    async with talking(driver, in_two_steps(gate)) as (_, transport):
        incoming = await post(transport)
        first = await read_next(incoming)
        nothing = incoming.read_nowait()
        gate.set()

        assert (first, nothing, await read_next(incoming)) == (b"first", b"", b"second")
        assert (await read_next(incoming), incoming.has_ended) == (b"", True)
        await incoming.aclose()


async def test_body_that_is_cut_is_broken_also_where_nobody_waits(driver: Driver) -> None:
    async with talking(driver, saying(chunked(b"half", ends=False), closes=True)) as (server, transport):
        incoming = await post(transport)
        await server.wait_left()
        with pytest.raises(BrokenConnectionError) as caught:
            await read_all(incoming, read_next)

    assert not caught.value.is_stale


@pytest.mark.parametrize("step", [1, 3])
async def test_answer_that_comes_byte_by_byte_is_the_same(driver: Driver, step: int) -> None:
    async def slowly(_: Asked, stream: SocketStream) -> None:
        await drip(stream, chunked(b"one", b"two"), step=step)

    async with talking(driver, slowly) as (_, transport):
        assert await read_all(await post(transport)) == b"onetwo"


async def test_server_is_held_back_by_a_reader_who_does_not_read(driver: Driver) -> None:
    sent_bytes = 0

    async def flood(_: Asked, stream: SocketStream) -> None:
        nonlocal sent_bytes
        await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        while True:
            await stream.send(bytes(64 * 1024))
            sent_bytes += 64 * 1024

    async with talking(driver, flood) as (server, transport):
        incoming = await post(transport)
        before = -1
        while before != sent_bytes:
            before = sent_bytes
            await anyio.sleep(0.1)
        await incoming.aclose()
        await server.wait_left()

    assert sent_bytes < 30_000_000  # what the kernel and the driver hold between the two


@pytest.mark.parametrize("sent_bytes", [100_000, 1_000], ids=["at once", "part by part"])
@pytest.mark.slow
async def test_driver_itself_holds_little_of_an_answer_that_nobody_reads(driver: Driver, sent_bytes: int) -> None:
    gate = anyio.Event()

    async def in_parts(_asked: Asked, stream: SocketStream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        for _ in range(0, 100_000, sent_bytes):
            await stream.send(bytes(sent_bytes))
            await anyio.sleep(0.002)  # so that each arrives by itself
        gate.set()
        await anyio.sleep_forever()

    async with talking(driver, in_parts) as (_, transport):
        incoming = await post(transport)
        await gate.wait()
        held_bytes = 0
        while part := incoming.read_nowait():  # without letting the loop read more meanwhile
            held_bytes += len(part)
        await incoming.aclose()

    assert held_bytes <= 4 * 1024


@pytest.mark.parametrize("answer", [b"", chunked(b"one", ends=False)], ids=["before the head", "within the body"])
async def test_cancelled_call_closes_its_connection_within_a_second(driver: Driver, answer: bytes) -> None:
    async with talking(driver, saying(answer)) as (server, transport):
        with anyio.move_on_after(0.1):
            await read_all(await post(transport))
        await server.wait_left(within_s=1.0)

        assert server.open_connections == 0


async def test_cancelled_at_any_checkpoint_leaves_no_connection_behind(driver: Driver) -> None:
    async with talking(driver, saying(chunked(b"one", b"two"))) as (server, transport):

        async def scenario() -> None:
            await read_all(await post(transport))

        async def check() -> None:
            assert await read_all(await post(transport)) == b"onetwo"

        assert await sweep_cancellation(scenario, check) > 0
        with anyio.fail_after(5):
            while server.open_connections > 1:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.005)


async def test_many_calls_at_once_each_get_their_own_answer(driver: Driver) -> None:
    async def echo(asked: Asked, stream: SocketStream) -> None:
        await anyio.sleep(0.001)
        await stream.send(http(200, asked.body))

    answers: dict[int, bytes] = {}
    async with talking(driver, echo) as (_, transport), anyio.create_task_group() as tasks:

        async def ask(number: int) -> None:
            answers[number] = await read_all(await post(transport, body=b"%d" % number))

        for number in range(50):
            tasks.start_soon(ask, number)

    assert answers == {number: b"%d" % number for number in range(50)}
