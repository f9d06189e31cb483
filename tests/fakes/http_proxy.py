"""An HTTP proxy in front of a real server, which counts what is asked and may answer otherwise."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

__all__ = ["HttpProxy", "running_proxy"]

_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "date", "server"}


class HttpProxy:
    """What is done to the answers; may be changed while it runs.

    Args:
        upstream: Port of the real server, on this machine.

    Attributes:
        index: Makes the ``X-Consul-Index`` that is sent of the one that came; None leaves it out.
        failure: Answered in place of everything: a status and a body.
        asked: When each request came, and its path with its query.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.index: Callable[[str], str | None] = lambda index: index
        self.failure: tuple[int, str] | None = None
        self.asked: list[tuple[float, str]] = []
        self.port = 0

    @property
    def address(self) -> str:
        """Where it is asked: ``http://127.0.0.1:PORT``."""
        return f"http://127.0.0.1:{self.port}"

    def asked_for(self, path: str) -> list[float]:
        """Return when each request for that path came."""
        return [at_s for at_s, asked in self.asked if asked.split("?")[0] == path]

    def answer(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> _Answer:
        """Return what the server says, or what is to be said instead."""
        self.asked.append((time.monotonic(), path))
        if self.failure is not None:
            return self.failure[0], {}, self.failure[1].encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
        except OSError as error:
            return 502, {}, str(error).encode()
        finally:
            connection.close()
        sent = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
        if "X-Consul-Index" in sent:
            index = self.index(sent.pop("X-Consul-Index"))
            sent |= {} if index is None else {"X-Consul-Index": index}
        return answer.status, sent, content


_Answer = tuple[int, dict[str, str], bytes]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a blocking query may go on for long after its asker has left

    def __init__(self, proxy: HttpProxy) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._pass_on("GET")

            def do_PUT(self) -> None:
                self._pass_on("PUT")

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - as overridden
                pass

            def _pass_on(self, method: str) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length) if length else None
                headers = {name: value for name, value in self.headers.items() if name.lower() == "x-consul-token"}
                status, sent, content = proxy.answer(method, self.path, body, headers)
                self.send_response(status)
                for name, value in sent.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: whoever asked has left."""


@contextmanager
def running_proxy(upstream: int) -> Iterator[HttpProxy]:
    """Run a proxy in front of that port for the length of a ``with`` block."""
    proxy = HttpProxy(upstream)
    server = _Server(proxy)
    proxy.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
