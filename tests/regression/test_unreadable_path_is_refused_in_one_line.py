"""A path without permission used to be refused by the option parser, in four lines, before the application saw it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holdfast.adapters.cli import build_app
from holdfast.ports.errors import BatchInputError
from tests.fakes.application import FakeApplication


@pytest.mark.parametrize("arguments", [("run", "here", "--out", "here"), ("status", "here")])
def test_unreadable_path_is_left_to_the_application_to_refuse(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").touch()
    # As `chmod 000` does for everyone but root, as whom tests may run.
    monkeypatch.setattr(os, "access", lambda *_, **__: False)

    def load(_: object) -> FakeApplication:
        raise BatchInputError("the input cannot be read (Permission denied)", path="here")

    outcome = CliRunner().invoke(build_app(load), arguments)

    assert outcome.exit_code == 2
    assert outcome.stderr == "holdfast: here: the input cannot be read (Permission denied)\n"
