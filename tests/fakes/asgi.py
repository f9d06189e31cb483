"""A client of an ASGI application in the same process, in virtual time: no server and no socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

__all__ = ["AsgiClient", "Exchange", "events_of"]

Message = MutableMapping[str, Any]


@dataclass
class Exchange:
    """One request and what came back so far; `left` is set when the client is to leave."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    complete: bool = False
    left: anyio.Event = field(default_factory=anyio.Event)

    @property
    def document(self) -> Any:  # noqa: ANN401 - any JSON
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class AsgiClient:
    """Asks `app`.

    Args:
        app: the application.
        headers: sent with every request.
    """

    def __init__(self, app: Callable[..., Any], headers: Mapping[str, str] | None = None) -> None:
        self._app = app
        self._headers = {"host": "localhost", **(headers or {})}

    async def get(self, path: str, **headers: str) -> Exchange:
        return await self.ask("GET", path, headers=headers)

    async def post(self, path: str, document: object, **headers: str) -> Exchange:
        return await self.ask("POST", path, [json.dumps(document).encode()], headers=_as_json(headers))

    async def ask(
        self,
        method: str,
        path: str,
        body: Sequence[bytes] = (),
        *,
        headers: Mapping[str, str] | None = None,
        pause_s: float = 0.0,
        exchange: Exchange | None = None,
        on_event: Callable[[bytes], Any] | None = None,
    ) -> Exchange:
        """Ask, and return the whole answer.

        Args:
            method: of HTTP.
            path: with its query.
            body: in the chunks in which it is sent.
            headers: besides those of the client.
            pause_s: before each chunk.
            exchange: where the answer goes, to be looked at, or left, meanwhile.
            on_event: awaited with each part of the answer, which is how a client is slow.
        """
        found = exchange or Exchange()
        chunks = list(body)

        async def receive() -> Message:
            if chunks or not sent:
                await anyio.sleep(pause_s)
                sent.append(True)
                chunk = chunks.pop(0) if chunks else b""
                return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}
            await found.left.wait()
            return {"type": "http.disconnect"}

        sent: list[bool] = []

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                found.status = message["status"]
                found.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
                return
            found.body += message.get("body", b"")
            found.complete = not message.get("more_body", False)
            if on_event is not None:
                await on_event(message.get("body", b""))

        await self._app(self._scope(method, path, headers or {}), receive, send)
        return found

    def _scope(self, method: str, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
        target, _, query = path.partition("?")
        given = {**self._headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": target,
            "raw_path": target.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }


def _as_json(headers: Mapping[str, str]) -> dict[str, str]:
    return {"content-type": "application/json", **headers}


def events_of(body: bytes) -> list[Any]:
    """Return the documents of a stream of server-sent events; the last one of a complete stream is ``[DONE]``."""
    lines = [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]
