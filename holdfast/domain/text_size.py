"""How long a text is as UTF-8, found out without encoding it.

Responsibility: count bytes before anything of that size is allocated.
Guarantees: never holds more than one short piece of the text encoded; a text that is too long is given up early.
Not responsible for: what a text takes in memory as a `str`: see `holdfast.domain.buffer.text_size_bytes`.
"""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["utf8_size_bytes"]

_PIECE_CHARS: Final = 64 * 1024


def utf8_size_bytes(text: str, *, enough_bytes: int = sys.maxsize) -> int:
    """Return the length of `text` as UTF-8, in bytes; a lone surrogate counts for three.

    Args:
        text: what to measure.
        enough_bytes: beyond so many, any larger number will do: the text may not be measured to its end then.

    Example:
        >>> utf8_size_bytes("naïve \N{GRINNING FACE}")
        11
        >>> utf8_size_bytes("a" * 1000, enough_bytes=10) > 10
        True

    Complexity: linear in the text, O(1) for ASCII.
    """
    # Each character takes a byte at least.
    if text.isascii() or len(text) > enough_bytes:
        return len(text)
    size_bytes = 0
    for begin in range(0, len(text), _PIECE_CHARS):
        size_bytes += len(text[begin : begin + _PIECE_CHARS].encode("utf-8", "surrogatepass"))
        if size_bytes > enough_bytes:
            break
    return size_bytes
