"""The scripts that get real servers take what is there, and say in one line what keeps them from getting it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SERVERS = {"get-redis": "redis-server", "get-consul": "consul"}
TOOLS = ("awk", "bash", "cat", "chmod", "dirname", "head", "mkdir", "mktemp", "mv", "rm", "tr")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Give a PATH with no server on it, and no apt."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS:
        where = subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, text=True, check=True)
        (folder / name).symlink_to(where.stdout.strip())
    return folder


def _get(root: Path, script: str, into: Path, tools: Path) -> subprocess.CompletedProcess[str]:
    command = [str(root / "scripts" / script), str(into)]
    return subprocess.run(command, env={**os.environ, "PATH": str(tools)}, capture_output=True, text=True, check=False)


def _stand_in(path: Path, words: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{words}'\n")
    path.chmod(0o755)


@pytest.mark.parametrize(("script", "server"), SERVERS.items())
def test_server_that_is_installed_is_not_got(root: Path, tmp_path: Path, tools: Path, script: str, server: str) -> None:
    _stand_in(tools / server, "it runs")

    got = _get(root, script, tmp_path / "servers", tools)

    assert (got.returncode, got.stdout) == (0, f"{server}: {tools / server}\n")
    assert not (tmp_path / "servers").exists()


@pytest.mark.parametrize(("script", "server"), SERVERS.items())
def test_server_that_was_got_is_not_got_again(
    root: Path, tmp_path: Path, tools: Path, script: str, server: str
) -> None:
    _stand_in(tmp_path / "servers" / "bin" / server, "version 1")

    got = _get(root, script, tmp_path / "servers", tools)

    assert (got.returncode, got.stdout) == (0, f"{server}: version 1\n")


@pytest.mark.parametrize(("script", "package"), [("get-redis", "redis-server"), ("get-consul", "consul")])
def test_server_that_cannot_be_got_is_told_in_one_line_and_leaves_no_program(
    root: Path, tmp_path: Path, tools: Path, script: str, package: str
) -> None:
    got = _get(root, script, tmp_path / "servers", tools)

    assert got.returncode != 0
    assert got.stderr == f"unpack-debian: {package}: this is no Debian machine\n"
    assert not (tmp_path / "servers" / "bin").exists()
