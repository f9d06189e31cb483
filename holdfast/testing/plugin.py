"""A pytest plugin with the fixtures that contract suites and tests of a service need.

Responsibility: event loops in virtual time, clocks, and a seed that a failure can be repeated with.
Guarantees: nothing is registered until it is asked for: ``pytest_plugins = ["holdfast.testing.plugin"]`` in the
    conftest.py at the root of your tests, or ``pytest -p holdfast.testing.plugin``.
Not responsible for: replacing anyio's own ``anyio_backend``: say yourself where time shall be virtual::

        @pytest.fixture
        def anyio_backend(virtual_anyio_backend):
            return virtual_anyio_backend
"""

from __future__ import annotations

import random
from typing import Any, Final

import pytest

from holdfast.testing.clock import ManualClock, VirtualClock, virtual_backend

__all__ = [
    "fault_seed",
    "manual_clock",
    "pytest_addoption",
    "pytest_configure",
    "pytest_configure_node",
    "pytest_report_header",
    "virtual_anyio_backend",
    "virtual_clock",
]

_MAX_SEED: Final = 2**32 - 1
_SEED: Final = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--holdfast-seed``."""
    parser.getgroup("holdfast").addoption(
        "--holdfast-seed", type=int, default=None, help="seed of the fixture fault_seed; drawn anew by default"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Settle the seed of this run; with pytest-xdist, that of the controller for every worker."""
    given: int | None = config.getoption("--holdfast-seed")
    handed: int | None = getattr(config, "workerinput", {}).get("holdfast_seed")
    drawn = random.SystemRandom().randint(0, _MAX_SEED)
    config.stash[_SEED] = next(seed for seed in (given, handed, drawn) if seed is not None)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - pytest-xdist's, which need not be installed
    """Hand the seed to a worker of pytest-xdist."""
    node.workerinput["holdfast_seed"] = node.config.stash[_SEED]


def pytest_report_header(config: pytest.Config) -> str:
    """Return the seed, and how to run with it again."""
    return f"holdfast: --holdfast-seed={config.stash[_SEED]}"


@pytest.fixture(params=["asyncio", "trio"])
def virtual_anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """What `anyio_backend` needs so that a test runs on both loops, and its waits take no time."""
    return virtual_backend(request.param)


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """The time of the running loop, which is virtual under `virtual_anyio_backend`."""
    return VirtualClock()


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that stands still until the test moves it."""
    return ManualClock()


@pytest.fixture
def fault_seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run, for a `FaultPlan`; printed at the beginning, and set by ``--holdfast-seed``."""
    return request.config.stash[_SEED]
