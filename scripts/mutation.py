"""Changes the domain in small ways, one at a time, and counts what its tests notice; exits 1 when that is under 85 %.

A seeded sample of all changes is judged, in a copy of the tree. Each is judged by the tests that execute the changed
line, the quickest first, until one fails; a change with which they do not end counts as noticed.

mutmut 3.8 changes neither what runs at import, as defaults do, nor most decorated functions; cosmic-ray 8.7 has one
list of tests for all changes. Neither draws a sample.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
from collections import Counter
from difflib import unified_diff
from pathlib import Path

import coverage
import pytest
import trio  # noqa: F401 - imported once for all the processes that run tests
from hypothesis import HealthCheck, Phase, settings

from scripts.mutants import Mutant, mutants

DOMAIN = "holdfast/domain"
TESTS = ("tests/unit/domain", "tests/property", "tests/regression")
LEAST = 0.85
TESTS_S = 40.0  # of tests that one change is judged by at most
MOST_BYTES = 4 * 2**30

settings.register_profile(
    "mutation",
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


class Recorder:
    """A pytest plugin that writes down which tests pass, what each of them executes and how long it takes."""

    def __init__(self, tree: Path) -> None:
        self._times = (tree / "times").open("w")
        self._coverage = coverage.Coverage(tree / "coverage", config_file=False, include=[f"{tree}/{DOMAIN}/*"])

    def pytest_sessionstart(self) -> None:
        """Begin."""
        self._coverage.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Attribute to this test what is executed from now on."""
        self._coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write down how long it took."""
        if report.when == "call" and report.passed:
            print(report.duration, report.nodeid, file=self._times)

    def pytest_sessionfinish(self) -> None:
        """End."""
        self._coverage.stop()
        self._coverage.save()
        self._times.close()


class Chosen:
    """A pytest plugin that runs some tests only, in this order, each within its limit."""

    def __init__(self, limits_s: dict[str, float]) -> None:
        self._limits_s = limits_s

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Choose."""
        found = {item.nodeid: item for item in items}
        items[:] = [found[test] for test in self._limits_s if test in found]
        for item in items:
            item.add_marker(pytest.mark.timeout(self._limits_s[item.nodeid], method="thread"))


def run_tests(tree: Path, plugin: Recorder | Chosen, *arguments: str) -> int:
    """Run pytest in a process of its own, which finds pytest and what it needs imported, and return its exit code."""
    process = multiprocessing.get_context("fork").Process(target=_run_tests, args=(tree, plugin, *arguments))
    process.start()
    process.join()
    return process.exitcode or 0


def _run_tests(tree: Path, plugin: Recorder | Chosen, *arguments: str) -> None:
    os.chdir(tree)
    os.environ |= {"PYTHONPATH": str(tree), "COVERAGE_CORE": "ctrace"}
    sys.path.insert(0, str(tree))
    sys.dont_write_bytecode = isinstance(plugin, Chosen)
    with (tree / "output").open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))  # a loop that has lost its end may fill a list
    options = ["-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    sys.exit(pytest.main([*options, "--hypothesis-profile=mutation", *arguments], plugins=[plugin]))


class Suite:
    """The tests of a copy of the tree that pass there, and which lines each of them executes."""

    def __init__(self, tree: Path) -> None:
        for folder in ("holdfast", "tests"):
            shutil.copytree(folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy("pyproject.toml", tree)
        if run_tests(tree, Recorder(tree), *TESTS) > pytest.ExitCode.TESTS_FAILED:
            sys.exit(f"the tests do not run\n{(tree / 'output').read_text()}")
        times = (line.split(" ", maxsplit=1) for line in (tree / "times").read_text().splitlines())
        self._times_s = {test: float(time_s) for time_s, test in times}
        self._record = coverage.CoverageData(str(tree / "coverage"))
        self._record.read()
        self._tree = tree

    def notices(self, path: str, mutant: Mutant) -> bool:
        """Return whether a test fails, or does not end, with the change in place."""
        if not (limits_s := self._limits_s(path, mutant)):
            return False
        module = self._tree / path
        source = module.read_bytes()
        module.write_bytes(mutant.apply(source))
        files = {test.partition("::")[0] for test in limits_s}
        code = run_tests(self._tree, Chosen(limits_s), "-x", *sorted(files))
        module.write_bytes(source)
        return code != 0

    def _limits_s(self, path: str, mutant: Mutant) -> dict[str, float]:
        executed = self._record.contexts_by_lineno(str(self._tree / path))
        lines = executed if mutant.lines is None else mutant.lines
        found = {test for line in lines for test in executed.get(line, ())} & self._times_s.keys()
        limits_s: dict[str, float] = {}
        left_s = TESTS_S
        for test in sorted(found, key=lambda test: (self._times_s[test], test)):
            if (left_s := left_s - self._times_s[test]) > 0:
                limits_s[test] = 10 + 5 * self._times_s[test]
        return limits_s


def difference(path: str, source: bytes, mutant: Mutant) -> str:
    """Return the change as a patch."""
    before, after = (text.decode().splitlines(keepends=True) for text in (source, mutant.apply(source)))
    return "".join(unified_diff(before, after, path, path, n=2))


def main(arguments: list[str]) -> int:
    """Print what survives and the score, and return the exit code."""
    parser = argparse.ArgumentParser(prog="mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", default=["*"], help="modules of the domain, such as retry (all)")
    parser.add_argument("--sample", type=int, default=300, help="how many changes to judge (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which changes these are (%(default)s)")
    options = parser.parse_args(arguments)

    paths = [path for module in options.modules for path in sorted(Path(DOMAIN).glob(f"{module}.py"))]
    sources = {path.as_posix(): path.read_bytes() for path in paths}
    changes = [(path, mutant) for path, source in sources.items() for mutant in mutants(source)]
    if not changes:
        parser.error(f"nothing to change in {options.modules}")
    choose = random.Random(options.seed)  # noqa: S311 - a sample, not a secret
    chosen = sorted(choose.sample(range(len(changes)), min(options.sample, len(changes))))

    judged: Counter[str] = Counter()
    noticed: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="holdfast-mutation-") as folder:
        suite = Suite(Path(folder).resolve())
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
