"""What sessions really take of the machine: a process of its own is filled with ten times what the ceiling allows."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.real_time]

CEILING_BYTES: Final = 1_000_000_000

FILL: Final = f"""
import json, resource, secrets

import anyio

from holdfast.adapters.memory import MemorySessions
from holdfast.adapters.system import SystemClock
from holdfast.domain import SessionConfig, SessionKeeper
from holdfast.ports.inference import Message, Role


async def main():
    config = SessionConfig(max_bytes=1_000_000, max_total_bytes={CEILING_BYTES})
    keeper = SessionKeeper(MemorySessions(clock=SystemClock()), config, make_token=secrets.token_urlsafe)
    for number in range(10_000):
        head = (await keeper.open(await keeper.create(tenant="t"), tenant="t")).head
        question = Message(role=Role.USER, content=str(number).rjust(990_000))
        await keeper.append_turn(head, [question], "short")
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    statistics = keeper.statistics()
    print(json.dumps([peak_bytes, keeper.size_bytes, statistics.sessions, statistics.evicted]))


anyio.run(main)
"""


def test_10_000_sessions_of_1_mb_under_a_ceiling_of_1_gb_take_at_most_a_fifth_more() -> None:
    ended = subprocess.run([sys.executable, "-c", FILL], capture_output=True, text=True, timeout=110, check=True)
    peak_bytes, size_bytes, sessions, evicted = json.loads(ended.stdout)

    assert peak_bytes <= 1.2 * CEILING_BYTES
    assert 0.9 * CEILING_BYTES <= size_bytes <= CEILING_BYTES
    assert sessions + evicted == 10_000
