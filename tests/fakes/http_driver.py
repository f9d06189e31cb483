"""The drivers of HTTP, each on the loops that it runs on."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from holdfast.adapters.inference.http.aiohttp_transport import AiohttpTransport
from holdfast.adapters.inference.http.httpx_transport import HttpxTransport
from holdfast.adapters.inference.http.provider import OpenTransport

__all__ = ["DRIVERS", "Driver"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    loop: str
    open_transport: OpenTransport


DRIVERS = [
    pytest.param(Driver(loop="asyncio", open_transport=AiohttpTransport), id="aiohttp-asyncio"),
    pytest.param(Driver(loop="asyncio", open_transport=HttpxTransport), id="httpx2-asyncio"),
    pytest.param(Driver(loop="trio", open_transport=HttpxTransport), id="httpx2-trio"),
]
