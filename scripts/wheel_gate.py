"""Builds the wheel, installs it into a fresh environment and runs the tests on it, with the source tree out of reach.

The tests are copied to a temporary folder beside nothing else but the servers they start, so what they import can only
come from the wheel.
Those about the repository itself, or that use its examples, stay at home.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
STAY_AT_HOME = ("architecture", "integration", "typing", "repository.py", "__pycache__")


def run(*command: str | Path, cwd: Path) -> None:
    """Run a command that must succeed, without the settings that would lead Python back to the source tree."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}
    subprocess.run([*map(str, command)], cwd=cwd, env=env, check=True)


def build(folder: Path) -> Path:
    """Return the wheel, built with the pinned back end and no network."""
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=ROOT)
    [wheel] = folder.glob("*.whl")
    return wheel


def misplaced(wheel: Path) -> list[str]:
    """Return what the wheel holds and should not, and the other way round."""
    held = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "holdfast").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    foreign = {name for name in held - sources if ".dist-info/" not in name}
    return [f"does not belong in the wheel: {name}" for name in sorted(foreign)] + [
        f"missing from the wheel: {name}" for name in sorted(sources - held)
    ]


def install(uv: str, wheel: Path, folder: Path) -> Path:
    """Return the Python of a fresh environment that holds the pinned requirements and the wheel."""
    python = folder / "bin" / "python"
    run(uv, "venv", "--quiet", "--no-project", "--python", sys.executable, folder, cwd=ROOT)
    requirements = ROOT / "requirements" / "dev.txt"
    run(uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", requirements, cwd=ROOT)
    run(uv, "pip", "install", "--quiet", "--python", python, "--no-deps", wheel, cwd=ROOT)
    return python


def main(uv: str) -> int:
    """Print what is wrong and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="holdfast-wheel-") as folder:
        away = Path(folder)
        wheel = build(away / "dist")
        if wrong := misplaced(wheel):
            print("\n".join(wrong), file=sys.stderr)
            return 1
        python = install(uv, wheel, away / "venv")

        shutil.copytree(ROOT / "tests", away / "tests", ignore=shutil.ignore_patterns(*STAY_AT_HOME))
        shutil.copy(ROOT / "pyproject.toml", away)
        (away / ".servers").symlink_to(ROOT / ".servers")
        run(python, "-c", f"import holdfast; assert holdfast.__file__.startswith({folder!r}), holdfast", cwd=away)
        run(python, "-m", "pytest", "-n", "auto", "tests", cwd=away)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"wheel gate: {' '.join(error.cmd)} exited with {error.returncode}")
