"""Readers who take their answer slowly, over real sockets, a thousand of them."""

from __future__ import annotations

import gc
import json
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from holdfast.adapters.system import SystemClock
from holdfast.application.settings import Settings
from holdfast.domain.stream_outlet import StreamingConfig
from holdfast.ports.gateway import GatewayOptions
from holdfast.ports.inference import Completion, Deliver, Prompt
from tests.fakes.gateway import eventually, question, served
from tests.fakes.raw_http import connected, request_bytes
from tests.fakes.service import Answering, opened

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.real_time,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc"),
]

READERS = 1000
MOST_KIB = 64


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # uvicorn runs on nothing else


@pytest.fixture
def many_files() -> Iterator[None]:
    """Allow as many open files as two ends of each connection take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * READERS + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"{needed} open files are needed, and this machine allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Endless:
    """Streams far more than any buffer holds."""

    async def complete(self, prompt: Prompt) -> Completion:
        raise AssertionError("it is streamed")

    async def stream(self, prompt: Prompt, deliver: Deliver) -> Completion:
        for _ in range(20_000):
            await deliver("0123456789" * 10)
        raise AssertionError("somebody has read it all")


def resident_kib() -> int:
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def slow_reader(port: int) -> socket.socket:
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect(("127.0.0.1", port))
    reader.setblocking(False)
    reader.send(request_bytes(json.dumps(question(stream=True)).encode()))
    return reader


async def connect(port: int, number: int) -> list[socket.socket]:
    readers: list[socket.socket] = []
    for each in range(number):
        readers.append(slow_reader(port))
        if each % 20 == 0:
            await anyio.sleep(0.01)
    return readers


async def test_thousand_slow_readers_hold_64_kib_each_at_most_and_hold_up_nobody(many_files: None) -> None:
    settings = Settings(streaming=StreamingConfig(stall_timeout_s=300.0), timeout_s=300.0)
    options = GatewayOptions(write_timeout_s=300.0)
    with anyio.fail_after(60.0):
        async with (
            opened({"endless": Endless()}, settings, clock=SystemClock()) as service,
            served(service, options) as gateway,
        ):
            readers = await connect(gateway.port, 20)  # whatever is made once
            await anyio.sleep(0.5)
            before_kib = resident_kib()
            readers += await connect(gateway.port, READERS)
            await eventually(lambda: service.health().streams.reading == len(readers))
            for _ in range(3):
                await anyio.sleep(0.3)
                for reader in readers:
                    assert reader.recv(4096)
            each_kib = (resident_kib() - before_kib) / READERS
            async with connected(gateway.port) as honest:
                await honest.send([request_bytes(method="GET", path="/healthz")])
                answer = await honest.answer()
            for reader in readers:
                reader.close()

    assert each_kib <= MOST_KIB
    assert answer.status == 200


async def test_slow_reader_does_not_hold_up_a_fast_one_of_another_answer() -> None:
    settings = Settings(streaming=StreamingConfig(stall_timeout_s=300.0))
    with anyio.fail_after(30.0):
        async with (
            opened({"a": Answering()}, settings, clock=SystemClock()) as service,
            served(service) as gateway,
        ):
            reader = slow_reader(gateway.port)
            async with connected(gateway.port) as fast:
                await fast.send([request_bytes(json.dumps(question("another")).encode())])
                answer = await fast.answer()
            reader.close()

    assert answer.status == 200
