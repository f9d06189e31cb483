"""What the architecture tests look at: the repository's files and the parsed modules of the product."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.source import Module
from tests.repository import ROOT, committed_files


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())


@pytest.fixture(scope="session")
def modules(root: Path) -> tuple[Module, ...]:
    return tuple(Module.parse(path, root) for path in sorted((root / "holdfast").rglob("*.py")))


@pytest.fixture(scope="session")
def committed(root: Path) -> tuple[Path, ...]:
    return committed_files()
