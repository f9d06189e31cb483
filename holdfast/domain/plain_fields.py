"""The fields of a JSON object, each of the type that it must have.

Responsibility: take one field after the other out of what was read as JSON.
Guarantees: every field is there once and of its type; a truth value is no number; no number is below zero; nothing but
    `ValueError` is raised, and its message repeats nothing of what was read.
Not responsible for: reading JSON: see `holdfast.domain.strict_json`.
"""

from __future__ import annotations

from typing import cast

__all__ = ["PlainFields"]


class PlainFields:
    """One object; `end` says that every field was taken.

    Args:
        value: what was read.

    Raises:
        ValueError: if it is no object.

    Example:
        >>> fields = PlainFields({"name": "a", "size": 3})
        >>> fields.text("name"), fields.count("size")
        ('a', 3)
        >>> fields.end()
    """

    __slots__ = ("_left",)

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise ValueError("no object")  # noqa: TRY004 - what was read is wrong, not the call
        self._left = cast("dict[str, object]", value).copy()  # JSON has no other keys

    def text(self, name: str) -> str:
        """Take a text."""
        value = self._take(name)
        if not isinstance(value, str):
            raise _wrong(name, "no text")
        return value

    def text_or_none(self, name: str) -> str | None:
        """Take a text, or null."""
        return None if self.is_null(name) else self.text(name)

    def count(self, name: str) -> int:
        """Take a whole number."""
        value = self._take(name)
        if type(value) is not int or value < 0:
            raise _wrong(name, "no count")
        return value

    def number(self, name: str) -> float:
        """Take a number, whole or not."""
        value = self._take(name)
        if type(value) not in {int, float} or cast("float", value) < 0:
            raise _wrong(name, "no number from 0 on")
        return float(cast("float", value))

    def truth(self, name: str) -> bool:
        """Take a truth value."""
        value = self._take(name)
        if not isinstance(value, bool):
            raise _wrong(name, "neither true nor false")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Take a list of texts."""
        return _texts(name, self._take(name))

    def rows(self, name: str, *, length: int) -> list[tuple[str, ...]]:
        """Take a list of lists of `length` texts each."""
        rows = [_texts(name, row) for row in _list(name, self._take(name))]
        if any(len(row) != length for row in rows):
            raise _wrong(name, f"not of {length} texts each")
        return rows

    def is_null(self, name: str) -> bool:
        """Take the field if it is null, and return whether it was; otherwise it is left to be taken."""
        if name in self._left and self._left[name] is None:
            del self._left[name]
            return True
        return False

    def inner(self, name: str) -> PlainFields:
        """Take an object."""
        return PlainFields(self._take(name))

    def has(self, name: str) -> bool:
        """Return whether the field is there and was not taken."""
        return name in self._left

    def end(self) -> None:
        """Raise unless every field was taken."""
        if self._left:
            raise ValueError("a field that is not known")

    def _take(self, name: str) -> object:
        if name not in self._left:
            raise _wrong(name, "not there")
        return self._left.pop(name)


def _list(name: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise _wrong(name, "no list")
    return cast("list[object]", value)


def _texts(name: str, value: object) -> tuple[str, ...]:
    texts = tuple(item for item in _list(name, value) if isinstance(item, str))
    if len(texts) != len(cast("list[object]", value)):
        raise _wrong(name, "not of texts alone")
    return texts


def _wrong(name: str, what: str) -> ValueError:
    return ValueError(f"{name} is {what}")
