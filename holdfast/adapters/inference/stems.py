"""One form for the forms of an English word.

Responsibility: let "retries", "retried" and "retrying" count as one word when a question is compared with a text.
Guarantees: what has one of the usual endings loses it; short words and words of other languages stay as they are.
Not responsible for: irregular forms, and for being a word: a stem is only compared with other stems.
Source: D. Harman, "How effective is suffixing?", JASIS 42 (1991), extended by -ing, -ed and the final e.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["stem"]

_SHORTEST_STEM: Final = 3
_ENDINGS: Final = (("ies", "y"), ("ied", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("e", ""))
_NO_PLURAL: Final = ("ss", "us", "is")
_DOUBLED: Final = re.compile(r"([bdfgmnprt])\1$")


def stem(word: str) -> str:
    """Return the stem of a word in lower case.

    Example:
        >>> [stem(word) for word in ("retry", "retries", "stopped", "stop", "states", "class")]
        ['retry', 'retry', 'stop', 'stop', 'stat', 'class']
    """
    if word.endswith(_NO_PLURAL):
        return word
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) + len(instead) >= _SHORTEST_STEM:
            return _DOUBLED.sub(r"\1", word[: -len(ending)] + instead)
    return word
