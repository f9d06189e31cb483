"""The program tells its user what could not be asked when a service was opened, and is done without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdfast.application.program import Program
from holdfast.application.settings_sources import load_settings

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

FOLLOWED = {"gpu": {"kind": "openai", "service": "llm"}, "cpu": {"kind": "openai", "service": "slow"}}


def program(tmp_path: Path, **given: Any) -> Program:  # noqa: ANN401 - any setting
    return Program(load_settings(tmp_path, given))


@pytest.fixture
def file(tmp_path: Path) -> str:
    """In the way of a folder, and no database."""
    path = tmp_path / "file"
    path.write_text("neither\n" * 100)
    return str(path)


async def told_by_service(program: Program, _: Path) -> list[str]:
    told = list[str]()
    async with program.open_service(notify=told.append):
        return told


async def told_by_batch(program: Program, folder: Path) -> list[str]:
    told = list[str]()
    async with program.open_batch(folder, notify=told.append):
        return told


@pytest.mark.parametrize("opened", [told_by_service, told_by_batch])
async def test_open_with_a_registry_that_cannot_be_asked_names_the_services_that_are_left_out(
    opened: Any,  # noqa: ANN401 - one of the two above
    tmp_path: Path,
    file: str,
) -> None:
    told = await opened(program(tmp_path, registry={"kind": "file", "path": file}, backends=FOLLOWED), tmp_path)

    assert told == ["the registry cannot be asked for 'llm', 'slow'; left out until it can, see holdfast doctor"]


@pytest.mark.parametrize("opened", [told_by_service, told_by_batch])
async def test_open_with_a_shared_store_that_cannot_be_asked_names_it(
    opened: Any,  # noqa: ANN401 - as above
    tmp_path: Path,
    file: str,
) -> None:
    told = await opened(program(tmp_path, shared={"kind": "sqlite", "database": file}), tmp_path)

    assert told == ["sqlite cannot be asked; nothing is shared until it can, see holdfast doctor"]


@pytest.mark.parametrize("opened", [told_by_service, told_by_batch])
async def test_open_with_parameters_that_cannot_be_read_says_so(
    opened: Any,  # noqa: ANN401 - as above
    tmp_path: Path,
) -> None:
    parameters = {"kind": "consul", "address": "http://127.0.0.1:1"}

    told = await opened(program(tmp_path, parameters=parameters), tmp_path)

    assert told == ["the parameters cannot be read; the other settings hold until they can, see holdfast doctor"]


async def test_open_service_with_parameters_that_are_none_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "parameters.toml").write_text("")
    parameters = {"kind": "toml", "path": str(tmp_path / "parameters.toml")}

    assert await told_by_service(program(tmp_path, parameters=parameters), tmp_path) == []


async def test_open_service_that_can_ask_everything_tells_nothing(tmp_path: Path) -> None:
    registry = {"kind": "file", "path": str(tmp_path / "registry")}
    shared = {"kind": "sqlite", "database": str(tmp_path / "shared.sqlite")}

    told = await told_by_service(program(tmp_path, registry=registry, shared=shared, backends=FOLLOWED), tmp_path)

    assert told == []


async def test_open_service_that_asks_nobody_tells_nothing(tmp_path: Path) -> None:
    assert await told_by_service(program(tmp_path), tmp_path) == []
