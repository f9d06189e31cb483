"""The bridge to Consul with the driver of 2018, in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NoReturn

import pytest

from tests.repository import ROOT
from tests.servers import GIVEN, server_program

pytestmark = pytest.mark.slow


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _uv() -> str:
    own = ROOT / ".uv" / "bin" / "uv"
    found = shutil.which("uv") or (str(own) if own.exists() else None)
    return found if found is not None else _unavailable("there is no uv: run `make lock`, which gets it")


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Make an environment whose ``consul`` is python-consul and whose other packages are those of this one."""
    uv, folder = _uv(), tmp_path / "venv"
    requirements = ROOT / "requirements" / "python-consul.txt"
    subprocess.run([uv, "venv", "--quiet", "--no-project", "--python", sys.executable, folder], check=True)
    sync: list[str | Path] = [uv, "pip", "sync", "--quiet", "--python", folder, "--require-hashes", requirements]
    certified = os.environ | {"UV_SYSTEM_CERTS": "1"}  # as the Makefile has it
    synced = subprocess.run(sync, env=certified, capture_output=True, text=True, timeout=100, check=False)
    if synced.returncode != 0:
        _unavailable(f"python-consul cannot be installed: {synced.stderr.strip()}")
    packages = next(folder.glob("lib/python*/site-packages"))
    # After its own, so that only what it lacks is found there.
    (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder / "bin" / "python"


@pytest.mark.timeout(300)
def test_client_is_the_same_with_python_consul(python: Path) -> None:
    server_program("consul")  # or there would be nothing to ask
    environment = {**os.environ, **GIVEN, "HOLDFAST_TEST_CONSUL_DRIVER": "python-consul"}
    command: list[str | Path] = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["tests/integration/test_consul_client.py", "tests/integration/test_consul_as_it_is.py"]

    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
    assert " 1 skipped" in run.stdout  # what only py-consul does, see there
