"""Cutting a document into passages that can be cited.

Responsibility: split Markdown by its headings, and both Markdown and plain text at paragraphs, lines or words where a
    section is longer than a passage may be.
Guarantees: every word of the document stands in exactly one passage or in a heading above one; passages keep the
    document's order and never exceed the bound; any text is accepted; the work is linear.
Not responsible for: headings inside quotations, lists and HTML blocks, which stay text.
Source: CommonMark 0.31, sections 4.2 (ATX headings), 4.3 (setext headings) and 4.5 (fenced code blocks). A fence may be
    indented by more than three spaces here, as it is within a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["Piece", "split_markdown", "split_plain_text"]

_LONGEST_HEADING: Final = 120
_DEEPEST_HEADING: Final = 6
_WIDEST_INDENT: Final = 3
_SHORTEST_FENCE: Final = 3
_SHORTEST_FRONT_MATTER: Final = 3

_SETEXT_UNDERLINE: Final = re.compile(r" {0,3}(=+|-+)\s*$")
_RULE: Final = re.compile(r" {0,3}([-*_])(?:[ \t]*\1){2,}\s*$")
_LIST_ITEM: Final = re.compile(r"\s*(?:[-*+]|\d{1,9}[.)])\s")
_QUOTE_TABLE_HTML_OR_CODE: Final = re.compile(r" {0,3}[>|<]| {4}|\t")
_FRONT_MATTER_KEY: Final = re.compile(r"[\w-]+\s*:")
_LINK: Final = re.compile(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])")
_MARKUP: Final = re.compile(r"[`*]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a document.

    Args:
        title: the document's title, or its name where it has none.
        heading: the headings above it, outermost first, as ``A > B``. The title is left out, since the source already
            names the document, unless it is the only one.
        text: the part itself, without its heading.
    """

    title: str
    heading: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """A run of lines that belong together; `level` is 0 for text, 1-6 for a heading."""

    level: int
    text: str
    heading: str = ""


def split_plain_text(text: str, *, name: str, max_chars: int) -> Iterator[Piece]:
    """Split text without markup at its blank lines."""
    for part in _pack(_paragraphs(text), max_chars):
        yield Piece(title=name, heading=name, text=part)


def split_markdown(text: str, *, name: str, max_chars: int) -> Iterator[Piece]:
    r"""Split Markdown at its headings.

    Args:
        text: the document.
        name: stands for the title where the document has none.
        max_chars: bound of each piece; a longer section gives several with the same heading.

    Example:
        >>> [(piece.heading, piece.text) for piece in split_markdown("# A\nx\n## B\n### C\ny", name="a", max_chars=100)]
        [('A', 'x'), ('B > C', 'y')]
    """
    blocks = list(_markdown_blocks(text))
    title = _title(blocks)
    trail: list[_Block] = []
    section: list[str] = []
    for block in [*blocks, _Block(level=1, text="")]:
        if not block.level:
            section.append(block.text)
            continue
        parts = list(_pack(section, max_chars))
        if not parts and trail and block.level <= trail[-1].level:
            # Nothing stands under this heading, so it is all there is to find.
            parts = list(_pack([trail[-1].text], max_chars))
        heading = " > ".join(above.heading for above in trail if above is not title or len(trail) == 1)
        for part in parts:
            yield Piece(title=title.heading if title else name, heading=heading or name, text=part)
        section.clear()
        while trail and trail[-1].level >= block.level:
            trail.pop()
        trail.append(block)


def _title(blocks: Iterable[_Block]) -> _Block | None:
    """Return the first heading, if every other one is below it."""
    headings = [block for block in blocks if block.level]
    return headings[0] if headings and all(other.level > headings[0].level for other in headings[1:]) else None


def _markdown_blocks(text: str) -> Iterator[_Block]:
    lines = text.splitlines(keepends=True)
    start = _front_matter_length(lines)
    yield _text_block(lines[:start])
    pending: list[str] = []
    fence = ""
    for line in lines[start:]:
        if fence:
            pending.append(line)
            if _closes(line, fence):
                yield _text_block(pending)
                pending, fence = [], ""
            continue
        setext = _setext_heading(pending, line)
        if setext is not None:
            yield setext
            pending = []
            continue
        fence = _opening_fence(line)
        atx = _atx_heading(line)
        if atx is not None or fence or _LIST_ITEM.match(line) or _begins_paragraph(line, after=pending):
            yield _text_block(pending)
            pending = []
        if atx is not None:
            yield atx
        elif _RULE.match(line):
            yield _text_block([*pending, line])
            pending = []
        else:
            pending.append(line)
    yield _text_block(pending)


