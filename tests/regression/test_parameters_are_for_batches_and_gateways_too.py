"""A batch and the gateway went by the settings without the store of parameters, while the service went by all."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.application.program import Program
from holdfast.application.settings_sources import load_settings
from holdfast.ports.errors import BatchChangedError

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


def program(folder: Path, parameters: str) -> Program:
    (folder / "parameters.toml").write_text(parameters)
    return Program(load_settings(folder, {"parameters": {"kind": "toml", "path": str(folder / "parameters.toml")}}))


async def run(program: Program, folder: Path) -> None:
    (folder / "in.jsonl").write_text('{"question": "why?"}\n')
    async with program.open_batch(folder / "out", notify=print) as batch:
        await batch.run(folder / "in.jsonl")


async def test_batch_whose_answers_parameters_change_is_not_resumed(tmp_path: Path) -> None:
    canned = '[backends.canned]\nkind = "scripted"\nreply = "{}"\n'
    await run(program(tmp_path, canned.format("because")), tmp_path)

    with pytest.raises(BatchChangedError):
        await run(program(tmp_path, canned.format("why not")), tmp_path)


async def test_batch_whose_answers_parameters_leave_alone_is_resumed(tmp_path: Path) -> None:
    for timeout_s in (5, 6):
        await run(program(tmp_path, f"timeout_s = {timeout_s}\n"), tmp_path)

    summary = await program(tmp_path, "").batch_summary(tmp_path / "out")
    assert (summary.items, summary.answered) == (1, 1)


async def test_gateway_is_served_by_the_parameters_that_the_service_has_read(tmp_path: Path) -> None:
    parameters = (
        'max_request_bytes = 5000\nprompts.short = "Be brief."\npersonas.terse = {prompt = "short"}\n'
        "[gateway]\ndrain_timeout_s = 7.0\n"
    )
    serving = program(tmp_path, parameters)

    async with serving.open_service(notify=print):
        options = serving.gateway_options()

    assert (options.drain_timeout_s, options.personas, options.max_body_bytes) == (7.0, ("terse",), 4 * 5000)


async def test_program_takes_parameters_between_its_files_and_its_arguments(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text("max_request_bytes = 4000\ngateway.port = 4000\n")
    (tmp_path / "parameters.toml").write_text("max_request_bytes = 5000\ngateway.port = 5000\n")
    parameters = {"kind": "toml", "path": str(tmp_path / "parameters.toml")}
    serving = Program(load_settings(tmp_path, {"parameters": parameters, "gateway": {"port": 6000}}))

    async with serving.open_service(notify=print):
        options = serving.gateway_options()

    assert (options.max_body_bytes, options.port) == (4 * 5000, 6000)
