"""The text of one stream: what its backend has sent, and how far it has been read.

Responsibility: keep the text while it comes, give it out from any place on, and say when the backend has to wait.
Guarantees: whoever reads from a place gets exactly what follows it, whatever was appended meanwhile; the text is never
    more than `max_ahead_bytes` beyond what somebody has read (or one piece, if that alone is more), unless somebody
    waits for its end; nothing is appended once it has ended.
Not responsible for: who reads and who writes: see `holdfast.domain.stream_sharing`.

The text is one run of UTF-8, not a list of pieces: a token of four letters takes 4 bytes here and 60 as a string of its
own, and a reader who has fallen behind gets everything that it missed as one piece. All of it is kept until the end,
because the reply needs all of it: that is why a newcomer can begin at the beginning, and why a slow reader costs the
others nothing.
"""

from __future__ import annotations

import anyio

__all__ = ["StreamLog"]


class StreamLog:
    """The text of one stream.

    Args:
        max_ahead_bytes: how far the text may be beyond what somebody has read.

    Example:
        >>> log = StreamLog(max_ahead_bytes=8)
        >>> log.append("Hello")
        >>> log.has_room(len(" world")), log.read(0), log.has_room(len(" world"))
        (False, ('Hello', 5), True)
        >>> log.append(" world")
        >>> log.read(5), log.read(0)
        ((' world', 11), ('Hello world', 11))
    """

    __slots__ = ("_ended", "_grown", "_impatient", "_max_ahead_bytes", "_read_to", "_roomy", "_text")

    def __init__(self, *, max_ahead_bytes: int) -> None:
        self._max_ahead_bytes = max_ahead_bytes
        self._text = bytearray()
        self._read_to = 0
        self._impatient = 0
        self._ended = False
        self._grown: anyio.Event | None = None
        self._roomy: anyio.Event | None = None

    @property
    def size_bytes(self) -> int:
        """How much there is so far, as UTF-8."""
        return len(self._text)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended

    def text(self) -> str:
        """Return everything so far."""
        return _decoded(self._text)

    def append(self, piece: str) -> None:
        """Add `piece` and wake those who wait for it; changes nothing once the text has ended.

        Complexity: amortised O(len(piece)), and O(1) for each reader who waits.
        """
        if piece and not self._ended:
            self._text += piece.encode("utf-8", "surrogatepass")
            self._wake_readers()

    def read(self, position: int) -> tuple[str, int]:
        """Return everything from `position` on, and the position after it.

        Args:
            position: 0 for the beginning, or what an earlier `read` returned.

        Complexity: O(text returned).
        """
        end = len(self._text)
        if end > self._read_to:
            self._read_to = end
            self._wake_writer()
        return (_decoded(self._text[position:]), end) if position < end else ("", end)

    def has_room(self, size_bytes: int) -> bool:
        """Return whether a piece of so many bytes may be appended now."""
        ahead_bytes = len(self._text) - self._read_to
        return self._impatient > 0 or ahead_bytes == 0 or ahead_bytes + size_bytes <= self._max_ahead_bytes

    def hurry(self) -> None:
        """Note that somebody waits for the end and reads nothing meanwhile: there is always room from now on."""
        self._impatient += 1
        self._wake_writer()

    def unhurry(self) -> None:
        """Take back one `hurry`."""
        self._impatient -= 1

    def end(self) -> None:
        """Let nothing more come, and wake everyone."""
        self._ended = True
        self._wake_readers()
        self._wake_writer()

    async def wait_grown(self) -> None:
        """Wait until something was appended, or the text has ended. Any number may wait at once."""
        if self._grown is None:
            self._grown = anyio.Event()
        await self._grown.wait()

    async def wait_roomier(self) -> None:
        """Wait until somebody has read on, is in a hurry, or the text has ended."""
        if self._roomy is None:
            self._roomy = anyio.Event()
        await self._roomy.wait()

    def _wake_readers(self) -> None:
        if self._grown is not None:
            self._grown.set()
            self._grown = None

    def _wake_writer(self) -> None:
        if self._roomy is not None:
            self._roomy.set()
            self._roomy = None


def _decoded(text: bytearray) -> str:
    # Models do send halves of a surrogate pair; what came as one goes out as one.
    return text.decode("utf-8", "surrogatepass")
