from __future__ import annotations

import socket
from typing import Any

import pytest

from holdfast.adapters.jsonschema import JsonSchemaValidator
from holdfast.ports.errors import ConfigurationError

TREE = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$defs": {"leaf": {"$anchor": "leaf", "type": "integer", "minimum": 0}},
    "type": "object",
    "properties": {"value": {"$ref": "#/$defs/leaf"}, "next": {"$ref": "#"}, "other": {"$ref": "#leaf"}},
    "required": ["value"],
}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"value": 1, "next": {"value": 2, "other": 3}}', None),
        ("[]", 'is not as the schema says at type: "object"'),
        ("{}", 'is not as the schema says at required: ["value"]'),
        ('{"value": -1}', "is not as the schema says at properties.value.minimum: 0"),
        ('{"value": 1, "next": {}}', 'is not as the schema says at properties.next.required: ["value"]'),
        ("{'value': 1}", "is no JSON from line 1, column 2 on"),
    ],
)
def test_check_tells_where_the_schema_is_not_followed_in_the_words_of_the_schema(
    text: str, problem: str | None
) -> None:
    assert JsonSchemaValidator("tree", TREE).check(text) == problem


def test_check_of_several_problems_tells_each() -> None:
    assert JsonSchemaValidator("tree", TREE).check('{"value": 1, "next": {"value": "x"}, "other": -1}') == (
        'is not as the schema says at properties.next.properties.value.type: "integer"; properties.other.minimum: 0'
    )


def test_check_of_many_problems_tells_the_first_three() -> None:
    validator = JsonSchemaValidator("numbers", {"items": {"type": "number"}})

    assert validator.check('["a", "b", "c", "d"]') == (
        'is not as the schema says at items.type: "number"; items.type: "number"; items.type: "number"'
    )


def test_check_against_a_long_keyword_shortens_it() -> None:
    problem = JsonSchemaValidator("one", {"enum": ["x" * 500]}).check('"y"')

    assert problem is not None
    assert len(problem) < 200
    assert problem.endswith("…")


@pytest.mark.parametrize(
    ("schema", "text", "problem"),
    [
        ({"properties": {"secret": False}}, '{"secret": 1}', "is not as the schema says at properties: false"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "1", 'at anyOf: [{"type": "string"}, {"type": "null"}]'),
        ({"multipleOf": 0.1}, "1e308", "at multipleOf: 0.1"),
        ({"multipleOf": 7}, "1" + "0" * 300, "at multipleOf: 7"),
        ({"multipleOf": 1e-300}, "1e300", "at multipleOf: 1e-300"),
        ({"uniqueItems": True}, "[{}, {}]", "at uniqueItems: true"),
        ({"format": "email"}, '"no address"', None),
        ({"pattern": "^a+$"}, '"b"', 'at pattern: "^a+$"'),
        ({"additionalProperties": False}, '{"a": 1}', "at additionalProperties: false"),
        ({"enum": ["never", {"$ref": "http://nowhere.invalid/x"}]}, '"never"', None),
        ({"properties": {"$ref": {"type": "integer"}}}, '{"$ref": 1}', None),
        ({"$dynamicRef": "#n", "$defs": {"n": {"$dynamicAnchor": "n", "type": "null"}}}, "1", 'type: "null"'),
    ],
)
def test_check_of_each_kind_of_schema(schema: dict[str, Any], text: str, problem: str | None) -> None:
    found = JsonSchemaValidator("any", schema).check(text)

    assert found == problem if problem is None else problem in (found or "")


def test_check_text_beyond_the_bound_is_not_read() -> None:
    validator = JsonSchemaValidator("short", {}, max_chars=3)

    assert validator.check("123") is None
    assert validator.check("1234") == "has more than the 3 characters that are checked"


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "nonsense"}, r"^validators\.x\.json_schema\.type: is not as draft 2020-12 wants it: "),
        (
            {"properties": {"a": {"minimum": "1"}}},
            r"^validators\.x\.json_schema\.properties\.a\.minimum: is not as draft 2020-12 wants it: ",
        ),
        ({"pattern": "("}, r"^validators\.x\.json_schema\.pattern: is not as draft 2020-12 wants it: "),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#"},
            r"^validators\.x\.json_schema: must be of draft 2020-12, not 'http://json-schema\.org/draft-07/schema#'$",
        ),
        ({"$ref": "#/$defs/gone"}, r"^validators\.x\.json_schema: refers to '#/\$defs/gone', which is not in it; "),
        ({"$ref": "#gone"}, r"^validators\.x\.json_schema: refers to '#gone', which is not in it; nothing is fetched$"),
        (
            {"items": {"$ref": "other.json"}},
            r"^validators\.x\.json_schema: refers to 'other\.json', which is not in it",
        ),
        (
            {"allOf": [{"$ref": "https://schemas.invalid/order"}]},
            r"^validators\.x\.json_schema: refers to 'https://schemas\.invalid/order', which is not in it; nothing is",
        ),
        ({"$ref": "file:///etc/hosts"}, r"^validators\.x\.json_schema: refers to 'file:///etc/hosts', which is not"),
        ({"$id": "http://[", "items": {"$id": "x"}}, r"^validators\.x\.json_schema: cannot be followed: "),
    ],
)
def test_schema_that_is_wrong_is_refused_with_its_path(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        JsonSchemaValidator("x", schema)


def test_schema_too_deep_to_be_checked_is_refused() -> None:
    schema: dict[str, Any] = {}
    inner = schema
    for _ in range(3000):
        inner["items"] = {}
        inner = inner["items"]

    with pytest.raises(ConfigurationError, match=r"^validators\.x\.json_schema: cannot be followed: "):
        JsonSchemaValidator("x", schema)


def test_schema_with_a_reference_to_elsewhere_opens_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr(socket, "create_connection", lambda *args, **_: opened.append(args))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: opened.append(args))

    with pytest.raises(ConfigurationError):
        JsonSchemaValidator("x", {"$ref": "http://127.0.0.1/schema"})

    assert opened == []
