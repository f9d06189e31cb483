"""Which driver is taken, and when it is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from holdfast.adapters.inference.http import HttpBackendProvider, HttpConfig, open_transport
from holdfast.adapters.inference.openai import OpenAIDialect
from holdfast.ports.errors import ConfigurationError

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


ADDRESS = "http://127.0.0.1:1/v1"
MADE = """
import sys
import anyio
from holdfast.adapters.inference.http import HttpBackendProvider
from holdfast.adapters.inference.openai import OpenAIDialect

async def make():
    HttpBackendProvider("b", "http://127.0.0.1:1/v1", OpenAIDialect())
    print(*({"aiohttp", "httpx2"} & set(sys.modules)))

anyio.run(make, backend=sys.argv[1])
"""


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


@pytest.mark.slow
@pytest.mark.parametrize(("loop", "driver"), [("asyncio", "aiohttp"), ("trio", "httpx2")])
def test_driver_is_loaded_alone_and_before_the_first_call(loop: str, driver: str) -> None:
    made = subprocess.run([sys.executable, "-c", MADE, loop], check=True, capture_output=True, text=True)

    assert made.stdout.split() == [driver]


async def test_provider_without_a_driver_for_the_loop_is_refused_before_the_first_call(
    anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    if anyio_backend_name == "asyncio":
        HttpBackendProvider("b", ADDRESS, OpenAIDialect())
        return

    with pytest.raises(ConfigurationError, match=r"^backends\.b\.kind: aiohttp does not run on this event loop"):
        HttpBackendProvider("b", ADDRESS, OpenAIDialect())


async def test_provider_where_no_driver_is_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in ("aiohttp", "httpx2"):
        monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(
        ConfigurationError, match=r"needs aiohttp or httpx2: pip install 'holdfast\[openai\]'"
    ) as caught:
        HttpBackendProvider("b", ADDRESS, OpenAIDialect())

    assert caught.value.path == "backends.b.kind"
