"""An answer that is sent while it comes.

Responsibility: one streamed answer as server-sent events, from the request to the last byte.
Guarantees: what fails before the first piece is answered with its status; what fails later ends the stream with an
    error event and without ``[DONE]``, so that no client takes it for complete; a client that leaves ends its request;
    nothing is taken from the service while the client is too far behind.
Not responsible for: clients that read nothing at all: see `holdfast.adapters.gateway.guarded_protocol`.
Source: WHATWG, HTML, "Server-sent events".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastapi import Response

from holdfast.adapters.gateway.answers import Answer, as_event
from holdfast.adapters.gateway.client_presence import Message, Receive, Scope, Send, while_connected
from holdfast.adapters.gateway.refusals import Refusal, refusal_of
from holdfast.ports.errors import HoldfastError
from holdfast.ports.service import Request, Service

__all__ = ["StreamedAnswer"]

_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx would collect the events
}


class StreamedAnswer(Response):
    """Answers one request while its answer comes.

    It asks the service only when it is sent, in the task that sends it: a deadline or a client that leaves then ends
    both together.

    Args:
        service: what answers.
        request: what is asked.
        answer: how it is written.
        request_id: what the request is called.
        with_usage: whether an event with the tokens used comes before the end.
    """

    def __init__(
        self, service: Service, request: Request, answer: Answer, *, request_id: str, with_usage: bool
    ) -> None:
        super().__init__()
        self._service = service
        self._request = request
        self._answer = answer
        self._request_id = request_id
        self._with_usage = with_usage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as an application of ASGI."""
        sending = _Sending(send, {"x-request-id": self._request_id})

        async def work() -> None:
            refusal = await self._send_pieces(sending)
            if refusal is None:
                await sending.end()
            elif sending.has_begun:
                await sending.event(as_event(refusal.document))
                await sending.end()
            else:
                await sending.refuse(refusal)

        await while_connected(scope, receive, work)

    async def _send_pieces(self, sending: _Sending) -> Refusal | None:
        answer = self._answer
        try:
            async with self._service.stream(self._request) as stream:
                async for piece in stream:
                    if not sending.has_begun:
                        await sending.event(answer.opening())
                    for event in answer.piece(piece):
                        await sending.event(event)
                reply = await stream.reply()
        except HoldfastError as error:
            return refusal_of(error)
        if not sending.has_begun:
            await sending.event(answer.opening())
        for event in answer.closing(reply, with_usage=self._with_usage):
            await sending.event(event)
        return None


class _Sending:
    """What has gone to the client."""

    def __init__(self, send: Send, headers: Mapping[str, str]) -> None:
        self._send = send
        self._headers = headers
        self.has_begun = False

    async def event(self, event: bytes) -> None:
        if not self.has_begun:
            await self._begin(200, _HEADERS)
            self.has_begun = True
        await self._send({"type": "http.response.body", "body": event, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def refuse(self, refusal: Refusal) -> None:
        response = refusal.response()
        await self._begin(refusal.status, dict(response.headers))
        await self._send({"type": "http.response.body", "body": response.body, "more_body": False})

    async def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        raw = [(name.encode(), value.encode("latin-1")) for name, value in {**headers, **self._headers}.items()]
        start: Message = {"type": "http.response.start", "status": status, "headers": raw}
        await self._send(start)
