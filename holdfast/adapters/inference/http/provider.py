"""The client of one server, for as long as a pool keeps a resource of it.

Responsibility: `ResourceProvider` of backends that share one client, and with it the connections that are kept.
Guarantees: there is a client from the first resource that a pool makes to the last one that it closes, and none before
    and after; the driver is the fastest one that is installed and runs on this loop, and loaded before the first call.
Not responsible for: how many calls there are at once: the pool bounds them, and with them the connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import Final

import anyio

from holdfast.adapters.inference.http.backend import HttpBackend
from holdfast.adapters.inference.http.client import HttpClient
from holdfast.adapters.inference.http.config import HttpConfig
from holdfast.adapters.inference.http.dialect import Dialect
from holdfast.adapters.inference.http.transport import Transport
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.resource import ResourceProvider

__all__ = ["HttpBackendProvider", "OpenTransport", "open_transport"]

OpenTransport = Callable[[str, HttpConfig], Transport]
"""Makes the connections to the server at an address."""

_ON_ASYNCIO: Final = "aiohttp"
_ANYWHERE: Final = "httpx2"
_DEFAULTS: Final = HttpConfig()


def open_transport(base_url: str, config: HttpConfig) -> Transport:
    """Return connections by the fastest driver that is installed and runs on this loop.

    Raises:
        ConfigurationError: there is none.
    """
    return _fastest("kind")(base_url, config)


def _fastest(path: str) -> OpenTransport:
    if _is_asyncio() and _is_installed(_ON_ASYNCIO):
        from holdfast.adapters.inference.http.aiohttp_transport import AiohttpTransport  # noqa: PLC0415 - if installed

        return AiohttpTransport
    if _is_installed(_ANYWHERE):
        from holdfast.adapters.inference.http.httpx_transport import HttpxTransport  # noqa: PLC0415 - if installed

        return HttpxTransport
    raise ConfigurationError(
        f"{_ON_ASYNCIO} does not run on this event loop, and {_ANYWHERE} is not installed: "
        "pip install 'holdfast[openai]'",
        path=path,
    )


class HttpBackendProvider:
    """Makes backends for one server, all of which share one client.

    Args:
        name: of the backend; errors carry it.
        base_url: of the server, checked.
        dialect: how it is asked.
        api_key: proves who asks; None sends none. Never printed.
        config: what one exchange may take.
        always_streams: see `HttpBackend`.
        open_transport: makes the connections.

    Raises:
        ConfigurationError: no driver is installed, or none that runs on this loop.
    """

    def __init__(  # noqa: PLR0913 - one for each part
        self,
        name: str,
        base_url: str,
        dialect: Dialect,
        *,
        api_key: str | None = None,
        config: HttpConfig = _DEFAULTS,
        always_streams: bool = True,
        open_transport: OpenTransport = open_transport,
    ) -> None:
        if not _is_installed(_ON_ASYNCIO) and not _is_installed(_ANYWHERE):
            raise ConfigurationError(
                f"needs {_ON_ASYNCIO} or {_ANYWHERE}: pip install 'holdfast[openai]'", path=f"backends.{name}.kind"
            )
        # Loading a driver takes tenths of a second: now, since the first call would hold up all others for so long.
        with suppress(anyio.NoEventLoopError):  # what is made outside of a loop learns only there which one it takes
            _fastest(f"backends.{name}.kind")
        self._name = name
        self._base_url = base_url
        self._dialect = dialect
        self._api_key = api_key
        self._config = config
        self._always_streams = always_streams
        self._open_transport = open_transport
        self._client: HttpClient | None = None
        self._kept = 0

    @property
    def resettable(self) -> bool:
        """Return True: a call that was cancelled has closed its connection, and left nothing else behind."""
        return True

    async def create(self) -> InferenceBackend:
        """Return a backend on the client that all of them share, which the first one opens.

        Raises:
            ConfigurationError: no driver that is installed runs on this loop.
        """
        if self._client is None:
            transport = self._open_transport(self._base_url, self._config)
            self._client = HttpClient(self._name, transport, config=self._config)
        self._kept += 1
        return HttpBackend(self._client, self._dialect, api_key=self._api_key, always_streams=self._always_streams)

    async def validate(self, resource: InferenceBackend) -> bool:  # noqa: ARG002 - as the port has it
        """Return True: whether a kept connection is still good shows when it is used."""
        return True

    async def reset(self, resource: InferenceBackend) -> None:
        """Do nothing: a call leaves nothing behind."""

    async def close(self, resource: InferenceBackend) -> None:  # noqa: ARG002 - as above
        """Close the client with the last resource."""
        self._kept -= 1
        if self._kept == 0 and self._client is not None:
            client, self._client = self._client, None
            await client.aclose()


def _is_asyncio() -> bool:
    return anyio.get_cancelled_exc_class() is asyncio.CancelledError


def _is_installed(driver: str) -> bool:
    return find_spec(driver) is not None


_: type[ResourceProvider[InferenceBackend]] = HttpBackendProvider
