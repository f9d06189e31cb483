"""What carries one request to a server and its answer back.

Responsibility: the seam between the drivers and everything that is decided about their answers.
Guarantees: an implementation raises nothing but the errors below; it follows no redirect, keeps no cookie, reads no
    environment and decompresses nothing; an answer whose body was not read to its end costs its connection, never more.
Not responsible for: time limits other than that of connecting, what a status means, and how much is read: see
    `holdfast.adapters.inference.http.client`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = [
    "BrokenConnectionError",
    "Incoming",
    "MalformedAnswerError",
    "SlowConnectError",
    "Transport",
    "TransportError",
    "UnreachableError",
]


class TransportError(Exception):
    """No answer, or not all of one; the message repeats nothing that the server sent."""


class SlowConnectError(TransportError):
    """Connecting took longer than it may."""


class UnreachableError(TransportError):
    """There is no connection to be had."""


class BrokenConnectionError(TransportError):
    """The connection ended too early.

    Attributes:
        is_stale: whether it had been kept from an earlier answer and brought nothing of this one, as when the server
            closes it in the very moment in which it is used again.
    """

    def __init__(self, message: str, *, is_stale: bool = False) -> None:
        super().__init__(message)
        self.is_stale = is_stale


class MalformedAnswerError(TransportError):
    """What came is no HTTP."""


class Incoming(Protocol):
    """An answer whose head has come.

    Ordering: `read` gives the body in order, and does not read ahead by more than a buffer. Cancellation: `aclose` is
    to be called nonetheless. For one caller at a time.
    """

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def has_ended(self) -> bool:
        """Whether all of the body was read, as far as that is known without waiting."""
        ...

    def header(self, name: str) -> str | None:
        """Return the first header of that name, whatever its case."""
        ...

    def read_nowait(self) -> bytes:
        """Return the next part of the body if it has come already, as far as that is known; otherwise nothing.

        Raises:
            TransportError: as `read`.
        """
        ...

    async def read(self) -> bytes:
        """Return the next part of the body as it was sent; nothing at its end.

        Raises:
            BrokenConnectionError: it was cut.
            MalformedAnswerError: it is not in the form that its head says.
        """
        ...

    async def aclose(self) -> None:
        """Keep the connection if the body was read to its end, otherwise close it at once; never raises."""
        ...


class Transport(Protocol):
    """Connections to one server, for any number of calls at once.

    Cancellation: a call that is cancelled closes its connection, so that the server notices. Errors: `TransportError`.
    """

    async def post(self, path: str, *, headers: Mapping[str, str], body: bytes, fresh: bool) -> Incoming:
        """Send a request and return the answer as soon as its head has come.

        Args:
            path: appended to the address of the server.
            headers: to be sent; of visible ASCII characters.
            body: to be sent.
            fresh: on a connection that is opened for it.

        Raises:
            SlowConnectError: connecting took too long.
            UnreachableError: no connection could be opened.
            BrokenConnectionError: it broke before the answer's head had come.
            MalformedAnswerError: the head is no HTTP.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection; never raises."""
        ...
