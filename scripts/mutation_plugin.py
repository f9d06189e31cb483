"""Plugs into pytest for ``mutation.py``: records which tests execute which lines, or runs the tests that it chose.

Hypothesis is seeded and does not shrink, so that a change is judged by the same examples each time, and once.
"""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import coverage
import pytest
from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "mutation",
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)

MOST_BYTES = 4 * 2**30


def pytest_configure(config: pytest.Config) -> None:
    """Run the tests that the file in ``MUTATION_LIMITS`` names, or record all in the folder ``MUTATION_RECORD``."""
    if limits := os.environ.get("MUTATION_LIMITS"):
        config.pluginmanager.register(_Chosen(json.loads(Path(limits).read_text())))
    else:
        config.pluginmanager.register(_Recorder(Path(os.environ["MUTATION_RECORD"])))


class _Chosen:
    def __init__(self, limits_s: dict[str, float]) -> None:
        self._limits_s = limits_s
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))  # a loop that has lost its end may also fill

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        found = {item.nodeid: item for item in items}
        items[:] = [found[test] for test in self._limits_s if test in found]
        for item in items:
            item.add_marker(pytest.mark.timeout(self._limits_s[item.nodeid], method="thread"))


class _Recorder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._times_s: dict[str, float] = {}
        self._coverage = coverage.Coverage(folder / "coverage", config_file=False, include=["holdfast/domain/*"])
        self._coverage.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self._times_s[report.nodeid] = report.duration

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        self._coverage.save()
        (self._folder / "times.json").write_text(json.dumps(self._times_s))
