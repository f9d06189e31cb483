"""Readers who take their answer slowly, over real sockets, a thousand of them."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import anyio
import httpx2
import pytest

from holdfast.adapters.system import SystemClock
from holdfast.application.settings import Settings
from holdfast.domain.stream_outlet import StreamingConfig
from tests.fakes.gateway import question, served
from tests.fakes.raw_http import connected, request_bytes
from tests.fakes.service import Answering, opened

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.slow,
    pytest.mark.timeout(400),  # a thousand connections, three times, in three processes
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc"),
]

GATEWAY = Path(__file__).with_name("endless_answers.py")
SERVER = Path(__file__).with_name("endless_server.py")
READERS = 1000
WARMING = 20
MOST_KIB = 64
MOST_KIB_BEFORE_A_SERVER = 96
PATIENCE_S = 120.0
REST_S = 2.0
OF_HIS_OWN = "what is the answer to question {}?"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # uvicorn runs on nothing else


@pytest.fixture
def many_files() -> Iterator[None]:
    """Allow as many open files as there are connections, to this process and to those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = READERS + WARMING + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"{needed} open files are needed, and this machine allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Gateway:
    """A process of its own, whose memory is nobody else's."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._asks, self._tells = process.stdin, process.stdout
        self.address = self._tells.readline().strip()

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def state(self) -> dict[str, int]:
        self._asks.write("\n")
        self._asks.flush()
        told: dict[str, int] = json.loads(self._tells.readline())
        return told

    def state_at_rest(self, readers: int) -> dict[str, int]:
        """Return what is held once all of them are served, and nothing more can be sent to any of them."""
        state = self.state()
        ends_at_s = time.monotonic() + PATIENCE_S
        since_s = time.monotonic()
        while time.monotonic() < ends_at_s:
            before, state = state, self.state()
            if state["reading"] != readers or state["text_bytes"] != before["text_bytes"]:
                since_s = time.monotonic()
            elif time.monotonic() - since_s > REST_S:
                return state
            time.sleep(0.5)
        raise AssertionError(f"not at rest after {PATIENCE_S} s: {state}")


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def started(program: Path, *arguments: str, running: ExitStack) -> subprocess.Popen[str]:
    # Tracing keeps every frame of every call as an object, which is no memory of the gateway's.
    untraced = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    root = program.parents[2]
    process = subprocess.Popen(
        [sys.executable, str(program), *arguments],
        cwd=root,
        env={**untraced, "PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    running.enter_context(process)
    running.callback(process.kill)
    return process


@pytest.fixture
def gateway(many_files: None, running: ExitStack) -> Gateway:
    return Gateway(started(GATEWAY, str(READERS + WARMING), running=running))


@pytest.fixture
def gateway_before_a_server(many_files: None, running: ExitStack) -> Gateway:
    server = started(SERVER, running=running)
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    return Gateway(started(GATEWAY, str(READERS + WARMING), address, running=running))


def slow_reader(port: int, text: str) -> socket.socket:
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect(("127.0.0.1", port))
    reader.settimeout(PATIENCE_S)
    reader.send(request_bytes(json.dumps(question(text, stream=True)).encode()))
    return reader


def slow_readers(port: int, texts: Iterable[str], running: ExitStack) -> list[socket.socket]:
    return [running.enter_context(slow_reader(port, text)) for text in texts]


class Held(NamedTuple):
    each_kib: float
    text_kib: float
    called: int


def held_by_slow_readers(gateway: Gateway, asking: str, running: ExitStack) -> Held:
    """Return by how much the gateway's resident memory grows with each reader, and how much text each has come to.

    That is beyond what it is with a few of them, for whom is made what is made once.
    """
    texts = [asking.format(number) for number in range(WARMING + READERS)]
    readers = slow_readers(gateway.port, texts[:WARMING], running)
    before = gateway.state_at_rest(WARMING)
    readers += slow_readers(gateway.port, texts[WARMING:], running)
    gateway.state_at_rest(WARMING + READERS)
    for _ in range(3):
        for reader in readers:
            assert reader.recv(1024)
    after = gateway.state_at_rest(WARMING + READERS)
    held = Held(
        each_kib=(after["resident_kib"] - before["resident_kib"]) / READERS,
        text_kib=(after["text_bytes"] - before["text_bytes"]) / 1024 / READERS,
        called=after["called"],
    )
    print(f"{held.each_kib:.1f} KiB each, with {held.text_kib:.1f} KiB of text")  # with -rP
    return held


@pytest.mark.parametrize(
    ("asking", "calls"),
    [
        pytest.param("what is the answer?", 1, id="of one answer"),
        pytest.param(OF_HIS_OWN, WARMING + READERS, id="of an answer of his own each"),
    ],
)
def test_thousand_slow_readers_hold_64_kib_each_at_most_and_hold_up_nobody(
    asking: str, calls: int, gateway: Gateway, running: ExitStack
) -> None:
    held = held_by_slow_readers(gateway, asking, running)
    status = httpx2.get(f"{gateway.address}/healthz", timeout=PATIENCE_S).status_code

    assert held.each_kib <= MOST_KIB
    assert held.called == calls
    assert status == 200


def test_thousand_slow_readers_before_a_server_hold_96_kib_each_at_most(
    gateway_before_a_server: Gateway, running: ExitStack
) -> None:
    held = held_by_slow_readers(gateway_before_a_server, OF_HIS_OWN, running)
    status = httpx2.get(f"{gateway_before_a_server.address}/healthz", timeout=PATIENCE_S).status_code

    assert held.each_kib <= MOST_KIB_BEFORE_A_SERVER
    assert held.called == WARMING + READERS
    assert status == 200


@pytest.mark.anyio
async def test_slow_reader_does_not_hold_up_a_fast_one_of_another_answer() -> None:
    settings = Settings(streaming=StreamingConfig(stall_timeout_s=300.0))
    with anyio.fail_after(30.0):
        async with (
            opened({"a": Answering()}, settings, clock=SystemClock()) as service,
            served(service) as gateway,
        ):
            reader = slow_reader(gateway.port, "what is the answer?")
            async with connected(gateway.port) as fast:
                await fast.send([request_bytes(json.dumps(question("another")).encode())])
                answer = await fast.answer()
            reader.close()

    assert answer.status == 200
