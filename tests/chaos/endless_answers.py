"""A gateway whose answers never end, for a test that measures what those hold who read them slowly.

Its arguments are how many readers there may be, and the address of the server that answers, if it is not to answer by
itself. It says its address, and then, for each line of its standard input, what it holds, as JSON. It runs until it is
killed.
"""

from __future__ import annotations

import gc
import json
import sys
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from holdfast import BreakerConfig, Completion, PoolConfig, Prompt, Settings, open_orchestrator
from holdfast.adapters.gateway import serve_gateway
from holdfast.adapters.inference.http import HttpBackend, HttpClient, HttpConfig, open_transport
from holdfast.adapters.inference.openai import OpenAIDialect
from holdfast.application.settings import GuardSettings
from holdfast.domain import StreamingConfig
from holdfast.ports.gateway import GatewayOptions
from holdfast.ports.inference import Deliver

_LONG_S: Final = 300.0


class Endless:
    """Streams far more than anybody reads, as fast as it may."""

    async def complete(self, prompt: Prompt) -> Completion:
        raise AssertionError("it is streamed")

    async def stream(self, prompt: Prompt, deliver: Deliver) -> Completion:
        while True:
            await deliver("0123456789" * 10)


def answering_server(base_url: str) -> HttpBackend:
    """Return a backend that asks a server."""
    config = HttpConfig(connect_timeout_s=_LONG_S, first_byte_timeout_s=_LONG_S, idle_timeout_s=_LONG_S)
    return HttpBackend(HttpClient("server", open_transport(base_url, config), config=config), OpenAIDialect())


def resident_kib() -> int:
    """Return how much of the machine's memory this process takes."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


async def main(readers: int, base_url: str | None = None) -> None:
    """Serve, and tell."""
    backend = Endless() if base_url is None else answering_server(base_url)
    # However busy the machine is, time ends nothing: all of them come at once, and stay.
    settings = Settings(
        streaming=StreamingConfig(stall_timeout_s=_LONG_S),
        timeout_s=_LONG_S,
        max_in_flight=readers,
        guard=GuardSettings(
            attempt_timeout_s=_LONG_S,
            stream_idle_timeout_s=_LONG_S,
            breaker=BreakerConfig(probe_timeout_s=2 * _LONG_S),
            pool=PoolConfig(max_size=readers, max_waiters=readers, acquire_timeout_s=_LONG_S),
        ),
    )
    options = GatewayOptions(port=0, header_timeout_s=_LONG_S, body_timeout_s=_LONG_S, write_timeout_s=_LONG_S)
    listening = partial(print, flush=True)
    async with (
        open_orchestrator(settings, backends={"endless": backend}) as service,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(partial(serve_gateway, service, options, stop=anyio.Event(), on_listening=listening))
        while await anyio.to_thread.run_sync(sys.stdin.readline):
            streams = service.health().streams
            told = {"reading": streams.reading, "called": streams.called, "text_bytes": streams.log_bytes}
            print(json.dumps({**told, "resident_kib": resident_kib()}), flush=True)


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
