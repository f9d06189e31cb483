"""Whether an answer is as it shall be.

Responsibility: who judges the text of an answer, and reading one that shall be JSON.
Guarantees: a judgement is in words that repeat nothing of the answer; reading takes time linear in the text, and gives
    a value that is neither too deep to walk nor too large to reckon with, or says why not.
Not responsible for: what follows from a judgement: see `holdfast.domain.quality_gate`; Markdown around JSON: see
    `holdfast.domain.post_processing`.
Source: RFC 8259, which has neither NaN nor Infinity.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from typing import Final, NoReturn, Protocol, TypeGuard

__all__ = ["MAX_CHECKED_CHARS", "MAX_JSON_DEPTH", "OutputValidator", "read_json_answer"]

MAX_CHECKED_CHARS: Final = 100_000
"""Characters of an answer that a validator reads, about 25 000 tokens of English; unmeasured."""

MAX_JSON_DEPTH: Final = 64
"""Levels of arrays and objects in an answer: a recursive check of so many stays far from Python's recursion limit."""


class OutputValidator(Protocol):
    """Judges the text of an answer.

    Ordering: judgements are independent; the same text always gets the same one, so that one instance serves any number
    of callers. Atomicity: synchronous, and quick for any text, for it runs on the event loop. Errors: none for any
    text; what one raises all the same fails that request only.
    """

    @property
    def name(self) -> str:
        """How it is called in settings, errors and events."""
        ...

    def check(self, text: str) -> str | None:
        """Return what is wrong, or None.

        The words follow on "The answer", such as "lacks the field 'total'", tell a model enough to mend it, and repeat
        nothing of it: they end up in logs.
        """
        ...


def read_json_answer(text: str, *, max_chars: int = MAX_CHECKED_CHARS) -> object:
    """Return the value that `text` is as JSON.

    Raises:
        ValueError: it is no JSON, is longer than `max_chars`, nested deeper than `MAX_JSON_DEPTH`, or holds a number
            that no float comes near; in words as `OutputValidator.check` returns them.

    Example:
        >>> read_json_answer('{"total": 42}')
        {'total': 42}
        >>> read_json_answer("[" * 1_000_000, max_chars=2_000_000)
        Traceback (most recent call last):
            ...
        ValueError: is nested deeper than 64 levels

    Complexity: linear in the text.
    """
    if len(text) > max_chars:
        raise ValueError(f"has more than the {max_chars} characters that are checked")
    try:
        value = json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_constant)
    except json.JSONDecodeError as error:
        # Not the decoder's own words: some of them hold a piece of the text.
        raise ValueError(f"is no JSON from line {error.lineno}, column {error.colno} on") from None
    except RecursionError:
        raise _too_deep() from None
    if _is_deeper(value, MAX_JSON_DEPTH):
        raise _too_deep()
    return value


def _number(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise ValueError("holds a number that is too large")
    return number


def _integer(literal: str) -> int:
    _number(literal)
    return int(literal)


def _constant(_: str) -> NoReturn:
    raise ValueError("holds a number that is none in JSON")


def _too_deep() -> ValueError:
    return ValueError(f"is nested deeper than {MAX_JSON_DEPTH} levels")


def _is_deeper(value: object, levels: int) -> bool:
    # Level by level instead of by recursion, which is what is to be prevented.
    level = [value]
    for _ in range(levels):
        level = [child for container in level for child in _children(container)]
    return any(_is_object(child) or _is_array(child) for child in level)


def _children(value: object) -> Collection[object]:
    if _is_object(value):
        return value.values()
    return value if _is_array(value) else ()


def _is_object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _is_array(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)
