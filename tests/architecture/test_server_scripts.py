"""The scripts that get real servers take what is there, and say in one line what keeps them from getting it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SERVERS = {"get-redis": "bin/redis-server", "get-consul": "bin/consul", "get-llama-server": "llama-server"}
PACKAGES = {"get-redis": "redis-server", "get-consul": "consul", "get-llama-server": "llama.cpp-tools"}
TOOLS = ("awk", "bash", "cat", "chmod", "dirname", "head", "mkdir", "mktemp", "mv", "readlink", "rm", "tr")

APT_WHERE_REDIS_TOOLS_IS_INSTALLED = """#!/bin/sh
while [ "$1" != --simulate ] && [ "$1" != download ]; do [ $# -gt 1 ] && shift || exit 0; done
[ "$1" = --simulate ] && echo "Inst liblua (5.1)" && exit
shift
for package in "$@"; do echo > "$package.deb"; done
"""
DPKG = """#!/bin/sh
mkdir -p "$3/usr/bin"
case $2 in
*redis-tools.deb)
    printf '#!/bin/sh\\necho version 1\\n' >"$3/usr/bin/redis-check-rdb"
    chmod 755 "$3/usr/bin/redis-check-rdb" ;;
*redis-server.deb) ln -s redis-check-rdb "$3/usr/bin/redis-server" ;;
*) echo >"$3/usr/bin/lua" ;;
esac
"""


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
    _program(path, f"#!/bin/sh\necho '{words}'\n")


def _program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)


@pytest.fixture
def debian(tools: Path) -> Path:
    """Add an apt and a dpkg that do as if this machine had redis-tools and no redis-server."""
    if not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists():
        pytest.skip("this is no Debian machine")
    _program(tools / "apt-get", APT_WHERE_REDIS_TOOLS_IS_INSTALLED)
    _program(tools / "dpkg", DPKG)
    for name in ("id", "ln", "timeout"):
        where = subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, text=True, check=True)
        (tools / name).symlink_to(where.stdout.strip())
    return tools


@pytest.mark.parametrize(("script", "server"), SERVERS.items())
def test_server_that_is_installed_is_not_got(root: Path, tmp_path: Path, tools: Path, script: str, server: str) -> None:
    installed = tools / Path(server).name
    _stand_in(installed, "it runs")

    got = _get(root, script, tmp_path / "servers", tools)

    assert (got.returncode, got.stdout) == (0, f"{installed.name}: {installed}\n")
    assert not (tmp_path / "servers").exists()


@pytest.mark.parametrize(("script", "server"), SERVERS.items())
def test_server_that_was_got_is_not_got_again(
    root: Path, tmp_path: Path, tools: Path, script: str, server: str
) -> None:
    _stand_in(tmp_path / "servers" / server, "version 1")

    got = _get(root, script, tmp_path / "servers", tools)

    assert (got.returncode, got.stdout) == (0, f"{Path(server).name}: version 1\n")


@pytest.mark.parametrize(("script", "package"), PACKAGES.items())
def test_server_that_cannot_be_got_is_told_in_one_line_and_leaves_no_program(
    root: Path, tmp_path: Path, tools: Path, script: str, package: str
) -> None:
    _program(tmp_path / "servers" / SERVERS[script], "#!/bin/sh\nexit 127\n")

    got = _get(root, script, tmp_path / "servers", tools)

    assert got.returncode != 0
    assert got.stderr == f"unpack-debian: {package}: this is no Debian machine\n"
    assert not (tmp_path / "servers" / SERVERS[script]).exists()


def test_packages_that_are_named_are_unpacked_though_one_of_them_is_installed(
    root: Path, tmp_path: Path, debian: Path
) -> None:
    folder = tmp_path / "servers"

    got = _get(root, "get-redis", folder, debian)

    assert (got.returncode, got.stdout, got.stderr) == (0, "redis-server: version 1\n", "")
    assert sorted(path.name for path in (folder / "redis/usr/bin").iterdir()) == [
        "lua",
        "redis-check-rdb",
        "redis-server",
    ]


def test_program_that_does_not_run_is_told_in_one_line_and_is_got_again(
    root: Path, tmp_path: Path, debian: Path
) -> None:
    _program(debian / "dpkg", DPKG.replace("redis-tools.deb", "never.deb"))
    broken = _get(root, "get-redis", tmp_path / "servers", debian)
    left = (tmp_path / "servers" / "bin" / "redis-server").exists()
    _program(debian / "dpkg", DPKG)
    mended = _get(root, "get-redis", tmp_path / "servers", debian)

    assert (broken.returncode, broken.stdout, broken.stderr.count("\n"), left) == (1, "", 1, False)
    assert broken.stderr.startswith("get-redis: what was unpacked does not run: ")
    assert (mended.returncode, mended.stdout) == (0, "redis-server: version 1\n")
