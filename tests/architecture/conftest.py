"""What the architecture tests look at: the repository's files and the parsed modules of the product."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.source import Module


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())


@pytest.fixture(scope="session")
def modules(root: Path) -> tuple[Module, ...]:
    return tuple(Module.parse(path, root) for path in sorted((root / "holdfast").rglob("*.py")))


@pytest.fixture(scope="session")
def committed(root: Path) -> tuple[Path, ...]:
    """Every file under version control, or about to be."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(path for line in listing.stdout.splitlines() if (path := root / line).is_file())
