"""What OpenAPI tells of a request that is read by hand.

Responsibility: its body, whole and in one place, so that a router brings it along into any application; its headers.
Guarantees: no reference is left in it.
Not responsible for: the other parts of the document: FastAPI writes them.
Source: OpenAPI 3.1, "Request Body Object" and "Parameter Object".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

__all__ = ["body_schema", "header_schema"]

_PREFIX: Final = "#/$defs/"
_MAPPING: Final = "discriminator"  # names definitions, and adds nothing to what each alternative says


def body_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the part of an operation that says what its body is like; `kind` must not hold itself."""
    schema = kind.model_json_schema()
    definitions: Mapping[str, Any] = schema.pop("$defs", {})
    whole = _without_references(schema, definitions)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": whole}}}}


def header_schema(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the part of an operation that says which headers it heeds, by what each says."""
    return {
        "parameters": [
            {"name": name, "in": "header", "description": says, "schema": {"type": "string"}}
            for name, says in headers.items()
        ]
    }


def _without_references(schema: Any, definitions: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any part of a document
    match schema:
        case {"$ref": str() as reference, **rest}:
            whole = _without_references(definitions[reference.removeprefix(_PREFIX)], definitions)
            return {**whole, **rest}
        case {**parts}:
            return {key: _without_references(part, definitions) for key, part in parts.items() if key != _MAPPING}
        case [*items]:
            return [_without_references(item, definitions) for item in items]
        case _:
            return schema
