"""``holdfast serve`` as it is started, asked and stopped."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from tests import program
from tests.fakes.gateway import eventually, question
from tests.fakes.raw_http import RawAnswer, connected, request_bytes

pytestmark = [pytest.mark.anyio, pytest.mark.real_time, pytest.mark.slow]

PATIENCE_S = 40.0
KEY = "a-key-that-is-long"
EVERYWHERE = ("--host", "0.0.0.0")  # noqa: S104 - that it needs keys is what is tested


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the program runs on it, whatever its clients run on


@dataclass
class Running:
    process: subprocess.Popen[str]
    port: int
    announced: str

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        await eventually(lambda: self.process.poll() is not None)
        return self.process.wait()


@contextmanager
def serving(folder: Path, *settings: str, host: Sequence[str] = ()) -> Generator[Running]:
    arguments = [part for setting in ("backends.a.kind=scripted", *settings) for part in ("--set", setting)]
    process = program.start(folder, "serve", "--port", "0", *host, *arguments)
    assert process.stderr is not None
    try:
        announced = process.stderr.readline()
        port = re.search(r":(\d+)$", announced.strip())
        assert port is not None, announced + process.stderr.read()
        yield Running(process, int(port[1]), announced)
    finally:
        process.kill()
        process.communicate()


async def get(port: int, path: str, *headers: str) -> RawAnswer:
    async with connected(port) as client:
        await client.send([request_bytes(b"", *headers, method="GET", path=path)])
        return await client.answer()


async def chat(port: int, text: str, *headers: str) -> RawAnswer:
    async with connected(port) as client:
        await client.send([request_bytes(json.dumps(question(text)).encode(), *headers)])
        return await client.answer()


async def until(port: int, path: str, holds: Callable[[RawAnswer], bool]) -> RawAnswer:
    while True:
        answer = await get(port, path)
        if holds(answer):
            return answer
        await anyio.sleep(0.01)


def has_begun(metrics: RawAnswer) -> bool:
    return b"requests_in_flight 1.0" in metrics.body


def is_stopping(readiness: RawAnswer) -> bool:
    return readiness.status == 503


async def test_serve_first_signal_lets_requests_finish_while_health_answers_and_readiness_is_false(
    tmp_path: Path,
) -> None:
    answers: list[RawAnswer] = []
    with anyio.fail_after(PATIENCE_S), serving(tmp_path, "backends.a.delay_s=3") as running:
        before = await get(running.port, "/readyz")

        async def ask() -> None:
            answers.append(await chat(running.port, "while it stops"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await until(running.port, "/metrics", has_begun)
            running.stop()
            ready = await until(running.port, "/readyz", is_stopping)
            healthy = await get(running.port, "/healthz")
            refused = await chat(running.port, "too late")
        code = await running.ended()

    assert (before.status, ready.status, healthy.status) == (200, 503, 200)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert [answer.status for answer in answers] == [200]
    assert code == 0


async def test_serve_request_that_takes_longer_than_draining_may_is_cut_and_the_exit_code_is_0(tmp_path: Path) -> None:
    answers: list[RawAnswer] = []
    settings = ("backends.a.fault=hang", "gateway.drain_timeout_s=1")
    with anyio.fail_after(PATIENCE_S), serving(tmp_path, *settings) as running:

        async def ask() -> None:
            answers.append(await chat(running.port, "for ever"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await until(running.port, "/metrics", has_begun)
            running.stop()
            began_s = time.monotonic()
        code = await running.ended()
        took_s = time.monotonic() - began_s

    assert [answer.status for answer in answers] == [503]
    assert code == 0
    assert took_s < 10.0


async def test_serve_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with anyio.fail_after(PATIENCE_S), serving(tmp_path, "backends.a.fault=hang") as running:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: _until_closed(running.port))
            await until(running.port, "/metrics", has_begun)
            running.stop()
            await until(running.port, "/readyz", is_stopping)
            running.stop()
            code = await running.ended()

    assert code == 3


async def _until_closed(port: int) -> None:
    async with connected(port) as client:
        await client.send([request_bytes(json.dumps(question()).encode())])
        await client.rest_bytes()


async def test_serve_with_keys_asks_for_them_but_for_health_and_prints_none(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"# tenant and key\nacme {KEY}\n")
    keys.chmod(0o600)
    settings = (f"gateway.api_keys_file={keys}",)
    with anyio.fail_after(PATIENCE_S), serving(tmp_path, *settings, host=EVERYWHERE) as running:
        without = [await get(running.port, path) for path in ("/metrics", "/status", "/v1/models", "/status.json")]
        health = [await get(running.port, path) for path in ("/healthz", "/readyz")]
        known = await chat(running.port, "with a key", f"authorization: Bearer {KEY}")
        running.stop()
        code = await running.ended()
        printed = "".join(running.process.communicate()) + running.announced

    assert {answer.status for answer in without} == {401}
    assert {answer.status for answer in health} == {200}
    assert known.status == 200
    assert KEY not in printed
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([*EVERYWHERE], "gateway.api_keys"),
        (["--set", "gateway.api_keys.acme=short"], "gateway.api_keys"),
        (["--set", 'gateway.api_keys={"acme": 12345}'], "gateway.api_keys.acme"),
        (["--set", "gateway.api_keys_file=missing"], "gateway.api_keys_file"),
        (["--set", "gateway.prot=1"], "gateway.port"),
        (["--host", "256.256.256.256", "--set", f"gateway.api_keys.acme={KEY}"], "gateway.host"),
    ],
)
def test_serve_settings_that_cannot_be_served_are_refused_in_one_line(
    arguments: list[str], named: str, tmp_path: Path
) -> None:
    outcome = program.call(tmp_path, "serve", *arguments)

    assert outcome.returncode == 2
    assert outcome.stderr.count("\n") == 1
    assert named in outcome.stderr
    assert not {"short", "12345", KEY} & set(outcome.stderr.split())


async def test_serve_port_that_is_taken_is_refused_in_one_line(tmp_path: Path) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port: int = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
        outcome = await anyio.to_thread.run_sync(lambda: program.call(tmp_path, "serve", "--port", str(port)))

    assert outcome.returncode == 2
    assert outcome.stderr == (
        f"holdfast: gateway.port: cannot listen on 127.0.0.1:{port}: Address already in use; choose another\n"
    )
