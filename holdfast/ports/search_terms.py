"""The words of a question that are searched for.

Responsibility: one answer to "which words carry the meaning", for every retriever, and for backends that work on words.
Guarantees: only letters and digits are left, so no term holds an operator, a quote or a NUL of any query language;
    terms come in order of first appearance, each once; the work is linear, and ends with the last term asked for.
Not responsible for: inflection, synonyms, and languages that put no space between words: a run of their letters is one
    term. The words left out are English ones; in other languages nothing is left out.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MAX_SEARCH_TERMS", "search_terms"]

MAX_SEARCH_TERMS: Final = 24
"""Different words of one query that are searched for; a full-text search costs time for each; unmeasured."""

# Articles, pronouns, auxiliaries, prepositions and question words, and what an apostrophe leaves (don't: don, t).
_CARRY_NO_MEANING: Final = frozenset(
    """
    a about an and any are as at be been being but by can could d did do does doesn doing don for from get gets had
    has have having he her here his how i if in into is isn it its ll m may me might more most much must my no nor
    not of on or our out over own please re s shall she should so some such t tell than that the their them then
    there these they this those to too up us ve very was wasn we were what when where which while who whom whose why
    will with won would you your
    """.split()  # noqa: SIM905 - a word list is read as prose
)

_WORD: Final = re.compile(r"[^\W_]+")


def search_terms(text: str, *, limit: int = MAX_SEARCH_TERMS) -> tuple[str, ...]:
    """Return the first `limit` different words of `text` that carry meaning, in lower case.

    Example:
        >>> search_terms("Why does pybreaker not own the half_open state?")
        ('pybreaker', 'half', 'open', 'state')
    """
    terms: dict[str, None] = {}
    for match in _WORD.finditer(text):
        if len(terms) >= limit:
            break
        term = match.group().lower()
        if term not in _CARRY_NO_MEANING:
            terms[term] = None
    return tuple(terms)
