"""JSON that comes from clients, and goes to them.

Responsibility: read a bounded document strictly; write one that any client can read.
Guarantees: nesting is bounded, so that nothing behind it meets a document that exhausts the stack, and so is the number
    of values, for each of which everything behind it takes time; NaN and infinities are refused; what is written is
    valid UTF-8 whatever a model said.
Not responsible for: what a document means.
Source: RFC 8259.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn, cast

from fastapi import Response

__all__ = ["JsonObject", "encode_json", "json_response", "parse_json"]

JsonObject = Mapping[str, object]
"""A JSON object, to be written."""

_MAX_DEPTH: Final = 64
"""How deep a document may be nested: a JSON schema of a tool with ten levels takes about thirty; unmeasured."""


def parse_json(text: bytes, *, max_values: int) -> object:
    """Return the document.

    Args:
        text: UTF-8.
        max_values: how many values it may have, at every depth together; a list counts, and so does each of its items.

    Raises:
        ValueError: it is no JSON, has too many values, or is nested deeper than 64 levels; the message says which.

    Example:
        >>> parse_json(b'{"n": [1]}', max_values=3)
        {'n': [1]}
    """
    try:
        document: object = _DECODER.decode(text.decode())
    except RecursionError:
        raise _too_deep() from None
    level, values = [document], 1
    for _ in range(_MAX_DEPTH):
        level = [item for value in level for item in _items(value)]
        if not level:
            return document
        values += len(level)
        if values > max_values:
            raise ValueError(f"has more than {max_values} values; send fewer messages, parts or tools")
    raise _too_deep()


def _items(value: Any) -> Iterable[object]:  # noqa: ANN401 - any part of a document
    if isinstance(value, dict):
        return cast("JsonObject", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()


def _too_deep() -> ValueError:
    return ValueError(f"is nested deeper than {_MAX_DEPTH} levels")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is larger than any that can be written again")
    return number


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_ESCAPING_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))


def encode_json(document: JsonObject) -> bytes:
    """Return `document` as UTF-8, on one line."""
    try:
        return _ENCODER.encode(document).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which models do send, has no UTF-8 but an escape
        return _ESCAPING_ENCODER.encode(document).encode()


def json_response(document: JsonObject, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return `document` as a whole answer."""
    return Response(encode_json(document), status_code=status, headers=headers, media_type="application/json")
