"""A new batch overwrote a ``results.jsonl`` that lay in its output folder and was of no batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.application.program import Program
from holdfast.application.settings import ScriptedSettings, Settings
from holdfast.application.settings_sources import LoadedSettings
from holdfast.ports.batch import FAILURES_NAME, RESULTS_NAME
from holdfast.ports.errors import BatchInputError

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


@pytest.mark.parametrize("name", [RESULTS_NAME, FAILURES_NAME])
async def test_new_batch_where_a_file_of_that_name_lies_is_refused_and_leaves_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "in.jsonl").write_text('{"question": "why?"}\n')
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / name).write_text("mine\n")
    settings = Settings(backends={"canned": ScriptedSettings(kind="scripted")})
    program = Program(LoadedSettings(settings=settings, sources={}))

    with pytest.raises(BatchInputError, match=rf"{name}: exists and is of no batch"):
        async with program.open_batch(folder, notify=print) as batch:
            await batch.run(tmp_path / "in.jsonl")

    assert (folder / name).read_text() == "mine\n"
