"""The door: `Reception`, and the counts that it keeps."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest

from holdfast.application.reception import DoorConfig, Reception
from holdfast.domain.memory_ceiling import MemoryCeiling
from holdfast.ports.errors import BackendUnavailableError, ClosedError, DeadlineExceededError, RequestError
from holdfast.ports.service import Request
from holdfast.ports.statistics import ServiceState
from holdfast.testing import VirtualClock, sweep_cancellation
from tests.fakes.application import REPLY
from tests.fakes.service import ask

pytestmark = pytest.mark.anyio

REQUEST = ask()


def reception() -> Reception:
    config = DoorConfig(timeout_s=10.0, max_request_bytes=100)
    return Reception(config, memory=MemoryCeiling(1_000_000, clock=VirtualClock()), clock=VirtualClock())


async def test_visit_that_is_answered_is_counted_and_its_latency_recorded() -> None:
    door = reception()
    with door.visit(REQUEST) as visit:
        inside = door.requests()
        await anyio.sleep(2.0)
        visit.reply = REPLY
    after = door.requests()

    assert (inside.received, inside.in_flight) == (1, 1)
    assert (after.in_flight, after.answered) == (0, 1)
    assert door.latency().p50_s == pytest.approx(2.0)


async def test_visit_deadline_passes_raises_with_the_seconds_it_had() -> None:
    door = reception()
    with pytest.raises(DeadlineExceededError) as caught, door.visit(REQUEST):
        await anyio.sleep(60)

    assert caught.value.timeout_s == 10.0
    assert (door.requests().expired, door.requests().in_flight) == (1, 0)


async def test_visit_wrong_request_never_comes_in() -> None:
    door = reception()
    with pytest.raises(RequestError), door.visit(Request(messages=())):
        pytest.fail("it came in")

    assert (door.requests().invalid, door.requests().in_flight) == (1, 0)


async def test_visit_error_inside_passes_through_as_the_same_object() -> None:
    door = reception()
    error = BackendUnavailableError("is down", backend="a")
    with pytest.raises(BackendUnavailableError) as caught, door.visit(REQUEST):
        raise error

    assert caught.value is error
    assert door.requests().failed == 1
    assert door.latency().p50_s is None


async def test_visit_left_without_a_reply_counts_as_cancelled() -> None:
    door = reception()
    with door.visit(REQUEST):
        pass

    assert door.requests().cancelled == 1


async def test_drain_ends_those_inside_after_the_bound_and_lets_nobody_in() -> None:
    door = reception()
    errors: list[Exception] = []

    async def stay() -> None:
        try:
            with door.visit(REQUEST):
                await anyio.sleep(9)
        except ClosedError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stay)
        await anyio.wait_all_tasks_blocked()
        await door.drain(1.0)
        with pytest.raises(ClosedError), door.visit(REQUEST):
            pytest.fail("it came in")

    assert len(errors) == 1
    assert door.state is ServiceState.DRAINING
    assert (door.requests().refused, door.requests().in_flight) == (2, 0)


async def test_drain_twice_at_once_both_return_when_the_house_is_empty() -> None:
    door = reception()
    with suppress(ClosedError), door.visit(REQUEST):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(door.drain, 5.0)
            tasks.start_soon(door.drain, 1.0)

    assert door.requests().in_flight == 0


async def test_visit_cancelled_at_every_checkpoint_is_counted_out() -> None:
    door = reception()

    async def work() -> None:
        with door.visit(REQUEST) as visit:
            await anyio.sleep(1)
            await anyio.sleep(1)
            visit.reply = REPLY

    async def check() -> None:
        statistics = door.requests()
        assert statistics.in_flight == 0
        assert statistics.received == statistics.answered + statistics.cancelled

    await sweep_cancellation(work, check)


async def test_retire_ends_readiness_and_lets_in_who_comes_all_the_same() -> None:
    door = reception()
    door.retire(5.0)
    with door.visit(REQUEST) as visit:
        visit.reply = REPLY

    assert door.state is ServiceState.DRAINING
    assert door.requests().answered == 1


async def test_shut_lets_nobody_in_and_nobody_out_early() -> None:
    door = reception()
    with door.visit(REQUEST) as visit:
        door.retire(5.0)
        door.shut()
        with pytest.raises(ClosedError), door.visit(REQUEST):
            pytest.fail("it came in")
        await anyio.sleep(2.0)
        visit.reply = REPLY
    await door.drain(0.0)

    assert (door.requests().answered, door.requests().refused) == (1, 1)


async def test_drain_after_who_came_in_meanwhile_waits_for_them_too() -> None:
    door = reception()
    ended_s: list[float] = []

    async def stay(seconds: float) -> None:
        with door.visit(REQUEST) as visit:
            await anyio.sleep(seconds)
            visit.reply = REPLY
        ended_s.append(anyio.current_time())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stay, 1.0)
        await anyio.sleep(0.1)
        door.retire(9.0)
        tasks.start_soon(stay, 5.0)
        await anyio.sleep(0.1)
        await door.drain(9.0)
        drained_s = anyio.current_time()

    assert len(ended_s) == 2
    assert drained_s >= max(ended_s)
