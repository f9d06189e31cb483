"""How personas and the validators of answers are written in the settings, and made from them.

Responsibility: the sections ``personas`` and ``validators``, and the personas and validators that they describe.
Guarantees: whatever is made has passed the checks of its own class, under the path at which it is written; the driver
    of a validator is loaded only when one of that kind is made.
Not responsible for: whether a persona names what there is: see `holdfast.application.consistency`.

    [prompts]
    allocator = "You know allocators. Answer as JSON."

    [personas.memory]
    prompt = "allocator"
    triggers = ["memory", "leak"]
    parameters = { temperature = 0, response_format = "json" }
    allowed_parameters = ["max_tokens"]
    validators = ["finding"]

    [validators.finding]
    kind = "required_fields"
    fields = ["cause", "fix.patch"]
    action = "repair"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, assert_never

from pydantic import Field

from holdfast.application.section import Section
from holdfast.domain.output_judge import OutputAction, OutputRule
from holdfast.domain.pattern import Pattern
from holdfast.domain.persona import PARAMETER_NAMES, Persona, PersonaBook
from holdfast.domain.required_fields import RequiredFields
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.inference import Parameters
from holdfast.ports.output import MAX_CHECKED_CHARS, OutputValidator

__all__ = [
    "JsonSchemaSettings",
    "PatternSettings",
    "PersonaSettings",
    "RequiredFieldsSettings",
    "ValidatorSettings",
    "make_book",
    "make_rules",
]


class PersonaSettings(Section):
    """Instructions under a name, which a request chooses by that name, by a command, or by its words.

    Args:
        prompt: name of the instructions, in ``prompts``.
        triggers: words that recommend this persona when a question holds them; default none.
        parameters: taken where the request sets none; default none.
        allowed_parameters: parameters that a request may set itself; default all.
        validators: names of those in ``validators`` that check the answers of this persona, beside those that check
            every answer because no persona names them; default none.
    """

    prompt: str
    triggers: tuple[str, ...] = ()
    parameters: Parameters = Parameters()
    allowed_parameters: tuple[str, ...] = PARAMETER_NAMES
    validators: tuple[str, ...] = ()


class _ValidatorSettings(Section):
    """What all validators have in common.

    Args:
        action: what follows when an answer does not pass: ``reject``, the default, ``repair`` or ``mark``.
        max_chars: an answer of more characters does not pass; default 100 000, unmeasured.
    """

    action: OutputAction = OutputAction.REJECT
    max_chars: int = Field(default=MAX_CHECKED_CHARS, ge=1)


class RequiredFieldsSettings(_ValidatorSettings):
    """Wants a JSON object with certain fields.

    Args:
        fields: each a key, or a dotted path through objects.
    """

    kind: Literal["required_fields"]
    fields: tuple[str, ...]


class JsonSchemaSettings(_ValidatorSettings):
    """Wants JSON as a schema describes it; needs the extra ``jsonschema``.

    Args:
        json_schema: of draft 2020-12, with no reference to what is not in it.
    """

    kind: Literal["json_schema"]
    json_schema: dict[str, Any]


class PatternSettings(_ValidatorSettings):
    """Wants an answer in which a pattern is found, or is not.

    Args:
        must_match: a regular expression that has to be found; default none.
        must_not_match: one that must not be found; default none.
        explanation: what to say of an answer that does not pass, following on "The answer"; default the pattern.
    """

    kind: Literal["pattern"]
    must_match: str | None = None
    must_not_match: str | None = None
    explanation: str | None = None


ValidatorSettings = Annotated[
    RequiredFieldsSettings | JsonSchemaSettings | PatternSettings, Field(discriminator="kind")
]
"""One validator of answers, by its kind."""


def make_book(prompts: Mapping[str, str], personas: Mapping[str, PersonaSettings]) -> PersonaBook:
    """Return the personas; every prompt that one names is there.

    Raises:
        ConfigurationError: if a persona could not work.
    """
    return PersonaBook(
        Persona(
            name=name,
            prompt=prompts[persona.prompt],
            triggers=persona.triggers,
            parameters=persona.parameters,
            allowed_parameters=frozenset(persona.allowed_parameters),
        )
        for name, persona in personas.items()
    )


def make_rules(validators: Mapping[str, ValidatorSettings]) -> tuple[OutputRule, ...]:
    """Return the validators in their order, each with what follows.

    Raises:
        ConfigurationError: if a validator could not work, or its driver is not installed.
    """
    return tuple(
        OutputRule(validator=_make_validator(name, chosen), action=chosen.action) for name, chosen in validators.items()
    )


def _make_validator(
    name: str, chosen: RequiredFieldsSettings | JsonSchemaSettings | PatternSettings
) -> OutputValidator:
    match chosen:
        case RequiredFieldsSettings():
            return RequiredFields(name=name, fields=chosen.fields, max_chars=chosen.max_chars)
        case JsonSchemaSettings():
            try:
                from holdfast.adapters.jsonschema import JsonSchemaValidator  # noqa: PLC0415 - loaded when it is chosen
            except ImportError as error:
                raise ConfigurationError(str(error), path=f"validators.{name}.kind") from error

            return JsonSchemaValidator(name, chosen.json_schema, max_chars=chosen.max_chars)
        case PatternSettings():
            return Pattern(
                name=name,
                must_match=chosen.must_match,
                must_not_match=chosen.must_not_match,
                explanation=chosen.explanation,
                max_chars=chosen.max_chars,
            )
        case _:
            assert_never(chosen)
