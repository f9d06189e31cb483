"""What it costs to start: whole processes, interpreter included, as a user of the command line meets them."""

from __future__ import annotations

import subprocess
import sys

from harness import measure, report

_ROUNDS = {"calls": 10, "rounds": 5}


def _start(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def main() -> bool:
    """Print the table and return whether every budget is kept."""
    return report(
        "Start of a process",
        [
            measure("python -c pass", lambda: _start("-c", "pass"), **_ROUNDS),
            measure("import holdfast", lambda: _start("-c", "import holdfast"), budget_p50_us=150e3, **_ROUNDS),
            measure(
                "import holdfast.adapters.cli",
                lambda: _start("-c", "import holdfast.adapters.cli"),
                budget_p50_us=200e3,
                **_ROUNDS,
            ),
            measure("holdfast --help", lambda: _start("-m", "holdfast", "--help"), budget_p50_us=200e3, **_ROUNDS),
            measure("import typer", lambda: _start("-c", "import typer"), **_ROUNDS),
            measure("import pydantic", lambda: _start("-c", "import pydantic"), **_ROUNDS),
        ],
        packages=("anyio", "pydantic", "typer"),
    )


if __name__ == "__main__":
    sys.exit(not main())
