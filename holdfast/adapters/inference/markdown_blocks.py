"""The blocks of a Markdown text, as plain words.

Responsibility: tell paragraphs, list items, table rows and code apart, and render links, emphasis and entities as the
    words that a reader would see.
Guarantees: blocks keep their order; code and code spans stay as they are; the work is linear in the text.
Not responsible for: headings (a passage is cited with its own), rules, link definitions and comments, which are left
    out; reading every Markdown exactly: nested lists become flat.
Source: CommonMark 0.31 and GitHub's tables, read line by line.
"""

from __future__ import annotations

import enum
import html
import itertools
import re
import textwrap
from dataclasses import dataclass
from typing import Final

__all__ = ["Block", "Kind", "read_blocks"]

_MOST_CODE_LINES: Final = 12
"""A longer listing is no answer; it is left out."""

_FENCE: Final = re.compile(r"`{3,}|~{3,}")
_LEFT_OUT: Final = re.compile(r"#{1,6}\s.*|[-*_ ]{3,}|\[[^\[\]]+\]:\s.*")
_UNDERLINE: Final = re.compile(r"=+|-+")
_ITEM: Final = re.compile(r"(?:[-*+]|\d{1,9}[.)])\s+(?:\[[ xX]\]\s+)?")
_QUOTATION: Final = re.compile(r"(?:>\s?)+")
_CELL_BORDER: Final = re.compile(r"(?<!\\)\|")

_CODE_SPAN: Final = re.compile(r"(`[^`]*`)")
_LINK: Final = re.compile(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])")
_LEFT_OUT_INLINE: Final = re.compile(r"\[\^[^\[\]]*\]|</?[a-zA-Z][^<>:]*>|<!--[^<>]*-->")
_ADDRESS: Final = re.compile(r"<((?:https?|mailto):[^<>\s]*)>")
_EMPHASIS: Final = re.compile(r"(?<![\w*\\])\*{1,3}(?=[^\s*])|(?<=[^\s*\\])\*{1,3}(?![\w*])")
_ESCAPED: Final = re.compile(r"\\([!-/:-@\[-`{-~])")


class Kind(enum.Enum):
    """What a block is."""

    PARAGRAPH = enum.auto()
    ITEM = enum.auto()
    ROW = enum.auto()
    CODE = enum.auto()


@dataclass(frozen=True, slots=True)
class Block:
    """One block; code keeps its lines, anything else is one line."""

    kind: Kind
    text: str


def read_blocks(markdown: str) -> list[Block]:
    r"""Return the blocks of `markdown`.

    Example:
        >>> [block.text for block in read_blocks("See **[the ADR](adr/1.md)**\nfor `a*b`:\n\n- [x] one\n- two")]
        ['See the ADR for `a*b`:', 'one', 'two']
    """
    reader = _Reader()
    for line in markdown.splitlines():
        reader.take(line)
    reader.end()
    return reader.blocks


class _Reader:
    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._kind = Kind.PARAGRAPH
        self._lines: list[str] = []
        self._header: list[str] = []
        self._fence = ""

    def take(self, line: str) -> None:
        if self._fence:
            self._take_code(line)
            return
        text = _without(_QUOTATION, line.strip())
        fence = _FENCE.match(text)
        if fence and fence[0][0] not in text[fence.end() :]:
            self.end()
            self._fence, self._kind = fence[0], Kind.CODE
        elif self._lines and _is_table_rule(text):
            self._header = _cells(self._lines[-1])
            self._lines.clear()
        elif self._lines and self._kind is Kind.PARAGRAPH and _UNDERLINE.fullmatch(text):
            self._lines.clear()  # it was a heading
        elif not text or _LEFT_OUT.fullmatch(text):
            self.end()
        elif text.startswith("|") or (self._header and "|" in text):
            self._end_block()
            self._kind = Kind.ROW
            self._lines.append(text)
        else:
            item = _without(_ITEM, text)
            if item != text:
                self.end()
                self._kind = Kind.ITEM
            self._lines.append(item)

    def end(self) -> None:
        """End the block at hand, and the table if it is in one."""
        self._end_block()
        self._header = []
        self._fence = ""

    def _take_code(self, line: str) -> None:
        text = line.strip()
        if text.startswith(self._fence) and not text.strip(self._fence[0]):
            self.end()
        else:
            self._lines.append(line)

    def _end_block(self) -> None:
        text = self._text()
        if text:
            self.blocks.append(Block(self._kind, text))
        self._kind = Kind.PARAGRAPH
        self._lines = []

    def _text(self) -> str:
        match self._kind:
            case Kind.CODE:
                fits = 0 < len(self._lines) <= _MOST_CODE_LINES
                return f"```\n{textwrap.dedent(chr(10).join(self._lines))}\n```" if fits else ""
            case Kind.ROW if self._lines:
                cells = itertools.zip_longest(self._header, _cells(self._lines[0]), fillvalue="")
                return _rendered("; ".join(f"{name}: {cell}" if name else cell for name, cell in cells if cell))
            case _:
                return _rendered(" ".join(self._lines))


def _without(marker: re.Pattern[str], text: str) -> str:
    found = marker.match(text)
    return text[found.end() :].strip() if found else text


def _is_table_rule(text: str) -> bool:
    return "|" in text and "-" in text and not text.strip("|:- \t")


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in _CELL_BORDER.split(row.strip().removeprefix("|").removesuffix("|"))]


def _rendered(text: str) -> str:
    """Return the words that a reader would see; code spans keep their back-ticks."""
    # Twice, since a picture may be the text of a link.
    unlinked = _LINK.sub(r"\1", _LINK.sub(r"\1", text))
    parts = [part if part.startswith("`") else _rendered_prose(part) for part in _CODE_SPAN.split(unlinked)]
    return " ".join("".join(parts).split())


def _rendered_prose(text: str) -> str:
    shown = _EMPHASIS.sub("", _LEFT_OUT_INLINE.sub("", _ADDRESS.sub(r"\1", text)))
    return html.unescape(_ESCAPED.sub(r"\1", shown))
