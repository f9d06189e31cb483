"""A reply as one of those who share it gets it.

Responsibility: what is the caller's own in a shared reply, whole or read while it comes.
Guarantees: a reply that is complete ends its request: whatever its caller does afterwards is no part of it.
Not responsible for: the text of a stream: see `holdfast.domain.stream_reader`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from holdfast.application.reception import Visit
from holdfast.domain.stream_reader import StreamReader
from holdfast.ports.clock import Clock
from holdfast.ports.service import Disposition, Reply, ReplyStream, Request

__all__ = ["ReadReply", "addressed"]


def addressed(reply: Reply, request: Request, disposition: Disposition) -> Reply:
    """Return the reply of a flight as one of those who share it gets it; what was commanded is nobody else's.

    Whoever began the flight may have been answered by another process.
    """
    if reply.disposition is Disposition.COMMANDED:
        return reply
    if disposition is Disposition.CALLED:
        disposition = reply.disposition
    if request.request_id is None and disposition is reply.disposition:
        return reply
    return replace(reply, request_id=request.request_id, disposition=disposition)


class ReadReply:
    """A reply that its caller reads while it comes.

    Args:
        reader: the text, and the reply that is shared.
        visit: whose reply it is; told of it, or of the failure.
        clock: monotonic time.
    """

    __slots__ = ("_clock", "_reader", "_visit")

    def __init__(self, reader: StreamReader[Reply], visit: Visit, *, clock: Clock) -> None:
        self._reader = reader
        self._visit = visit
        self._clock = clock

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        try:
            piece = await self._reader.next_piece()
        except Exception as error:
            self._visit.failure = error
            raise
        if not piece:
            await self.reply()
            raise StopAsyncIteration
        return piece

    async def reply(self) -> Reply:
        """Return the whole reply, once it is complete; whatever has not been read by then is dropped.

        Raises:
            Exception: as iterating does.
        """
        visit = self._visit
        if visit.reply is None:
            try:
                shared = await self._reader.value()
            except Exception as error:
                visit.failure = error
                raise
            reply = addressed(shared, visit.turn.request, self._reader.disposition)
            visit.complete(reply, now_s=self._clock.monotonic_s())
            return reply
        return visit.reply


_: type[ReplyStream] = ReadReply
