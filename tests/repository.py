"""The repository that the tests about it look at."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["ROOT", "committed_files"]

ROOT = Path(__file__).parents[1]


def committed_files() -> tuple[Path, ...]:
    """Return every file that is under version control or about to be."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(path for line in listing.stdout.splitlines() if (path := ROOT / line).is_file())
