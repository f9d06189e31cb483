"""Who a client is, by its API key.

Responsibility: turn the key in a request into the tenant that it belongs to.
Guarantees: a key is compared by its digest with every known one, in constant time, and appears in no answer and no log;
    without keys only a client that asked for this machine by a name of this machine is let in, so that no web page can
    ask in its visitor's name by a name of its own.
Not responsible for: what a tenant may do: the limits of the service are by tenant.
Source: RFC 6750 (Bearer), RFC 7617 (Basic, for browsers); OWASP, "DNS rebinding".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from fastapi import Request as HttpRequest

from holdfast.adapters.gateway.body_reading import RefusedRequestError
from holdfast.adapters.gateway.refusals import Refusal
from holdfast.ports.gateway import ApiKey, is_loopback

__all__ = ["ApiKeyGate", "anyone"]

_TENANT: Final = "default"


async def anyone() -> str:  # FastAPI would run what is not async in a thread
    """Return the tenant of everybody, for applications that let in whom they want by themselves."""
    return _TENANT


class ApiKeyGate:
    """Lets those in who have a key, or everyone on this machine if there are no keys. A dependency for FastAPI.

    Args:
        keys: all that are valid.
    """

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = tuple(keys)

    async def __call__(self, http: HttpRequest) -> str:
        """Return the tenant.

        Raises:
            RefusedRequestError: 401 without a valid key; 403 if a name that is not this machine's was asked for.
        """
        if not self._keys:
            _require_own_name(http.headers.get("host", ""))
            return _TENANT
        digest = hashlib.sha256(_presented(http.headers.get("authorization", "")).encode()).digest()
        tenants = [key.tenant for key in self._keys if hmac.compare_digest(key.sha256, digest)]
        if not tenants:
            raise RefusedRequestError(_UNKNOWN)
        return tenants[0]


_UNKNOWN: Final = Refusal(
    status=401,
    kind="authentication_error",
    code="invalid_api_key",
    message="no valid API key; send one as Authorization: Bearer",
    challenge='Basic realm="holdfast", charset="UTF-8", Bearer',  # a browser asks for a password: the key
)


def _presented(authorization: str) -> str:
    scheme, _, credentials = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return credentials.strip()
        case "basic":
            return _password(credentials.strip())
        case _:
            return ""


def _password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _require_own_name(host: str) -> None:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    if not is_loopback(name.strip("[]")):
        message = "without API keys this machine answers to localhost only; set gateway.api_keys to be asked by name"
        raise RefusedRequestError(Refusal(status=403, kind="permission_error", code="host", message=message))
