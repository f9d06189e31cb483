"""`holdfast.testing.plugin`, as a user's own test run sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.real_time]

CONFTEST = """
import pytest

pytest_plugins = ["holdfast.testing.plugin"]


@pytest.fixture
def anyio_backend(virtual_anyio_backend):
    return virtual_anyio_backend
"""

OWN_ADAPTER = """
import pytest

from holdfast.testing.contracts import ClockContract


class TestVirtualClock(ClockContract):
    @pytest.fixture
    def clock(self, virtual_clock):
        return virtual_clock
"""

WRONG_ADAPTER = """
from contextlib import nullcontext

import pytest

from holdfast.ports.retrieval import Passage
from holdfast.testing.contracts import RetrieverContract


class Stubborn:
    async def retrieve(self, query, *, limit):
        return (Passage(source="a.md", heading="the one I know", text="No.", score=1.0),)


class TestStubborn(RetrieverContract):
    @pytest.fixture
    def serve(self):
        return lambda passages: nullcontext(Stubborn())
"""

USES_EVERYTHING = """
import anyio
import pytest


@pytest.mark.anyio
async def test_a_day_takes_no_time(virtual_clock):
    began_s = virtual_clock.monotonic_s()
    await virtual_clock.sleep(86_400)

    assert virtual_clock.monotonic_s() - began_s == pytest.approx(86_400)


def test_manual_clock_stands_still(manual_clock):
    assert manual_clock.monotonic_s() == manual_clock.monotonic_s()


def test_seed(fault_seed):
    print(f"seed is {fault_seed}")
"""


def run(folder: Path, test: str, *options: str, ends_with: int = 0) -> str:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_mine.py").write_text(test)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-rP", "--rootdir", str(folder), "-p", "no:cacheprovider", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == ends_with, ended.stdout + ended.stderr
    return ended.stdout


def test_contract_suite_of_a_users_own_adapter_runs_on_both_loops(tmp_path: Path) -> None:
    out = run(tmp_path, OWN_ADAPTER, "-v")

    assert "TestVirtualClock" in out
    assert "[asyncio]" in out
    assert "[trio]" in out


def test_contract_suite_that_an_adapter_fails_shows_what_it_compared(tmp_path: Path) -> None:
    out = run(tmp_path, WRONG_ADAPTER, ends_with=1)

    assert "heading='the one I know'" in out


def test_fixtures_give_virtual_time_a_manual_clock_and_the_seed_that_was_given(tmp_path: Path) -> None:
    out = run(tmp_path, USES_EVERYTHING, "--holdfast-seed=1234")

    assert "holdfast: --holdfast-seed=1234" in out
    assert "seed is 1234" in out
    assert "4 passed" in out


def test_seed_that_is_not_given_is_drawn_printed_and_the_same_in_every_worker(tmp_path: Path) -> None:
    out = run(tmp_path, USES_EVERYTHING + USES_EVERYTHING.replace("test_seed", "test_seed_again"), "-n2")
    header = next(line for line in out.splitlines() if line.startswith("holdfast: --holdfast-seed="))
    seeds = {line for line in out.splitlines() if line.startswith("seed is ")}

    assert seeds == {f"seed is {header.rpartition('=')[2]}"}


def test_nothing_is_registered_until_it_is_asked_for(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "--rootdir", str(tmp_path), "--fixtures", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "virtual_anyio_backend" not in ended.stdout
