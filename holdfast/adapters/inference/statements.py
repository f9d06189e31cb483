"""What a Markdown text says, piece by piece.

Responsibility: turn the text of a passage into statements that can stand in an answer by themselves: sentences, list
    items, table rows and short listings.
Guarantees: statements keep their order; no sentence ends inside a code span or behind an abbreviation; the work is
    linear in the text.
Not responsible for: choosing among them; abbreviations of other languages than English.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from holdfast.adapters.inference.markdown_blocks import Kind, read_blocks

__all__ = ["Statement", "read_statements"]

_LONGEST_LIST_IN_ONE: Final = 400

_GAP: Final = re.compile(r"\s+|(?<=[。！？])")
_ENDS: Final = (".", "!", "?", "…", "。", "！", "？")
_CLOSERS: Final = "\"'”’)]"
_LAST_LETTERS: Final = frozenset((*_ENDS, *_CLOSERS))
_ABBREVIATIONS: Final = frozenset(
    """
    approx. ca. cf. dr. e.g. ed. eq. etc. fig. i.e. incl. jr. ltd. max. min. mr. mrs. ms. no. p. pp. prof. resp. sec.
    sr. st. vol. vs.
    """.split()  # noqa: SIM905 - a word list is read as prose
)
_LONGEST_ABBREVIATION: Final = 12
_INITIAL: Final = re.compile(r"[A-HJ-Z]\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Something that a text says.

    Args:
        text: readable by itself.
        context: the line that introduces the list or table in which it stands; otherwise nothing.
    """

    text: str
    context: str = ""


def read_statements(markdown: str) -> list[Statement]:
    r"""Return what `markdown` says, in its order.

    Example:
        >>> text = "It waits, e.g. for `a. b`. Then *why*:\n- it must\n- it can"
        >>> [statement.text for statement in read_statements(text)]
        ['It waits, e.g. for `a. b`.', 'Then why: it must; it can.']
    """
    return list(_statements(markdown))


def _statements(markdown: str) -> Iterator[Statement]:
    intro = ""
    for kind, run in itertools.groupby(read_blocks(markdown), key=attrgetter("kind")):
        texts = [block.text for block in run]
        if kind is Kind.CODE:
            yield Statement(text=f"{intro}\n{texts[0]}" if intro else texts[0])
            yield from (Statement(text=text) for text in texts[1:])
            intro = ""
        elif kind is Kind.ROW:
            yield from (Statement(text=text, context=intro) for text in texts)
            intro = ""
        elif kind is Kind.ITEM and intro and _fits_in_one(texts):
            yield Statement(text=f"{intro} {'; '.join(text.rstrip('.;,') for text in texts)}.")
            intro = ""
        else:
            context = intro if kind is Kind.ITEM else ""
            sentences = [sentence for text in texts for sentence in _sentences(text)]
            intro = sentences[-1] if sentences[-1].endswith(":") else ""
            # A line that introduces something says nothing by itself.
            yield from (Statement(text=text, context=context) for text in sentences if not text.endswith(":"))


def _fits_in_one(items: list[str]) -> bool:
    return sum(map(len, items)) <= _LONGEST_LIST_IN_ONE and not items[-1].endswith(":")


def _sentences(text: str) -> Iterator[str]:
    start = counted_to = ticks = 0
    for gap in _GAP.finditer(text):
        end = gap.start()
        if text[end - 1 : end] not in _LAST_LETTERS:
            continue
        ticks += text.count("`", counted_to, end)
        counted_to = end
        tail = text[max(start, end - _LONGEST_ABBREVIATION) : end]
        if ticks % 2 == 0 and _ends_sentence(tail, following=text[gap.end() : gap.end() + 1]):
            yield text[start:end]
            start = gap.end()
    if start < len(text):
        yield text[start:]


def _ends_sentence(tail: str, *, following: str) -> bool:
    bare = tail.rstrip(_CLOSERS)
    if not bare.endswith(_ENDS):
        return False
    word = bare.split()[-1].lstrip("([\"'“‘")
    if word.lower() in _ABBREVIATIONS or _INITIAL.fullmatch(word):
        return False
    return not (word.endswith(("..", "…")) and following.islower())
