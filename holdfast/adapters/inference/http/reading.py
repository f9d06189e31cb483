"""Reading JSON of which nothing is certain.

Responsibility: take what should be an object, a list, a text or a count out of a parsed document.
Guarantees: whatever stands there, the result is of the type that it is said to be, or `UnintelligibleError` is raised;
    its message names the place and repeats nothing.
Not responsible for: which places there are: see the dialects.
"""

from __future__ import annotations

import json
from typing import Any, Final

from holdfast.adapters.inference.http.dialect import UnintelligibleError

__all__ = ["JsonObject", "count_in", "object_from", "object_in", "objects_in", "optional_text_in", "text_in"]

JsonObject = dict[str, Any]

_MOST_COUNTED: Final = 2**53
"""What numbers in JSON are exact up to (RFC 7493, section 2.2)."""


def object_from(text: str | bytes) -> JsonObject:
    """Return the object that `text` is as JSON."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise UnintelligibleError("no JSON") from None
    if not isinstance(value, dict):
        raise UnintelligibleError("no JSON object")
    return value  # pyright: ignore[reportUnknownVariableType] - keys of JSON are texts


def object_in(document: JsonObject, key: str) -> JsonObject:
    """Return the object under `key`; an empty one if there is none or null."""
    value: Any = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UnintelligibleError(f"{key} is no object")
    return value  # pyright: ignore[reportUnknownVariableType] - as above


def objects_in(document: JsonObject, key: str) -> list[JsonObject]:
    """Return the objects in the list under `key`; none if there is none or null."""
    value: Any = document.get(key)
    if value is None:
        return []
    if isinstance(value, list):
        for one in value:  # pyright: ignore[reportUnknownVariableType] - Any
            if not isinstance(one, dict):
                break
        else:
            return value  # pyright: ignore[reportUnknownVariableType] - as above
    raise UnintelligibleError(f"{key} is no list of objects")


def optional_text_in(document: JsonObject, key: str) -> str | None:
    """Return the text under `key`; None if there is none or null."""
    value: Any = document.get(key)
    if value is not None and not isinstance(value, str):
        raise UnintelligibleError(f"{key} is no text")
    return value


def text_in(document: JsonObject, key: str) -> str:
    """Return the text under `key`; an empty one if there is none or null."""
    return optional_text_in(document, key) or ""


def count_in(document: JsonObject, key: str) -> int:
    """Return the count under `key`; 0 if there is none, what stands there counts nothing, or nobody could count so far.

    What limits and journals are told has to fit into a float, and into the whole numbers of a database.
    """
    value: Any = document.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_COUNTED else 0
