from __future__ import annotations

from holdfast.adapters.jsonschema import JsonSchemaValidator
from holdfast.domain.pattern import Pattern
from holdfast.domain.required_fields import RequiredFields
from holdfast.ports.output import OutputValidator
from holdfast.testing.contracts.output import OutputValidatorContract


class TestRequiredFields(OutputValidatorContract):
    def make_validator(self, name: str) -> OutputValidator:
        return RequiredFields(name=name, fields=("id", "order.total"))

    def good_text(self) -> str:
        return '{"id": 7, "order": {"total": null}}'

    def bad_text(self, marker: str) -> str:
        return f'{{"id": 7, "order": {{"{marker}": 1}}}}'


class TestRequiredFieldsOfWhatIsNoJson(TestRequiredFields):
    def bad_text(self, marker: str) -> str:
        return f'{{"id": "\\{marker}"}}'


class TestPatternThatMustMatch(OutputValidatorContract):
    def make_validator(self, name: str) -> OutputValidator:
        return Pattern(name=name, must_match=r"\[\w+\]")

    def good_text(self) -> str:
        return "It is 42 [guide]."

    def bad_text(self, marker: str) -> str:
        return f"It is {marker}."


class TestPatternThatMustNotMatch(OutputValidatorContract):
    def make_validator(self, name: str) -> OutputValidator:
        return Pattern(name=name, must_not_match=r"(?i)as an AI|-\d{4}")

    def good_text(self) -> str:
        return "It is 42."

    def bad_text(self, marker: str) -> str:
        return f"It is {marker}."


class TestJsonSchemaValidator(OutputValidatorContract):
    def make_validator(self, name: str) -> OutputValidator:
        return JsonSchemaValidator(
            name,
            {
                "type": "object",
                "properties": {"total": {"type": "integer"}, "parts": {"type": "array", "items": {"$ref": "#"}}},
                "required": ["total"],
                "additionalProperties": False,
            },
        )

    def good_text(self) -> str:
        return '{"total": 42, "parts": [{"total": 1}]}'

    def bad_text(self, marker: str) -> str:
        return f'{{"total": "{marker}", "{marker}": 1, "parts": [{{"total": "{marker}"}}, "{marker}"]}}'


class TestJsonSchemaValidatorThatDescendsIntoAnything(OutputValidatorContract):
    def make_validator(self, name: str) -> OutputValidator:
        return JsonSchemaValidator(
            name,
            {
                "anyOf": [
                    {"type": "object", "additionalProperties": {"$ref": "#"}},
                    {"type": "array", "items": {"$ref": "#"}},
                    {"type": "number", "multipleOf": 0.5},
                ]
            },
        )

    def good_text(self) -> str:
        return '{"a": ' * 60 + "[1.5]" + "}" * 60

    def bad_text(self, marker: str) -> str:
        return '{"a": ' * 60 + f'["{marker}"]' + "}" * 60
