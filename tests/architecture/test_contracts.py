"""Each import contract is broken by the import that it is there to prevent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BROKEN_BY = {
    "a port that knows a rule": ("ports/clock.py", "holdfast.domain.deadline", "layers"),
    "a rule that knows an adapter": ("domain/deadline.py", "holdfast.adapters.system", "layers"),
    "an adapter that knows a rule": ("adapters/system/__init__.py", "holdfast.domain.deadline", "layers"),
    "an adapter that knows the application": ("adapters/system/__init__.py", "holdfast.application", "layers"),
    "an adapter that knows another": ("adapters/system/__init__.py", "holdfast.adapters.tenacity", "adapters"),
    "two files that know each other": ("ports/retrieval.py", "holdfast.ports.inference", "circles"),
}


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).with_name("lint-imports")
    env = os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(
        [linter, "--no-cache"], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def copy(tmp_path: Path, root: Path) -> Path:
    shutil.copytree(root / "holdfast", tmp_path / "holdfast", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.slow
def test_contracts_of_the_product_are_kept(copy: Path) -> None:
    outcome = _lint(copy)

    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.slow
@pytest.mark.parametrize("violation", BROKEN_BY)
def test_contract_is_broken_by(violation: str, copy: Path) -> None:
    file, imported, contract = BROKEN_BY[violation]
    with (copy / "holdfast" / file).open("a") as source:
        source.write(f"\nimport {imported}\n")

    broken = [line for line in _lint(copy).stdout.splitlines() if line.endswith("BROKEN")]

    assert any(line.startswith(contract) for line in broken), broken
