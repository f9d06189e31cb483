"""The program tells its user what could not be asked when a service was opened, and is done without."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from holdfast.application.program import Program
from holdfast.application.settings_sources import load_settings
from holdfast.ports.service import Service
from holdfast.ports.statistics import RegistrationStatistics

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

OWN = {"service": "asks", "host": "10.0.0.7", "port": 8080}
FOLLOWED = {"gpu": {"kind": "openai", "service": "llm"}, "cpu": {"kind": "openai", "service": "slow"}}


def program(tmp_path: Path, **given: Any) -> Program:  # noqa: ANN401 - any setting
    return Program(load_settings(tmp_path, given))


def registration(service: Service) -> RegistrationStatistics:
    registry = service.health().registry
    assert registry is not None
    assert registry.registration is not None
    return registry.registration


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - of a registry, which sets no event
            await anyio.sleep(0.001)


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


async def test_open_service_that_the_registry_cannot_be_told_of_says_so_once_it_is_reachable(
    tmp_path: Path, file: str
) -> None:
    told, listening = list[str](), anyio.Event()
    registry = {"kind": "file", "path": file, "registration": {**OWN, "ttl_s": 0.03}}

    async with program(tmp_path, registry=registry).open_service(notify=told.append, reachable=listening.wait) as open_:
        await anyio.sleep(0.05)
        before = list(told)
        listening.set()
        await until(lambda: registration(open_).failed >= 3)

    assert before == []
    assert told == [
        "the registry cannot be told of this process, which nobody finds there until it can, see holdfast doctor"
    ]


async def test_open_service_that_was_registered_tells_nothing_when_the_registry_goes_away(tmp_path: Path) -> None:
    told = list[str]()
    folder = tmp_path / "registry"
    registry = {"kind": "file", "path": str(folder), "registration": {**OWN, "ttl_s": 0.03}}

    async with program(tmp_path, registry=registry).open_service(notify=told.append, reachable=checkpoint) as open_:
        await until(lambda: registration(open_).registered > 0)
        shutil.rmtree(folder)
        folder.write_text("")
        await until(lambda: registration(open_).failed > 0)

    assert told == []


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
