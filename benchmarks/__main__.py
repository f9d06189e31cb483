"""Runs every benchmark, or those whose name holds the first argument; exits 1 when a budget is missed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main(only: str = "") -> int:
    """Print every table, then the verdict, and return the exit code."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))
    chosen = [name for name in names if only in name]
    if not chosen:
        print(f"no benchmark is called {only!r}; there are: {', '.join(names)}", file=sys.stderr)
        return 2
    missed = [name for name in chosen if not importlib.import_module(name).main()]
    print(f"\n{len(chosen) - len(missed)} of {len(chosen)} benchmarks kept every budget", end="")
    print(f"; missed: {', '.join(missed)}" if missed else "")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
