"""JSON from outside, of which there is only one reading.

Responsibility: read JSON, refusing whatever two readers could take for two things.
Guarantees: no key is there twice; numbers are finite; every text can be written as UTF-8; depth is bounded, and checked
    before anything is built. Nothing but `ValueError` is raised.
Not responsible for: size, which the caller bounds first; which keys there are.
Source: RFC 8259 sections 4, 6, 8.2 and 9, of whose freedoms none is left; RFC 7493 (I-JSON).
"""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Final, NoReturn

__all__ = ["read_strict_json"]

_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKET: Final = re.compile(r"[^][{}]+")


def read_strict_json(content: bytes, *, max_depth: int) -> object:
    r"""Return what the document says.

    Args:
        content: the document, as UTF-8 without a byte order mark.
        max_depth: how many objects and lists may be inside each other.

    Raises:
        ValueError: if it is no JSON, or no strict one.

    Example:
        >>> read_strict_json(b'{"a": [1, 2.5, null]}', max_depth=2)
        {'a': [1, 2.5, None]}
        >>> read_strict_json(b'{"a": 1, "\\u0061": 2}', max_depth=2)
        Traceback (most recent call last):
            ...
        ValueError: a key is there twice

    Complexity: linear.
    """
    text = content.decode()
    _check_depth(text, max_depth)
    value: object = json.loads(
        text, object_pairs_hook=_object, parse_int=_whole, parse_float=_finite, parse_constant=_refuse_constant
    )
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # fails for half of a surrogate pair, which nobody can write
    return value


def _check_depth(text: str, max_depth: int) -> None:
    depth = 0
    for bracket in _NO_BRACKET.sub("", _TEXT.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > max_depth:
            raise ValueError(f"is nested deeper than {max_depth}")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _whole(digits: str) -> int:
    number = int(digits)
    if abs(number) > sys.float_info.max:  # so that arithmetic with floats cannot fail later
        raise ValueError("a number is too large")
    return number


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("a number is none")
