"""Two thousand random histories of a breaker, in Redis and by the rule."""

from __future__ import annotations

import random
from dataclasses import replace

import anyio
import pytest

from holdfast.adapters.redis import RedisBreakers
from holdfast.ports.answer_record import as_us
from holdfast.ports.statistics import BreakerState
from holdfast.testing import ManualClock
from holdfast.testing.contracts.breaker_store import BreakerHistory
from tests.fakes.redis_clock import open_redis_at
from tests.fakes.redis_server import RedisServer

pytestmark = [pytest.mark.anyio, pytest.mark.real_time, pytest.mark.slow]

HISTORIES = 2000
STEPS = 10


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_redis_and_the_rule_agree_on_two_thousand_random_histories(redis_server: RedisServer) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    clock, wrong = ManualClock(), list[str]()
    seen = set[str]()
    now_us = as_us(clock.monotonic_s())
    histories = [BreakerHistory(f"breaker {number}", seed=seed + number, now_us=now_us) for number in range(HISTORIES)]
    pauses = random.Random(seed)
    async with open_redis_at(redis_server, clock) as store:
        breakers = RedisBreakers(store)

        async def follow(history: BreakerHistory, pause_s: float) -> None:
            step = replace(history.step(), pause_s=pause_s)
            expected, view = history.follow(step), await step.ask(breakers)
            seen.update([view.state] if view.probe is None else [view.state, "probing"])
            if view != expected:
                wrong.append(f"{history.name}: {view} is not {expected}")

        for _ in range(STEPS):
            pause_s = pauses.choice([0.0, 0.000_001, 0.5, 1.0, 2.0, 4.999_999, 5.0, 60.0])
            clock.advance(pause_s)
            async with anyio.create_task_group() as tasks:
                for history in histories:
                    tasks.start_soon(follow, history, pause_s)

    assert wrong == []
    assert seen >= {BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN, "probing"}
