"""One caller who reads an answer while it comes.

Responsibility: give out the text of an answer piece by piece, and then the answer itself.
Guarantees: the pieces put together are the text of the answer, or as much of it as had come when its call failed, which
    comes before the failure; each reader raises a failure of its own; a reader that has ended has given up its place in
    the call.
Not responsible for: who else reads: see `holdfast.domain.stream_sharing`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from holdfast.domain.flight import Waiter
from holdfast.domain.result_window import Cached
from holdfast.domain.stream_meter import ReadingEnd, StreamMeter
from holdfast.ports.errors import ClosedError
from holdfast.ports.service import Disposition

__all__ = ["StreamReader"]

T = TypeVar("T")


class StreamReader(Generic[T]):
    """Reads one answer. `close` it in every case: its place keeps the call going.

    Args:
        source: the answer, or this caller's place in the call that brings it.
        text_of: the text of an answer.
        meter: told of the beginning and of the end.

    Attributes:
        disposition: where the answer comes from.
    """

    __slots__ = ("_end", "_has_given", "_log", "_meter", "_position", "_text_of", "_value", "_waiter", "disposition")

    _value: T

    def __init__(self, source: Cached[T] | Waiter[T], *, text_of: Callable[[T], str], meter: StreamMeter) -> None:
        if isinstance(source, Waiter):
            self._waiter: Waiter[T] | None = source
            self._log = source.log
            self.disposition = source.disposition
        else:
            self._waiter = self._log = None
            self._value = source.value
            self.disposition = Disposition.CACHED
        self._text_of = text_of
        self._meter = meter
        self._position = 0
        self._has_given = False
        self._end: ReadingEnd | None = None
        meter.opened(self.disposition, self._log)

    async def next_piece(self) -> str:
        """Return the next piece, or nothing at the end. A text of which nothing came piece by piece comes as one.

        Raises:
            Exception: a copy of what the call failed with, made for this reader alone, as often as it is asked for.
            SharedFailureError: the call failed with something that cannot be copied.
            ClosedError: the reader was closed before the end, or the engine was.

        Cancellation: nothing is lost; it may be called again.
        """
        if self._end is ReadingEnd.LEFT:
            raise ClosedError("the stream")
        if self._end is ReadingEnd.COMPLETED:
            return ""
        piece = await self._grown_piece() or await self._whole_text()
        if piece:
            self._has_given = True
        else:
            self._finish(ReadingEnd.COMPLETED)
        return piece

    async def value(self) -> T:
        """Return the answer, once it is complete; what has not been read by then is dropped.

        Raises:
            Exception: as `next_piece`.
        """
        while await self.next_piece():
            pass
        return self._value

    def close(self) -> None:
        """Give up the place in the call, which ends with its last one; once the end was reached this does nothing."""
        self._finish(ReadingEnd.LEFT)

    async def _grown_piece(self) -> str:
        log = self._log
        if log is None:
            return ""
        while True:
            piece, self._position = log.read(self._position)
            if piece or log.has_ended:
                return piece
            await log.wait_grown()

    async def _whole_text(self) -> str:
        if self._waiter is not None:
            await self._waiter.wait_ended()
            try:
                self._value = self._waiter.result()
            except Exception:
                self._finish(ReadingEnd.FAILED)
                raise
        return "" if self._has_given else self._text_of(self._value)

    def _finish(self, end: ReadingEnd) -> None:
        if self._end is not None:
            return
        self._end = end
        if self._waiter is not None:
            self._waiter.leave()
        self._meter.ended(end, self._log)
        self._log = None
