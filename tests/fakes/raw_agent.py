"""A server that answers every connection with the bytes it is told, whatever it is asked."""

from __future__ import annotations

import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["RawAgent", "http_answer", "raw_agent"]


def http_answer(body: str | bytes, *, status: str = "200 OK", index: str | None = "1") -> bytes:
    """Return an answer as an agent would send it."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", "Connection: close"]
    lines += [f"X-Consul-Index: {index}"] if index is not None else []
    return "\r\n".join([*lines, "", ""]).encode() + content


class RawAgent(socketserver.ThreadingTCPServer):
    """Answers with `answer`, or keeps silent until the other side ends the connection.

    Attributes:
        answer: what it sends; None for nothing.
        silent_to: how requests begin that get no answer all the same, such as ``GET``; None for none of them.
        asked: the head of every request, in order.
        ended: set once the other side has ended a connection that was kept silent.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._tls = tls
        self.answer: bytes | None = None
        self.silent_to: str | None = None
        self.asked: list[str] = []
        self.ended = threading.Event()

    @property
    def address(self) -> str:
        """Where it is asked."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.server_address[1]}"

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as overridden
        """Speak TLS where that was asked for; who does not trust us goes away."""
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        with suppress(OSError), self._tls.wrap_socket(request, server_side=True) as spoken:
            super().finish_request(spoken, client_address)


class _Handler(socketserver.StreamRequestHandler):
    server: RawAgent

    def handle(self) -> None:
        head = b""
        while line := self.rfile.readline().strip():
            head += line + b"\n"
        asked, silent_to = head.decode(), self.server.silent_to
        self.server.asked.append(asked)
        if self.server.answer is not None and (silent_to is None or not asked.startswith(silent_to)):
            self.wfile.write(self.server.answer)
            return
        while self.rfile.read(1):
            pass
        self.server.ended.set()


@contextmanager
def raw_agent(answer: bytes | None = None, *, tls: ssl.SSLContext | None = None) -> Iterator[RawAgent]:
    """Run such a server for as long as the block lasts."""
    with RawAgent(tls) as server:
        server.answer = answer
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
