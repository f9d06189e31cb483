"""What choosing a persona and checking an answer cost, apart and on the wired path."""

from __future__ import annotations

import itertools
import json
import sys

import anyio
from harness import Row, measure, measure_async, report

from holdfast import Completion, Message, Prompt, Request, Role, Settings, open_orchestrator
from holdfast.adapters.jsonschema import JsonSchemaValidator
from holdfast.domain import Pattern, Persona, PersonaBook, RequiredFields, read_message
from holdfast.domain.persona import MAX_RECOGNISED_CHARS

_WORDS = "why does a service that answers questions get slower every day although nobody asks it anything new"
_QUESTION = f"{_WORDS} and where does the memory go?"  # 128 characters
_LONG = f"{_WORDS} " * (2 * MAX_RECOGNISED_CHARS // len(_WORDS))
_PERSONAS = {
    f"p{number}": {"prompt": "brief", "triggers": [f"trigger{number}{letter}" for letter in "abcde"]}
    for number in range(20)
}
_ANSWER = json.dumps({"total": 42, "parts": [{"name": f"part {number}", "price": number} for number in range(50)]})
_SCHEMA = {
    "type": "object",
    "required": ["total", "parts"],
    "properties": {
        "total": {"type": "number"},
        "parts": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "price"],
                "properties": {"name": {"type": "string"}, "price": {"type": "number"}},
            },
        },
    },
}


class _Echo:
    async def complete(self, prompt: Prompt) -> Completion:
        del prompt  # the same answer to everything
        return Completion(text=_ANSWER, model="echo-1")


def _choosing() -> list[Row]:
    book = PersonaBook(
        [
            *(Persona(name=name, prompt="Be brief.", triggers=tuple(of["triggers"])) for name, of in _PERSONAS.items()),
            Persona(name="memory", prompt="You know allocators.", triggers=("memory",)),
        ]
    )
    return [
        measure("read an ordinary message of 128 characters", lambda: read_message(_QUESTION)),
        measure("read a message with a command", lambda: read_message(f"/expert memory {_QUESTION}")),
        measure("recognise, 21 personas, 128 characters", lambda: book.recognised(_QUESTION)),
        measure("recognise, 21 personas, 20 000 characters", lambda: book.recognised(_LONG), calls=100),
    ]


def _checking() -> list[Row]:
    fields = RequiredFields(name="fields", fields=("total", "parts"))
    pattern = Pattern(name="pattern", must_match=r"\btotal\b", must_not_match=r"(?i)as an ai")
    schema = JsonSchemaValidator("schema", _SCHEMA)
    size = len(_ANSWER)
    return [
        measure(f"required fields, an answer of {size} characters", lambda: fields.check(_ANSWER), calls=500),
        measure(f"two patterns, an answer of {size} characters", lambda: pattern.check(_ANSWER), calls=500),
        measure(f"JSON schema, an answer of {size} characters", lambda: schema.check(_ANSWER), calls=50),
    ]


async def _path(title: str, settings: Settings) -> Row:
    numbers = itertools.count()
    async with open_orchestrator(settings, backends={"echo": _Echo()}) as service:

        async def submit() -> None:
            question = f"{_WORDS} {next(numbers)}"
            await service.submit(Request(messages=(Message(role=Role.USER, content=question),)))

        return await measure_async(title, submit)


async def _paths() -> list[Row]:
    prompts = {"brief": "Be brief."}
    validators = {"fields": {"kind": "required_fields", "fields": ["total"]}}
    return [
        await _path("submit, neither personas nor validators", Settings()),
        await _path(
            "submit, 20 personas, none recognised",
            Settings.model_validate({"prompts": prompts, "personas": _PERSONAS}),
        ),
        await _path("submit, required fields checked", Settings.model_validate({"validators": validators})),
    ]


def main() -> bool:
    """Print the tables; the paths have no budget of their own."""
    packages = ("anyio", "jsonschema")
    return all(
        [
            report("Choosing a persona", _choosing(), packages=packages),
            report("Checking an answer", _checking(), packages=packages),
            report("The wired path, echo backend, asyncio", anyio.run(_paths), packages=packages),
        ]
    )


if __name__ == "__main__":
    sys.exit(not main())
