"""Answers that are JSON objects with certain fields.

Responsibility: `OutputValidator` for fields that must be there.
Guarantees: as `holdfast.ports.output.read_json_answer` for any text.
Not responsible for: what is in a field; the adapter `holdfast.adapters.jsonschema` checks that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

from holdfast.domain.validation import require, require_at_least
from holdfast.ports.output import MAX_CHECKED_CHARS, OutputValidator, read_json_answer

__all__ = ["RequiredFields"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredFields:
    """Wants a JSON object that has every one of `fields`, with whatever value, null included.

    Args:
        name: how it is called.
        fields: each a key, or a dotted path through objects, such as ``order.total``; at least one.
        max_chars: an answer of more characters does not pass; default 100 000, unmeasured.

    Raises:
        ConfigurationError: if there is no field, one is not such a path, or `max_chars` is below 1.

    Example:
        >>> validator = RequiredFields(name="order", fields=("id", "order.total"))
        >>> validator.check('{"id": 7, "order": {}}')
        "lacks the field 'order.total'"
    """

    name: str
    fields: tuple[str, ...]
    max_chars: int = MAX_CHECKED_CHARS

    def __post_init__(self) -> None:
        path = f"validators.{self.name}"
        require(bool(self.fields), "name at least one field", path=f"{path}.fields")
        for field in self.fields:
            require(all(field.split(".")), f"{field!r} is no dotted path", path=f"{path}.fields")
        require_at_least(f"{path}.max_chars", self.max_chars, 1)

    def check(self, text: str) -> str | None:
        """Return which fields are not there, or why the text is no JSON object; None if nothing is wrong."""
        try:
            value = read_json_answer(text, max_chars=self.max_chars)
        except ValueError as error:
            return str(error)
        if not _is_object(value):
            return "is no JSON object"
        missing = [repr(field) for field in self.fields if not _has(value, field)]
        if not missing:
            return None
        return f"lacks the field{'s' if len(missing) > 1 else ''} {', '.join(missing)}"


def _has(value: object, path: str) -> bool:
    for key in path.split("."):
        if not _is_object(value) or key not in value:
            return False
        value = value[key]
    return True


def _is_object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


_: type[OutputValidator] = RequiredFields
