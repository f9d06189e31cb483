"""Where the real servers are that tests start, and what a test says when one is missing.

A program is looked for by environment variable, then in the folder `.servers/` beside the tests, which `make servers`
fills, then on PATH. Where there is none, the test is skipped with the command that gets it; in CI it fails.

These variables are no settings of Holdfast, which would refuse them: so no test runs with them in its environment.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
from pathlib import Path
from typing import Final

import pytest

__all__ = ["GIVEN", "free_port", "server_program"]

GIVEN: Final = {name: value for name, value in os.environ.items() if name.startswith("HOLDFAST_TEST_")}
"""What the environment said of the tests when they began, for those that start others."""
_FETCHED: Final = Path(__file__).parents[1] / ".servers"
_PROGRAMS: Final = {
    "redis-server": ("HOLDFAST_TEST_REDIS_SERVER", "bin/redis-server"),
    "consul": ("HOLDFAST_TEST_CONSUL", "consul/bin/consul"),
    "llama-server": ("HOLDFAST_TEST_LLAMA_SERVER", "llama/llama-server"),
}
_PORTS: Final = range(10_000, 32_768)  # below those that the kernel gives to whoever connects or binds to any


def server_program(name: str) -> Path:
    """Return the program of one real server; skip the running test where there is none, fail it in CI."""
    variable, inside = _PROGRAMS[name]
    if given := GIVEN.get(variable):
        return _given(variable, Path(given))
    if (fetched := _FETCHED / inside).exists():
        return fetched
    if installed := shutil.which(name):
        return Path(installed)
    reason = f"there is no {name} on this machine: run `make servers`, or name one in {variable}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _given(variable: str, program: Path) -> Path:
    if not program.is_file():
        pytest.fail(f"{variable} names {str(program)!r}, which is no file", pytrace=False)
    return program


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on.

    Chosen at random outside the range from which the kernel serves others, so that the port is still free after a
    server that had it was killed and before it is started again.
    """
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
