"""How the gateway is to be served.

Responsibility: what a server of the gateway has to know, and what it is for whoever starts one.
Guarantees: every value is frozen; a key is kept as its digest only, so that nothing can print it.
Not responsible for: what the gateway offers: see `holdfast.adapters.gateway`; where these values come from: see
    ``gateway`` in the settings.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from holdfast.ports.batch import StopSignal
from holdfast.ports.service import Service

__all__ = ["ApiKey", "GatewayOptions", "GatewayServer", "is_loopback"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What lets a client in.

    Args:
        tenant: who comes with it.
        sha256: of the key as UTF-8. A key is long and random, so that nothing slower is called for.
    """

    tenant: str
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """How the gateway is served.

    Args:
        host: the address or name that it listens on.
        port: the TCP port; 0 for any that is free.
        keys: who is let in; none lets everyone in, which is for a loopback address only.
        personas: names that clients may choose as a model.
        max_body_bytes: the largest request body that is read.
        max_body_values: how many values of JSON it may have, lists and objects counted as well as what is in them.
        max_connections: connections at once; one more is told to come back.
        header_timeout_s: seconds from the first byte of a request until its headers are complete.
        body_timeout_s: seconds for the body.
        write_timeout_s: seconds for which a client may take nothing of what waits for it.
        keep_alive_s: seconds for which a connection stays open without a request.
        drain_timeout_s: seconds for running requests once it is to stop.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: tuple[ApiKey, ...] = ()
    personas: tuple[str, ...] = ()
    max_body_bytes: int = 4 * 1024 * 1024
    max_body_values: int = 32 * 1024
    max_connections: int = 2048
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    write_timeout_s: float = 30.0
    keep_alive_s: float = 5.0
    drain_timeout_s: float = 25.0


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class GatewayServer(Protocol):
    """Serves the gateway.

    Cancellation: every connection is closed. Errors: `ConfigurationError`, if it cannot listen there.
    """

    async def __call__(
        self, service: Service, options: GatewayOptions, *, stop: StopSignal, on_listening: Callable[[str], None]
    ) -> None:
        """Serve `service` until `stop` is set; then drain it, let what runs be delivered, and return.

        Args:
            service: what answers.
            options: how it is served.
            stop: asks for the end.
            on_listening: told the address, once connections are taken.
        """
        ...
