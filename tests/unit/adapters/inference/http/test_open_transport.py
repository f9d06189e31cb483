"""Which driver is taken."""

from __future__ import annotations

import sys

import pytest

from holdfast.adapters.inference.http import HttpConfig, open_transport
from holdfast.ports.errors import ConfigurationError

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


@pytest.mark.parametrize(
    ("missing", "on_asyncio", "on_trio"),
    [
        (None, "AiohttpTransport", "HttpxTransport"),
        ("aiohttp", "HttpxTransport", "HttpxTransport"),
        ("httpx2", "AiohttpTransport", None),
    ],
)
async def test_driver_is_the_fastest_that_is_installed_and_runs_on_the_loop(
    missing: str | None,
    on_asyncio: str,
    on_trio: str | None,
    anyio_backend_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if missing is not None:
        monkeypatch.setitem(sys.modules, missing, None)
    expected = on_asyncio if anyio_backend_name == "asyncio" else on_trio
    if expected is None:
        with pytest.raises(ConfigurationError, match=r"aiohttp does not run on this event loop.*holdfast\[openai\]"):
            open_transport("http://127.0.0.1:1", HttpConfig())
        return

    transport = open_transport("http://127.0.0.1:1", HttpConfig())

    assert type(transport).__name__ == expected
    await transport.aclose()
