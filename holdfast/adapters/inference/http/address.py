"""Addresses of servers.

Responsibility: check where a server is said to be.
Guarantees: what passes can have paths appended to it; it names a scheme and a host, and holds no secret. What does not
    pass is repeated in no error: a password may stand anywhere in it.
Not responsible for: whether anybody is there.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from holdfast.ports.errors import ConfigurationError

__all__ = ["checked_address"]

_FORM: Final = "must be like http://127.0.0.1:8080/v1, in ASCII"


def checked_address(base_url: str, *, path: str) -> str:
    """Return `base_url` without a slash at its end.

    Raises:
        ConfigurationError: it is no address of HTTP, or has a name and a password, a query or a fragment.

    Example:
        >>> checked_address("http://127.0.0.1:8080/v1/", path="backends.local.base_url")
        'http://127.0.0.1:8080/v1'
    """
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:  # which may repeat a password
        raise ConfigurationError(_FORM, path=path) from None
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            "must hold no name and no password; give a key with api_key or api_key_file", path=path
        )
    is_plain = base_url.isascii() and base_url.isprintable() and " " not in base_url
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or not is_plain:
        raise ConfigurationError(_FORM, path=path)
    if parts.query or parts.fragment:
        raise ConfigurationError("must have no query and no fragment", path=path)
    return base_url.rstrip("/")
