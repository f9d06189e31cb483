"""The installed program, started as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

__all__ = ["call", "failures", "results", "start", "status", "write_questions"]

_COMMAND = (sys.executable, "-m", "holdfast")
_PATIENCE_S = 60


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
    own = ("HOLDFAST_", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "TTY_")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)} | dict(changes)


def call(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the program in `folder` to its end."""
    return subprocess.run(
        [*_COMMAND, *arguments],
        cwd=folder,
        env=_environment(env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )


def start(
    folder: Path,
    *arguments: str,
    stdout: int | IO[Any] = subprocess.PIPE,
    stderr: int | IO[Any] = subprocess.PIPE,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start the program in `folder`."""
    return subprocess.Popen(
        [*_COMMAND, *arguments],
        cwd=folder,
        env=_environment(env or {}),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
    )


def status(folder: Path, out: str = "out") -> dict[str, Any]:
    """Return how far the run has come; an empty document while there is none."""
    shown = call(folder, "status", out, "--json")
    document: dict[str, Any] = json.loads(shown.stdout) if shown.returncode == 0 else {}
    return document


def write_questions(folder: Path, questions: Iterable[str]) -> None:
    """Write ``in.jsonl``; the items are named q1, q2, …"""
    lines = (json.dumps({"id": f"q{number}", "question": text}) for number, text in enumerate(questions, 1))
    (folder / "in.jsonl").write_text("".join(f"{line}\n" for line in lines))


def results(folder: Path, out: str = "out") -> list[dict[str, Any]]:
    """Return the answers that the run has written."""
    return _rows(folder / out / "results.jsonl")


def failures(folder: Path, out: str = "out") -> list[dict[str, Any]]:
    """Return the failures and rejections that the run has written."""
    return _rows(folder / out / "failures.jsonl")


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
