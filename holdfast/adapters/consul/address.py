"""Where an agent is, and by what it lets itself be asked.

Responsibility: check both as they are given.
Guarantees: no file is read for that, nobody is asked, and no token is repeated.
Not responsible for: whether anybody is there, and what the token allows: see `holdfast.adapters.consul.client`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from holdfast.ports.errors import ConfigurationError

__all__ = ["TOKEN_FORM", "Address", "check_agent", "is_token"]

TOKEN_FORM: Final = "must be one word of ASCII, which is not shown here"  # noqa: S105 - of a token, and none itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an agent is asked.

    Args:
        host: its name or address.
        port: of its HTTP interface.
        tls: how its certificate is checked; None for no TLS.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    @classmethod
    def parse(cls, url: str, tls: Callable[[], ssl.SSLContext | None]) -> Address:
        """Return what ``http://HOST[:PORT]`` or ``https://HOST[:PORT]`` names; the port is 8500 or 8501.

        Raises:
            ValueError: it is no such address.
        """
        parts = urlsplit(url)
        port = parts.port
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or parts.username is not None:
            raise ValueError(url)
        if parts.path not in {"", "/"} or parts.query or parts.fragment:
            raise ValueError(url)
        is_tls = parts.scheme == "https"
        return cls(
            host=parts.hostname,
            port=port if port is not None else 8501 if is_tls else 8500,
            tls=tls() if is_tls else None,
        )


def check_agent(address: str, *, token: str | None, reads_token: bool, ca_file: Path | None, section: str) -> None:
    """Refuse an agent that could not be asked.

    Args:
        address: ``http://HOST[:PORT]`` or ``https://HOST[:PORT]``.
        token: said with each call; None for none.
        reads_token: whether it is read from a file instead.
        ca_file: whom the agent's certificate has to be signed by; None for those that the system trusts.
        section: what the settings are called in errors.

    Raises:
        ConfigurationError: they cannot be used as given, or contradict each other.
    """
    if token is not None and reads_token:
        raise ConfigurationError(
            f"is given beside {section}.token; leave one of them out", path=f"{section}.token_file"
        )
    if token is not None and not is_token(token):
        raise ConfigurationError(TOKEN_FORM, path=f"{section}.token")
    if ca_file is not None and not address.startswith("https://"):
        raise ConfigurationError(
            f"checks no certificate where {section}.address begins with http://; leave it out or use https://",
            path=f"{section}.ca_file",
        )
    try:
        Address.parse(address, lambda: None)
    except ValueError:  # which may repeat a password
        raise ConfigurationError(
            "must be http://HOST:PORT or https://HOST:PORT, with no user, path or query", path=f"{section}.address"
        ) from None


def is_token(text: str) -> bool:
    """Return whether `text` can be said as a token."""
    return text.isascii() and text.isprintable() and " " not in text and text != ""
