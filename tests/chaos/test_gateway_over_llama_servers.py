"""The official client against ``holdfast serve`` over three real llama-servers, one of which is killed."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread
import openai
import pytest

from tests import program
from tests.fakes.gateway import eventually
from tests.fakes.llama_server import LlamaServer, StartLlama
from tests.fakes.openai_client import openai_client
from tests.fakes.raw_http import connected, request_bytes

pytestmark = [pytest.mark.anyio, pytest.mark.real_time, pytest.mark.slow, pytest.mark.timeout(240)]

REQUESTS = 500
CLIENTS = 24
KILLED_AFTER = 150
PATIENCE_S = 200.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # what the official client runs on is the same for the server


@asynccontextmanager
async def gateway_over(folder: Path, servers: list[LlamaServer]) -> AsyncGenerator[str]:
    backends = "".join(
        f'[backends.llama-{number}]\nkind = "openai"\nbase_url = "{server.url}"\n'
        for number, server in enumerate(servers)
    )
    guard = "[guard]\nattempt_timeout_s = 50\nstream_idle_timeout_s = 30\n"
    routing = '[routing]\nstrategy = "weighted"\n'
    (folder / "holdfast.toml").write_text(f"timeout_s = 120\n{guard}{routing}{backends}")
    process = program.start(folder, "serve", "--port", "0")
    assert process.stderr is not None
    try:
        announced = await anyio.to_thread.run_sync(process.stderr.readline)
        found = re.search(r"http://\S+", announced)
        assert found is not None, announced
        yield found[0]
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: process.poll() is not None)
        assert process.returncode == 0
    finally:
        process.kill()
        await anyio.to_thread.run_sync(process.communicate)


@dataclass
class Tally:
    """What the clients met."""

    answered: int = 0
    errors: list[str] = field(default_factory=list[str])
    cut: list[str] = field(default_factory=list[str])


async def ask(client: openai.AsyncOpenAI, number: int, tally: Tally) -> None:
    """Ask question `number`, every other one as a stream, and note how that ended."""
    text = ""
    try:
        if number % 2:
            whole = await client.chat.completions.create(
                model="holdfast", messages=[{"role": "user", "content": f"question {number}"}], max_tokens=12
            )
            text = whole.choices[0].message.content or ""
        else:
            stream = await client.chat.completions.create(
                model="holdfast",
                messages=[{"role": "user", "content": f"question {number}"}],
                max_tokens=12,
                stream=True,
            )
            async for chunk in stream:
                text += chunk.choices[0].delta.content or "" if chunk.choices else ""
    except openai.APIError as error:
        if number % 2 == 0 and text and "was cut after" in str(error):
            tally.cut.append(str(error))
        else:
            tally.errors.append(f"{number}: {error!r}")
        return
    tally.answered += 1


async def test_no_client_meets_an_error_when_one_server_of_three_is_killed_but_streams_that_had_begun_there(
    start_llama: StartLlama, tmp_path: Path
) -> None:
    servers = [await anyio.to_thread.run_sync(start_llama) for _ in range(3)]
    tally = Tally()
    numbers = iter(range(REQUESTS))
    with anyio.fail_after(PATIENCE_S):
        async with gateway_over(tmp_path, servers) as address, openai_client(address, timeout_s=120.0) as client:

            async def work() -> None:
                for number in numbers:
                    await ask(client, number, tally)

            async with anyio.create_task_group() as tasks:
                for _ in range(CLIENTS):
                    tasks.start_soon(work)
                await eventually(lambda: tally.answered >= KILLED_AFTER)
                await anyio.to_thread.run_sync(servers[0].kill)

            async with connected(int(address.rpartition(":")[2])) as raw:
                await raw.send([request_bytes(method="GET", path="/metrics")])
                metrics = (await raw.answer()).body.decode()

    assert tally.errors == []
    assert tally.answered + len(tally.cut) == REQUESTS
    assert all("llama-0" in cut for cut in tally.cut)
    assert len(tally.cut) <= CLIENTS
    failed = re.search(r'breaker_calls_total\{backend="llama-0",ending="failed"\} (\d+)', metrics)
    assert failed is not None
    assert int(failed[1]) > 0
