"""What must be in no committed file: where packages come from, where this was written, and secrets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LOCK_FILES = {
    *("Pipfile.lock", "package-lock.json", "pdm.lock", "pixi.lock", "poetry.lock", "pylock.toml", "uv.lock"),
    *("conda-lock.yml", "npm-shrinkwrap.json", "pnpm-lock.yaml", "yarn.lock"),
}

# Each pattern is written so that it does not match itself.
FORBIDDEN = {
    "registry of packages": r"py[p]i\.org|python[h]osted|registry\.[n]pmjs|deb\.[d]ebian|--(extra-)?index-ur[l]",
    "path of one machine": r"(?<![\w./*~-])/(?:[r]oot|[h]ome|[w]ork|[U]sers)/\w",
    "private key": r"-----BEGIN [A-Z ]*PRIVATE[ ]KEY",
}


def test_no_lock_file_is_committed(committed: tuple[Path, ...]) -> None:
    assert [path.name for path in committed if path.name in LOCK_FILES or path.match("pylock.*.toml")] == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_committed_file_holds(what: str, committed: tuple[Path, ...], root: Path) -> None:
    pattern = re.compile(FORBIDDEN[what])
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()[:80]}"
        for path in committed
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]

    assert found == []
