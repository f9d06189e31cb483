"""The gateway over the wired path, without a server, and with one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio

from holdfast.adapters.gateway import build_gateway, serve_gateway
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import Settings
from holdfast.ports.gateway import GatewayOptions
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.service import Service
from tests.fakes.asgi import AsgiClient
from tests.fakes.service import opened

__all__ = ["CHAT", "SESSIONS", "Gateway", "Served", "eventually", "opened_gateway", "question", "served"]

CHAT = "/v1/chat/completions"
SESSIONS = "/v1/sessions"


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds; a test that calls this bounds its own time."""
    while not condition():  # noqa: ASYNC110 - what it waits for is in another process, or tells nobody
        await anyio.sleep(0.01)


def question(text: str = "what is the answer?", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any field of a body
    return {"model": "holdfast", "messages": [{"role": "user", "content": text}], **more}


@dataclass(frozen=True)
class Gateway:
    """A gateway in this process, its client, and the service behind it."""

    client: AsgiClient
    service: Orchestrator


@asynccontextmanager
async def opened_gateway(
    backends: Mapping[str, InferenceBackend],
    settings: Settings | None = None,
    *,
    options: GatewayOptions | None = None,
    **parts: Any,  # noqa: ANN401 - those of `opened`
) -> AsyncGenerator[Gateway]:
    async with opened(backends, settings, **parts) as service:
        yield Gateway(AsgiClient(build_gateway(service, options)), service)


@dataclass(frozen=True)
class Served:
    """A gateway that listens on a port of its own; `stop` ends it."""

    address: str
    stop: anyio.Event
    ended: anyio.Event

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


@asynccontextmanager
async def served(service: Service, options: GatewayOptions | None = None) -> AsyncGenerator[Served]:
    """Serve `service` for the length of an ``async with`` block."""
    addresses: list[str] = []
    listening, stop, ended = anyio.Event(), anyio.Event(), anyio.Event()

    def heard(address: str) -> None:
        addresses.append(address)
        listening.set()

    async def serve() -> None:
        await serve_gateway(service, replace(options or GatewayOptions(), port=0), stop=stop, on_listening=heard)
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        await listening.wait()
        yield Served(addresses[0], stop, ended)
        stop.set()
