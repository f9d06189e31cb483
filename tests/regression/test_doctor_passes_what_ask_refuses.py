"""The doctor found nothing wrong with personas and validators with which the service did not open."""

from __future__ import annotations

import pytest

from holdfast.application.program import Program
from holdfast.application.settings import Settings
from holdfast.application.settings_sources import LoadedSettings
from holdfast.ports.application import Check
from holdfast.ports.errors import ConfigurationError

pytestmark = pytest.mark.anyio

PROMPTS = {"short": "Be brief."}


async def check_of(program: Program, name: str) -> Check:
    return next(check for check in (await program.diagnose()).checks if check.name == name)


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("validators", {"validators": {"v": {"kind": "pattern", "must_match": "("}}}, "validators.v.must_match: "),
        ("personas", {"prompts": PROMPTS, "personas": {"off": {"prompt": "short"}}}, "personas.off: is a command"),
    ],
)
async def test_diagnose_of_what_the_service_refuses_fails_with_the_same_words(
    name: str, given: dict[str, object], told: str
) -> None:
    program = Program(LoadedSettings(settings=Settings.model_validate(given), sources={}))

    check = await check_of(program, name)

    assert not check.passed
    assert check.detail.startswith(told)
    with pytest.raises(ConfigurationError) as refused:
        async with program.open_service(notify=print):
            pass
    assert str(refused.value) == check.detail


async def test_diagnose_of_personas_and_validators_that_can_be_made_names_them() -> None:
    given = {
        "prompts": PROMPTS,
        "personas": {"brief": {"prompt": "short"}, "terse": {"prompt": "short"}},
        "validators": {"v": {"kind": "pattern", "must_match": "a"}},
    }
    program = Program(LoadedSettings(settings=Settings.model_validate(given), sources={}))

    personas, validators = await check_of(program, "personas"), await check_of(program, "validators")

    assert (personas.passed, personas.detail) == (True, "ready: brief, terse")
    assert (validators.passed, validators.detail) == (True, "ready: v")
