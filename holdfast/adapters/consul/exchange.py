"""HTTP requests to an agent, one after another, for the driver to make in a worker thread.

Responsibility: stand in the place of the driver's own HTTP client: connect, say the token, keep to the timeouts and to
    the largest answer, and end at once when told to from another thread.
Guarantees: no thread waits on beyond `abort`, so that a blocking query holds up no process that ends; no connection is
    kept, so that an agent that was restarted is met by a new one; no redirect is followed, so that the token goes
    nowhere else; nothing is read from the environment.
Not responsible for: what is asked, and what a refusal means: see `holdfast.adapters.consul.client`.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

from holdfast.adapters.consul.address import Address

__all__ = ["Answered", "Exchange", "Response"]

T = TypeVar("T")

_INDEX: Final = "X-Consul-Index"


class Answered(Exception):  # noqa: N818 - no failure of its own: what the agent said, for the client to judge
    """The agent answered with a status that is no success, and none that the driver knows what to do with.

    Attributes:
        status: of HTTP.
        said: the body, shortened.
    """

    def __init__(self, status: int, said: str) -> None:
        super().__init__(status, said)
        self.status = status
        self.said = said


class Response(NamedTuple):
    """What the driver's callbacks read."""

    code: int
    headers: Mapping[str, str]
    body: str


class Exchange:
    """The `http` of a driver, for one call of ours, whose requests follow each other.

    Args:
        address: of the agent.
        token: returns what is said with the request, whatever the driver would say; None for nothing.
        connect_timeout_s: seconds to connect.
        read_timeout_s: seconds without a byte of the answer.
        max_answer_bytes: the largest answer read.
    """

    def __init__(
        self,
        address: Address,
        *,
        token: Callable[[], str | None],
        connect_timeout_s: float,
        read_timeout_s: float,
        max_answer_bytes: int,
    ) -> None:
        self._address = address
        self._token = token
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._max_answer_bytes = max_answer_bytes
        self._connection: http.client.HTTPConnection | None = None
        self._is_aborted = False

    def abort(self) -> None:
        """End the request under way, and let no other begin; from any thread, and also once all is over."""
        self._is_aborted = True
        connection = self._connection
        sock = None if connection is None else connection.sock
        if sock is not None:
            with suppress(OSError):  # it is closed already, or not yet connected
                sock.shutdown(socket.SHUT_RDWR)

    # Called by the driver; py-consul's headers say nothing but the token, of which it knows less.

    def get(
        self,
        callback: Callable[[Response], T],
        path: str,
        params: Iterable[tuple[str, object]] | None = None,
        headers: object = None,  # noqa: ARG002 - see above
    ) -> T:
        """Send a GET and return what the driver makes of the answer."""
        return callback(self._request("GET", path, params, None))

    def put(
        self,
        callback: Callable[[Response], T],
        path: str,
        params: Iterable[tuple[str, object]] | None = None,
        data: str | bytes = "",
        headers: object = None,  # noqa: ARG002 - see above
    ) -> T:
        """Send a PUT and return what the driver makes of the answer."""
        return callback(self._request("PUT", path, params, data.encode() if isinstance(data, str) else data))

    def _request(
        self, method: str, path: str, params: Iterable[tuple[str, object]] | None, body: bytes | None
    ) -> Response:
        token = self._token()
        headers = {} if token is None else {"X-Consul-Token": token}
        connection = self._connection = self._unconnected()
        try:
            connection.connect()
            if self._is_aborted:
                raise ConnectionAbortedError("given up while connecting")
            connection.sock.settimeout(self._read_timeout_s)
            connection.request(method, _target(path, params), body=body, headers=headers)
            answer = connection.getresponse()
            content = answer.read(self._max_answer_bytes + 1)
            if len(content) > self._max_answer_bytes:
                raise Answered(413, f"an answer of more than {self._max_answer_bytes} bytes")
            text = content.decode("utf-8", errors="replace")
            if answer.status not in {200, 404}:
                raise Answered(answer.status, " ".join(text[:300].split()))
            # The drivers disagree on what a missing index is, so that it never is.
            return Response(answer.status, {_INDEX: answer.headers.get(_INDEX) or ""}, text)
        finally:
            connection.close()

    def _unconnected(self) -> http.client.HTTPConnection:
        address, timeout_s = self._address, self._connect_timeout_s
        if address.tls is None:
            return http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)
        return http.client.HTTPSConnection(address.host, address.port, timeout=timeout_s, context=address.tls)


def _target(path: str, params: Iterable[tuple[str, object]] | None) -> str:
    query = urlencode(list(params or ()))
    return quote(path, safe="/:") + (f"?{query}" if query else "")
