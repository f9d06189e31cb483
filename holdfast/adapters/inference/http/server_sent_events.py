r"""Server-sent events, as they come.

Responsibility: turn the bytes of an event stream into its events, however the bytes are cut.
Guarantees: the events are the same wherever the bytes are cut; no more is held than one event; an event whose end has
    not come is none.
Not responsible for: what an event means, and whether the last one was the end: see the dialects.
Source: HTML Living Standard, section 9.2.6, "Interpreting an event stream". Identifiers and reconnection times are left
    out: an answer cannot be gone on with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["EventReader", "OversizedEventError", "ServerSentEvent"]

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class OversizedEventError(ValueError):
    """A line, or the lines of one event together, are longer than they may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSentEvent:
    """One event.

    Args:
        type: what the server calls it; "message" where it does not say.
        data: its lines, put together.
    """

    type: str
    data: str


class EventReader:
    r"""Reads one stream of events.

    Args:
        max_bytes: the longest line, and the most that the lines of one event may hold together.

    Example:
        >>> reader = EventReader(max_bytes=1000)
        >>> reader.feed(b"data: one\r") + reader.feed(b"\n\r\ndata: tw")
        [ServerSentEvent(type='message', data='one')]
        >>> [event.data for event in reader.feed(b"o\n\n")]
        ['two']
    """

    __slots__ = ("_data", "_data_bytes", "_has_begun", "_max_bytes", "_rest", "_skips_newline", "_type")

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._has_begun = False
        self._skips_newline = False
        self._type = ""
        self._data: list[str] = []
        self._data_bytes = 0

    def feed(self, part: bytes) -> list[ServerSentEvent]:
        """Return the events that end within the next part of the stream.

        Raises:
            OversizedEventError: a line or an event is too long.

        Complexity: linear in the part, and once for each line in what was left of the parts before.
        """
        return [event for line in self._lines(part) if (event := self._take(line)) is not None]

    def _lines(self, part: bytes) -> list[bytes]:
        if self._skips_newline and part:
            part = part.removeprefix(b"\n")
            self._skips_newline = False
        if part.endswith(b"\r"):
            self._skips_newline = True  # for what comes next may be its newline
        has_line = _LINE_END.search(part) is not None
        self._rest += part
        if not has_line:
            self._refuse_beyond(len(self._rest))
            return []
        *lines, rest = _LINE_END.split(bytes(self._rest))
        self._refuse_beyond(max(map(len, (*lines, rest))))
        self._rest = bytearray(rest)
        if not self._has_begun:
            self._has_begun = True
            lines[0] = lines[0].removeprefix(_BYTE_ORDER_MARK)
        return lines

    def _take(self, line: bytes) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data_bytes += len(value) + 1
            self._refuse_beyond(self._data_bytes - 1)
            self._data.append(value.decode("utf-8", "replace"))
        elif field == b"event":
            self._type = value.decode("utf-8", "replace")
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        data, type_ = self._data, self._type
        self._data, self._data_bytes, self._type = [], 0, ""
        return ServerSentEvent(type=type_ or "message", data="\n".join(data)) if data else None

    def _refuse_beyond(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise OversizedEventError(f"more than {self._max_bytes} bytes in one line or event")
