"""What the deduplicator tells of its decisions."""

from __future__ import annotations

import anyio
import pytest

from holdfast.domain.deduplicator import Deduplicator
from holdfast.ports.events import Deduplicated, FlightAbandoned
from holdfast.ports.service import Disposition
from holdfast.ports.statistics import DeduplicationStatistics
from holdfast.testing import VirtualClock
from tests.fakes.deduplication import KEY, Backend, Callers, run
from tests.fakes.events import Listener

pytestmark = pytest.mark.anyio

DIGEST = KEY.digest.hex()


@pytest.fixture
def told() -> Listener:
    return Listener()


def engine_telling(told: Listener) -> Deduplicator[str]:
    return Deduplicator(clock=VirtualClock(), size_of=len, events=told)


async def test_run_that_calls_tells_nothing(told: Listener) -> None:
    async with engine_telling(told) as shared:
        await run(shared, Backend())

    assert told.heard == []


async def test_run_that_finds_the_answer_tells_so(told: Listener) -> None:
    async with engine_telling(told) as shared:
        await run(shared, Backend())
        await run(shared, Backend())

    assert told.heard == [Deduplicated(key=DIGEST, disposition=Disposition.CACHED)]


async def test_run_that_joins_tells_so_at_once(told: Listener) -> None:
    seen: list[DeduplicationStatistics] = []
    async with engine_telling(told) as shared, anyio.create_task_group() as tasks:
        told.then = lambda: seen.append(shared.statistics())
        callers = Callers(tasks)
        for _ in range(2):
            await callers.start(lambda: run(shared, Backend()))

    assert told.heard == [Deduplicated(key=DIGEST, disposition=Disposition.JOINED)]
    assert [(statistics.joined, statistics.in_flight) for statistics in seen] == [(1, 1)]


async def test_run_that_the_last_caller_leaves_tells_that_the_flight_is_abandoned(told: Listener) -> None:
    seen: list[DeduplicationStatistics] = []
    async with engine_telling(told) as shared:
        told.then = lambda: seen.append(shared.statistics())
        with anyio.move_on_after(0.5):
            await run(shared, Backend())

    assert told.heard == [FlightAbandoned(key=DIGEST)]
    assert [(statistics.abandoned, statistics.in_flight) for statistics in seen] == [(1, 0)]


async def test_run_that_one_of_two_leaves_tells_nothing_of_that(told: Listener) -> None:
    async with engine_telling(told) as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        for _ in range(2):
            await callers.start(lambda: run(shared, Backend()))
        told.heard.clear()
        callers.scopes[0].cancel()

    assert told.heard == []


async def test_run_that_fails_tells_nothing(told: Listener) -> None:
    async with engine_telling(told) as shared:
        with pytest.raises(ConnectionError):
            await run(shared, Backend(error=ConnectionError()))

    assert told.heard == []
