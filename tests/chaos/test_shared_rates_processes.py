"""Limits shared by real processes over a real Redis: together they get what one of them would."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.redis_server import RedisServer

pytestmark = [pytest.mark.slow, pytest.mark.real_time]

PROGRAM = Path(__file__).with_name("rates_under_fire.py")
ROOT = Path(__file__).parents[2]
BURST, PER_S = 20.0, 10.0
SECONDS = 3.0


@dataclass
class Swarm:
    """Processes that have all begun to ask at the same time, and have ended."""

    calls_at_s: list[float]
    ended: list[dict[str, Any]]


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def swarm(
    running: ExitStack, folder: Path, settings: dict[str, Any], *, processes: int, fails: bool, pause_s: float
) -> Swarm:
    calls = folder / "calls"
    given = {"settings": settings, "calls": str(calls), "seconds": SECONDS, "fails": fails, "pause_s": pause_s}
    them: list[subprocess.Popen[str]] = []
    for _ in range(processes):
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps(given)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.callback(process.wait)
        running.callback(process.kill)
        them.append(process)
    for process in them:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in them:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [json.loads(process.communicate(timeout=60)[0]) for process in them]
    return Swarm([float(line) for line in calls.read_text().split()], ended)


def most_beyond(calls_at_s: list[float]) -> float:
    """Return how much more than ``burst + rate x window`` the worst of all windows holds."""
    level = worst = last_s = 0.0
    for at_s in sorted(calls_at_s):
        level = max(0.0, level - (at_s - last_s) * PER_S) + 1
        last_s = at_s
        worst = max(worst, level)
    return worst - BURST


def shared(server: RedisServer) -> dict[str, Any]:
    return {"kind": "redis", "url": f"redis://127.0.0.1:{server.port}/0", "share": ["rates"]}


@pytest.mark.parametrize("whose", ["backend", "tenant"])
def test_four_processes_together_get_what_one_limit_lets_through(
    whose: str, running: ExitStack, redis_server: RedisServer, tmp_path: Path
) -> None:
    limit = {"requests_per_minute": PER_S * 60, "burst_requests": BURST}
    guard: dict[str, Any] = {"retry": {"max_attempts": 1}}
    settings = {"shared": shared(redis_server), "guard": guard}
    if whose == "backend":
        guard["rate_limit"] = limit
    else:
        settings["tenant_rate_limit"] = limit

    ended = swarm(running, tmp_path, settings, processes=4, fails=False, pause_s=0.005)

    # A call is noted a moment after it was let through, and that may be a different moment each time: of this load, the
    # rate of a quarter of a second.
    assert most_beyond(ended.calls_at_s) <= PER_S * 0.25
    assert len(ended.calls_at_s) >= 0.5 * PER_S * SECONDS
    assert [process["processes"] for process in ended.ended] == [4] * 4
    assert all(process["refused"] for process in ended.ended)


def test_processes_that_come_after_all_have_ended_get_no_more_than_the_share_of_those(
    running: ExitStack, redis_server: RedisServer, tmp_path: Path
) -> None:
    limit = {"requests_per_minute": 0.001, "burst_requests": BURST}
    settings = {"shared": shared(redis_server), "guard": {"retry": {"max_attempts": 1}, "rate_limit": limit}}

    first = len(swarm(running, tmp_path, settings, processes=2, fails=False, pause_s=0.01).calls_at_s)
    both = len(swarm(running, tmp_path, settings, processes=2, fails=False, pause_s=0.01).calls_at_s)

    assert BURST / 2 <= first <= BURST
    assert both <= BURST * 1.5


def test_four_processes_of_a_backend_that_always_fails_keep_to_one_retry_budget(
    running: ExitStack, redis_server: RedisServer, tmp_path: Path
) -> None:
    guard = {
        "retry": {"max_attempts": 3, "base_delay_s": 0.001},
        "breaker": {"failures_in_row": None, "min_calls": 1_000_000},
    }
    settings = {"shared": shared(redis_server) | {"share": ["budgets"]}, "guard": guard}

    ended = swarm(running, tmp_path, settings, processes=4, fails=True, pause_s=0.005)

    asked = sum(process["asked"] for process in ended.ended)
    # The reserve is one token for each of the four, or three while a process knows of nobody yet.
    assert asked < len(ended.calls_at_s) <= 1.2 * asked + 4 * 3