def _text_block(lines: Iterable[str]) -> _Block:
    return _Block(level=0, text="".join(lines))


def _front_matter_length(lines: list[str]) -> int:
    """Return how many lines of metadata between ``---`` stand at the top, so that they are not taken for a heading."""
    if len(lines) < _SHORTEST_FRONT_MATTER or lines[0].strip() != "---" or not _FRONT_MATTER_KEY.match(lines[1]):
        return 0
    return next((number for number, line in enumerate(lines[1:], 2) if line.strip() in {"---", "..."}), 0)


def _opening_fence(line: str) -> str:
    """Return the fence that opens a code block on this line, or nothing."""
    stripped = line.strip()
    info = stripped.lstrip(stripped[0]) if stripped[:1] in {"`", "~"} else stripped
    fence = stripped[: len(stripped) - len(info)]
    return fence if len(fence) >= _SHORTEST_FENCE and fence[0] not in info else ""


def _closes(line: str, fence: str) -> bool:
    stripped = line.strip()
    return len(stripped) >= len(fence) and not stripped.strip(fence[0])


def _begins_paragraph(line: str, *, after: list[str]) -> bool:
    return bool(after) and not after[-1].strip() and bool(line.strip())


def _atx_heading(line: str) -> _Block | None:
    indent = len(line) - len(line.lstrip(" "))
    marked = line.strip()
    level = len(marked) - len(marked.lstrip("#"))
    content = marked[level:]
    if (
        indent > _WIDEST_INDENT
        or not 1 <= level <= _DEEPEST_HEADING
        or line[indent] != "#"
        or not content[:1].isspace()
    ):
        return None
    content = content.strip()
    unclosed = content.rstrip("#")
    return _heading(level, content if unclosed[-1:].strip() else unclosed, line)


def _setext_heading(paragraph: list[str], line: str) -> _Block | None:
    underline = _SETEXT_UNDERLINE.match(line)
    if underline is None or not paragraph or not paragraph[-1].strip():
        return None
    if _LIST_ITEM.match(paragraph[0]) or _QUOTE_TABLE_HTML_OR_CODE.match(paragraph[0]):
        return None
    level = 1 if underline[1][0] == "=" else 2
    return _heading(level, " ".join(part.strip() for part in paragraph), "".join([*paragraph, line]))


def _heading(level: int, content: str, text: str) -> _Block | None:
    """Return a heading in plain words, unless there are none or too many to cite."""
    words = " ".join(_MARKUP.sub("", _LINK.sub(r"\1", content)).split())
    return _Block(level=level, heading=words, text=text) if 0 < len(words) <= _LONGEST_HEADING else None


def _paragraphs(text: str) -> Iterator[str]:
    pending: list[str] = []
    for line in text.splitlines(keepends=True):
        if _begins_paragraph(line, after=pending):
            yield "".join(pending)
            pending = []
        pending.append(line)
    yield "".join(pending)


def _pack(blocks: Iterable[str], max_chars: int) -> Iterator[str]:
    """Join blocks to parts that are as long as may be, and yield those that hold anything."""
    part = ""
    for atom in (atom for block in blocks for atom in _atoms(block, max_chars)):
        if len(part) + len(atom) > max_chars:
            yield from _trimmed(part)
            part = ""
        part += atom
    yield from _trimmed(part)


def _trimmed(part: str) -> Iterator[str]:
    """Yield `part` without blank lines around it, and nothing if that is all it is."""
    body = part.rstrip()
    if body:
        first_line = part.rfind("\n", 0, len(part) - len(part.lstrip())) + 1
        yield body[first_line:]


def _atoms(block: str, max_chars: int) -> Iterator[str]:
    """Cut a block that is too long into lines, and a line that is too long behind its words."""
    if len(block) <= max_chars:
        yield block
        return
    for line in block.splitlines(keepends=True):
        start = 0
        while len(line) - start > max_chars:
            space = line.rfind(" ", start, start + max_chars)
            end = space + 1 if space > start else start + max_chars
            yield line[start:end]
            start = end
        yield line[start:]
