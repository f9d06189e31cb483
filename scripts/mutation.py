"""Changes the domain in small ways, one at a time, and counts what its tests notice; exits 1 when that is under 85 %.

A seeded sample of all changes is judged, in a copy of the tree. Each is judged by the tests that execute the changed
line, the quickest first, until one fails; a change with which they do not end counts as noticed.

mutmut 3.8 changes neither what runs at import, as defaults do, nor most decorated functions; cosmic-ray 8.7 has one list
of tests for all changes. Neither draws a sample.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from difflib import unified_diff
from pathlib import Path

import coverage

from scripts.mutants import Mutant, mutants

ROOT = Path(__file__).parent.parent
DOMAIN = "holdfast/domain"
TESTS = ("tests/unit/domain", "tests/property", "tests/regression")
LEAST = 0.85
TESTS_S = 40.0


class Suite:
    """The tests of a copy of the tree that pass there, and which lines each of them executes."""

    def __init__(self, root: Path, tree: Path) -> None:
        for source in (root / "holdfast", root / "tests", ROOT / "scripts"):
            shutil.copytree(source, tree / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(root / "pyproject.toml", tree)
        self._tree = tree
        recording = self._run(*TESTS, COVERAGE_CORE="ctrace", MUTATION_RECORD=str(tree))
        if recording.returncode > 1:
            sys.exit(f"the tests do not run\n{recording.stdout}{recording.stderr}")
        self._times_s: dict[str, float] = json.loads((tree / "times.json").read_text())
        self._record = coverage.CoverageData(str(tree / "coverage"))
        self._record.read()

    def notices(self, path: str, mutant: Mutant) -> bool:
        """Return whether a test fails, or does not end, with the change in place."""
        if not (limits_s := self._limits_s(path, mutant)):
            return False
        (self._tree / "limits.json").write_text(json.dumps(limits_s))
        module = self._tree / path
        source = module.read_bytes()
        module.write_bytes(mutant.apply(source))
        files = {test.partition("::")[0] for test in limits_s}
        run = self._run("-x", *sorted(files), MUTATION_LIMITS="limits.json", PYTHONDONTWRITEBYTECODE="1")
        module.write_bytes(source)
        return run.returncode != 0

    def _limits_s(self, path: str, mutant: Mutant) -> dict[str, float]:
        executed = self._record.contexts_by_lineno(str((self._tree / path).resolve()))
        lines = executed if mutant.lines is None else mutant.lines
        found = {test for line in lines for test in executed.get(line, ())} & self._times_s.keys()
        limits_s: dict[str, float] = {}
        left_s = TESTS_S
        for test in sorted(found, key=lambda test: (self._times_s[test], test)):
            if (left_s := left_s - self._times_s[test]) > 0:
                limits_s[test] = 10 + 5 * self._times_s[test]
        return limits_s

    def _run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        options = ("-q", "-p", "scripts.mutation_plugin", "-p", "no:cacheprovider", "--hypothesis-profile=mutation")
        return subprocess.run(
            [sys.executable, "-m", "pytest", *options, *arguments],
            cwd=self._tree,
            env=os.environ | settings | {"PYTHONPATH": str(self._tree)},
            capture_output=True,
            text=True,
            check=False,
        )


def difference(path: str, source: bytes, mutant: Mutant) -> str:
    """Return the change as a patch."""
    before, after = (text.decode().splitlines(keepends=True) for text in (source, mutant.apply(source)))
    return "".join(unified_diff(before, after, path, path, n=2))


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Print what survives and the score, and return the exit code."""
    parser = argparse.ArgumentParser(prog="mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", default=["*"], help="modules of the domain, such as retry (all)")
    parser.add_argument("--sample", type=int, default=400, help="how many changes to judge (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which changes these are (%(default)s)")
    options = parser.parse_args(arguments)

    sources = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for module in options.modules
        for path in sorted((root / DOMAIN).glob(f"{module}.py"))
    }
    changes = [(path, mutant) for path, source in sources.items() for mutant in mutants(source)]
    if not changes:
        parser.error(f"nothing to change in {options.modules}")
    choose = random.Random(options.seed)  # noqa: S311 - a sample, not a secret
    chosen = sorted(choose.sample(range(len(changes)), min(options.sample, len(changes))))

    judged: Counter[str] = Counter()
    noticed: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="holdfast-mutation-") as folder:
        suite = Suite(root, Path(folder))
        for path, mutant in map(changes.__getitem__, chosen):
            judged[path] += 1
            if suite.notices(path, mutant):
                noticed[path] += 1
            else:
                print(difference(path, sources[path], mutant), flush=True)

    for path, count in judged.items():
        print(f"{noticed[path]:4} of {count:4}  {path}")
    score = noticed.total() / judged.total()
    print(f"noticed: {noticed.total()} of {judged.total()} = {score:.1%} (at least {LEAST:.0%})", end="; ")
    print(f"sampled from {len(changes)} with seed {options.seed}")
    return 0 if score >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
