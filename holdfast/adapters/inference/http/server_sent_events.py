r"""Server-sent events, as they come.

Responsibility: turn the bytes of an event stream into the data of its events, however the bytes are cut.
Guarantees: the events are the same wherever the bytes are cut; no more is held than one event; an event whose end has
    not come is none.
Not responsible for: what an event means, and whether the last one was the end: see the dialects.
Source: HTML Living Standard, section 9.2.6, "Interpreting an event stream". Types are left out, because both dialects
    say within the data what an event is; identifiers and reconnection times, because an answer cannot be gone on with.
"""

from __future__ import annotations

from typing import Final

__all__ = ["EventReader", "OversizedEventError"]

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class OversizedEventError(ValueError):
    """A line, or the lines of one event together, are longer than they may be."""


class EventReader:
    r"""Reads one stream of events.

    Args:
        max_bytes: the longest line, and the most that the lines of one event may hold together.

    Example:
        >>> reader = EventReader(max_bytes=1000)
        >>> reader.feed(b"data: one\r") + reader.feed(b"\n\r\ndata: tw")
        ['one']
        >>> reader.feed(b"o\n\n")
        ['two']
    """

    __slots__ = ("_data", "_data_bytes", "_has_begun", "_max_bytes", "_rest", "_skips_newline")

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._has_begun = False
        self._skips_newline = False
        self._data: list[str] = []
        self._data_bytes = 0

    def feed(self, part: bytes) -> list[str]:
        """Return the data of each event that ends within the next part of the stream.

        Raises:
            OversizedEventError: a line or an event is too long.

        Complexity: linear in the part, and once for each line in what was left of the parts before.
        """
        events: list[str] = []
        for line in self._lines(part):
            self._refuse_beyond(len(line))
            if line:
                self._take(line)
            elif self._data:
                events.append("\n".join(self._data))
                self._data, self._data_bytes = [], 0
        return events

    def _lines(self, part: bytes) -> list[bytes]:
        if self._skips_newline and part:
            part = part.removeprefix(b"\n")
            self._skips_newline = False
        if part.endswith(b"\r"):
            self._skips_newline = True  # for what comes next may be its newline
        lines = part.splitlines()
        rest = b"" if part.endswith((b"\n", b"\r")) or not lines else lines.pop()
        if lines:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
            if not self._has_begun:
                self._has_begun = True
                lines[0] = lines[0].removeprefix(_BYTE_ORDER_MARK)
        self._rest += rest
        self._refuse_beyond(len(self._rest))
        return lines

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field == b"data":
            value = value.removeprefix(b" ")
            self._data_bytes += len(value) + 1
            self._refuse_beyond(self._data_bytes - 1)
            self._data.append(value.decode("utf-8", "replace"))

    def _refuse_beyond(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise OversizedEventError(f"more than {self._max_bytes} bytes in one line or event")
