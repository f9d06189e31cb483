"""The text of one stream: what its backend has sent, and how far it has been read.

Responsibility: keep the text while it comes, give it out from any place on, and say when the backend has to wait.
Guarantees: whoever reads from a place on gets exactly what follows it, whatever was added meanwhile; the text is never
    more than `max_ahead_bytes` beyond what somebody has read (or one piece, if that alone is more), unless somebody
    waits for its end; nothing is added once it has ended.
Not responsible for: who reads and who writes: see `holdfast.domain.stream_sharing`.

The text is UTF-8 in blocks, not a list of pieces: a token of four letters takes 4 bytes here and 60 as a string of its
own, and a reader who has fallen behind gets what it missed in pieces of 1 KiB, however small they came. Nor is it one
run, which would be moved each time that it has to grow, and leave holes behind that nothing fits into. All of it is
kept until the end, because the reply needs all of it: that is why a newcomer can begin at the beginning, and why a slow
reader costs the others nothing (adr/0028).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Final

import anyio

__all__ = ["StreamLog"]

_BLOCK_BYTES: Final = 1024
"""What a block holds at most, unless one piece alone is more; and what a reader gets at once, which is held a second
time until the reader has passed it on (adr/0028)."""


class StreamLog:
    """The text of one stream.

    Args:
        max_ahead_bytes: how far the text may be beyond what somebody has read.
        on_grow: called with the bytes of each piece that was added.
        on_end: called once, when it has ended.

    Example:
        >>> log = StreamLog(max_ahead_bytes=8)
        >>> log.try_append("Hello"), log.try_append(" you")
        (True, False)
        >>> log.read(0), log.try_append(" you")
        (('Hello', 5), True)
        >>> log.read(5), log.read(0), log.read(8)
        ((' you', 9), ('Hello yo', 8), ('u', 9))
    """

    __slots__ = (
        "_blocks",
        "_delivered_to",
        "_ended",
        "_grown",
        "_impatient",
        "_max_ahead_bytes",
        "_on_end",
        "_on_grow",
        "_read_to",
        "_roomy",
        "_starts",
        "_tail",
        "_tail_at",
    )

    def __init__(
        self,
        *,
        max_ahead_bytes: int,
        on_grow: Callable[[int], None] = lambda _: None,
        on_end: Callable[[StreamLog], None] = lambda _: None,
    ) -> None:
        self._max_ahead_bytes = max_ahead_bytes
        self._on_grow = on_grow
        self._on_end = on_end
        self._blocks: list[bytes] = []
        self._starts: list[int] = []
        self._tail = bytearray()
        self._tail_at = 0
        self._read_to = 0
        self._delivered_to = 0
        self._impatient = 0
        self._ended = False
        self._grown: anyio.Event | None = None
        self._roomy: anyio.Event | None = None

    @property
    def size_bytes(self) -> int:
        """How much there is so far, as UTF-8."""
        return self._tail_at + len(self._tail)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended

    @property
    def is_delivered(self) -> bool:
        """Whether somebody has read all of it and asked for more, or waits for nothing but its end."""
        return self._delivered_to == self.size_bytes or self._impatient > 0

    def text(self) -> str:
        """Return everything so far."""
        return _decoded(b"".join((*self._blocks, self._tail)))

    def try_append(self, piece: str) -> bool:
        """Add `piece`, wake those who wait for it and return True; return False if it has no room, or after the end.

        Complexity: amortised O(len(piece)), and O(1) for each reader who waits.
        """
        added = piece.encode("utf-8", "surrogatepass")
        if self._ended or not self._has_room(len(added)):
            return False
        if added:
            if len(self._tail) + len(added) > _BLOCK_BYTES:
                self._begin_block()
            self._tail += added
            self._on_grow(len(added))
            self._wake_readers()
        return True

    def read(self, position: int) -> tuple[str, int]:
        """Return what follows `position`, and the position after it.

        No more than `max_ahead_bytes` or 1 KiB at once (and the rest of a letter), so that those who come late to a
        long answer, or take it slowly, do not each hold much of it.

        Args:
            position: 0 for the beginning, or what an earlier `read` returned: what is before it has been passed on.

        Complexity: O(text returned), and O(log text) for those who are far behind.
        """
        text, start = (self._tail, self._tail_at) if position >= self._tail_at else self._block(position)
        begin = position - start
        if begin == len(text):
            if position > self._delivered_to:
                self._delivered_to = position
                self._wake_writer()
            return "", position
        end = min(begin + self._max_ahead_bytes, begin + _BLOCK_BYTES, len(text))
        while end < len(text) and text[end] & 0xC0 == 0x80:  # in the middle of a letter
            end += 1
        if start + end > self._read_to:
            self._read_to = start + end
            self._wake_writer()
        return _decoded(text[begin:end]), start + end

    def hurry(self) -> None:
        """Note that somebody waits for the end and reads nothing meanwhile: there is always room from now on."""
        self._impatient += 1
        self._wake_writer()

    def unhurry(self) -> None:
        """Take back one `hurry`."""
        self._impatient -= 1

    def end(self) -> None:
        """Let nothing more come, and wake everyone; a second time changes nothing."""
        if self._ended:
            return
        self._ended = True
        self._wake_readers()
        self._wake_writer()
        self._on_end(self)

    async def wait_grown(self) -> None:
        """Wait until something was appended, or the text has ended. Any number may wait at once."""
        if self._grown is None:
            self._grown = anyio.Event()
        await self._grown.wait()

    async def wait_roomier(self) -> None:
        """Wait until somebody has read on, or found nothing more, is in a hurry, or the text has ended."""
        if self._roomy is None:
            self._roomy = anyio.Event()
        await self._roomy.wait()

    def _has_room(self, size_bytes: int) -> bool:
        ahead_bytes = self._tail_at + len(self._tail) - self._read_to
        fits = ahead_bytes == 0 or ahead_bytes + size_bytes <= self._max_ahead_bytes
        return fits or self._impatient > 0

    def _begin_block(self) -> None:
        if self._tail:
            self._blocks.append(bytes(self._tail))
            self._starts.append(self._tail_at)
            self._tail_at += len(self._tail)
            self._tail = bytearray()

    def _block(self, position: int) -> tuple[bytes, int]:
        index = bisect_right(self._starts, position) - 1
        return self._blocks[index], self._starts[index]

    def _wake_readers(self) -> None:
        if self._grown is not None:
            self._grown.set()
            self._grown = None

    def _wake_writer(self) -> None:
        if self._roomy is not None:
            self._roomy.set()
            self._roomy = None


def _decoded(text: bytes | bytearray) -> str:
    # Models do send halves of a surrogate pair; what came as one goes out as one.
    return text.decode("utf-8", "surrogatepass")
