"""Reading the body of a request.

Responsibility: take the bytes of one JSON body, as many as are allowed, as long as is allowed.
Guarantees: never more than `max_bytes` and one chunk of the server's are held; what is announced as larger, compressed,
    or anything but JSON is refused unread.
Not responsible for: headers that do not end: see `holdfast.adapters.gateway.guarded_protocol`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import anyio
from fastapi import Request as HttpRequest

from holdfast.adapters.gateway.json_text import parse_json
from holdfast.adapters.gateway.refusals import Refusal, bad_request

__all__ = ["BodyBounds", "ClientGoneError", "RefusedRequestError", "read_json"]

_JSON: Final = re.compile(r"application/json\s*(;\s*charset\s*=\s*\"?utf-?8\"?\s*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyBounds:
    """How much is read of a body, and for how long.

    Args:
        max_bytes: the largest body.
        max_values: how many values it may have.
        timeout_s: seconds for all of it.
    """

    max_bytes: int
    max_values: int
    timeout_s: float


class RefusedRequestError(Exception):
    """The request is refused by the gateway itself.

    Attributes:
        refusal: what the client is told.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class ClientGoneError(Exception):
    """The client left before its request was complete; nobody is there to be told anything."""


async def read_json(http: HttpRequest, bounds: BodyBounds) -> object:
    """Return the document in the body.

    Raises:
        RefusedRequestError: it is not JSON, not said to be, compressed, too large, of too many values, or too slow.
        ClientGoneError: the client left.
    """
    _check_announced(http, bounds)
    body: bytes | None = None
    with anyio.move_on_after(bounds.timeout_s):
        body = await _read(http, bounds)
    if body is None:
        message = f"the body took more than {bounds.timeout_s:g} s; send it faster"
        raise RefusedRequestError(bad_request(message, status=408, code="slow_body"))
    try:
        return parse_json(body, max_values=bounds.max_values)
    except ValueError as error:
        raise RefusedRequestError(bad_request(f"the body is not JSON that is taken: {error}", code="json")) from None


def _check_announced(http: HttpRequest, bounds: BodyBounds) -> None:
    encoding = http.headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in {"", "identity"}:
        message = "compressed bodies are not taken; send it as it is"
        raise RefusedRequestError(bad_request(message, status=415, param="content-encoding", code="encoding"))
    if not _JSON.fullmatch(http.headers.get("content-type", "").strip()):
        message = "the body must be application/json, in UTF-8"
        raise RefusedRequestError(bad_request(message, status=415, param="content-type", code="media_type"))
    announced = http.headers.get("content-length", "0")  # digits only: the server has checked it
    if announced.isdecimal() and int(announced[:20]) > bounds.max_bytes:
        raise _too_large(bounds)


async def _read(http: HttpRequest, bounds: BodyBounds) -> bytes:
    body = bytearray()
    while True:
        message = await http.receive()
        if message["type"] != "http.request":
            raise ClientGoneError
        body += message.get("body", b"")
        if len(body) > bounds.max_bytes:
            raise _too_large(bounds)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(bounds: BodyBounds) -> RefusedRequestError:
    message = f"the body is larger than the {bounds.max_bytes} bytes that are taken; send less"
    return RefusedRequestError(bad_request(message, status=413, code="too_large"))
