"""Answers that are JSON as a schema describes it.

Responsibility: `OutputValidator` for JSON Schema, draft 2020-12.
Guarantees: a schema that is wrong, or refers to what is not in it, is refused when the validator is made; nothing is
    ever fetched; a problem is told in the schema's words, never the answer's.
Not responsible for: formats: as the draft says, ``format`` is a note and checks nothing; how long the schema takes.
    It comes from the settings and is trusted: a ``pattern`` may take time that doubles with each character, and
    ``uniqueItems`` compares objects in pairs. The text comes from a model and is not trusted, so it is bounded.
Sources: JSON Schema 2020-12, Core and Validation; RFC 6901 (JSON Pointer).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from holdfast.ports.errors import ConfigurationError
from holdfast.ports.output import MAX_CHECKED_CHARS, OutputValidator, read_json_answer

try:
    import jsonschema
    from jsonschema.protocols import Validator
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY, SchemaResource
except ImportError as error:
    raise ImportError(
        "holdfast.adapters.jsonschema needs jsonschema: pip install 'holdfast[jsonschema]'", name="jsonschema"
    ) from error

__all__ = ["JsonSchemaValidator"]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_REFERRING: Final = ("$ref", "$dynamicRef")

_MAX_PROBLEMS: Final = 3
"""What is told of one answer; enough for most repairs, and the rest is not even looked for."""

_MAX_EXPECTED_CHARS: Final = 100
"""What is told of a keyword's value, which may be a whole schema."""


class JsonSchemaValidator:
    """Wants JSON that is as a schema describes it.

    Args:
        name: how it is called.
        schema: of draft 2020-12; references lead to places within it.
        max_chars: an answer of more characters does not pass; default 100 000, unmeasured.

    Raises:
        ConfigurationError: if the schema is no valid one, is of another draft, or refers to what is not in it.

    Example:
        >>> validator = JsonSchemaValidator("order", {"properties": {"total": {"type": "integer", "minimum": 0}}})
        >>> validator.check('{"total": 42}') is None
        True
        >>> validator.check('{"total": -1}')
        'is not as the schema says at properties.total.minimum: 0'
    """

    def __init__(self, name: str, schema: Mapping[str, Any], *, max_chars: int = MAX_CHECKED_CHARS) -> None:
        path = f"validators.{name}.json_schema"
        declared = schema.get("$schema", _DIALECT)
        if declared != _DIALECT:
            raise ConfigurationError(f"must be of draft 2020-12, not {declared!r}", path=path)
        try:
            jsonschema.Draft202012Validator.check_schema(schema)
            lost = _lost_reference(DRAFT202012.create_resource(schema))
        except jsonschema.SchemaError as error:
            place = ".".join((path, *(str(part) for part in error.absolute_path)))
            raise ConfigurationError(f"is not as draft 2020-12 wants it: {error.message}", path=place) from error
        except (RecursionError, ValueError) as error:  # too deep, or an identifier that is none
            raise ConfigurationError(f"cannot be followed: {error}", path=path) from error
        if lost is not None:
            raise ConfigurationError(f"refers to {lost!r}, which is not in it; nothing is fetched", path=path)
        self._name = name
        self._max_chars = max_chars
        # With a registry of its own, because jsonschema's default one fetches what it does not find.
        self._validator: Validator = jsonschema.Draft202012Validator(schema, registry=EMPTY_REGISTRY)

    @property
    def name(self) -> str:
        """How it is called."""
        return self._name

    def check(self, text: str) -> str | None:
        """Return where the text does not follow the schema, or why it is no JSON; None if nothing is wrong."""
        try:
            value: Any = read_json_answer(text, max_chars=self._max_chars)
        except ValueError as error:
            return str(error)
        found = islice(self._validator.iter_errors(value), _MAX_PROBLEMS)
        problems = "; ".join(_told(error) for error in found)
        return f"is not as the schema says at {problems}" if problems else None


def _lost_reference(root: SchemaResource) -> str | None:
    # Through the subschemas only: what looks like a reference in an example or an enumeration is none.
    pending = [(root, EMPTY_REGISTRY.resolver_with_root(root))]
    while pending:
        resource, resolver = pending.pop()
        contents: Mapping[str, Any] = resource.contents if isinstance(resource.contents, Mapping) else {}
        for reference in (contents[keyword] for keyword in _REFERRING if keyword in contents):
            try:
                resolver.lookup(reference)
            except Unresolvable:
                return str(reference)
        pending += [(subschema, resolver.in_subresource(subschema)) for subschema in resource.subresources()]
    return None


def _told(error: jsonschema.ValidationError) -> str:
    place = ".".join(str(part) for part in error.absolute_schema_path)
    # A schema that is plain false has no keyword that would have failed.
    expected = json.dumps(False if error.schema is False else error.validator_value, default=str)
    shown = expected if len(expected) <= _MAX_EXPECTED_CHARS else f"{expected[: _MAX_EXPECTED_CHARS - 1]}…"
    return f"{place}: {shown}"


_: type[OutputValidator] = JsonSchemaValidator
