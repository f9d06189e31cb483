from __future__ import annotations

import contextvars
from typing import Any

import anyio
import pytest

from holdfast.domain.deduplicator import DeduplicationConfig, Shared
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.service import Disposition, Priority
from tests.fakes.deduplication import KEY, OTHER, Backend, Callers, engine, run, settle, urgency

pytestmark = pytest.mark.anyio

request_name: contextvars.ContextVar[str] = contextvars.ContextVar("request_name")


async def test_run_alone_calls() -> None:
    backend = Backend()
    async with engine() as shared:
        answer = await run(shared, backend)

    assert answer == Shared(value="answer 1", disposition=Disposition.CALLED)


async def test_run_of_a_key_in_flight_joins_it() -> None:
    backend = Backend()
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        await callers.start(lambda: run(shared, backend))
        await callers.start(lambda: run(shared, backend))

    assert callers.ended == [
        Shared(value="answer 1", disposition=Disposition.CALLED),
        Shared(value="answer 1", disposition=Disposition.JOINED),
    ]


async def test_run_within_the_window_finds_the_answer() -> None:
    backend = Backend()
    async with engine() as shared:
        await run(shared, backend)
        await anyio.sleep(299.0)

        answer = await run(shared, backend)

    assert answer == Shared(value="answer 1", disposition=Disposition.CACHED)


async def test_run_after_the_window_calls_again() -> None:
    backend = Backend()
    async with engine() as shared:
        await run(shared, backend)
        await anyio.sleep(301.0)

        answer = await run(shared, backend)

    assert answer == Shared(value="answer 2", disposition=Disposition.CALLED)


async def test_run_of_other_keys_is_not_shared() -> None:
    backend = Backend()
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        await callers.start(lambda: shared.run(KEY, backend, urgency=urgency()))
        await callers.start(lambda: shared.run(OTHER, backend, urgency=urgency()))

    assert backend.calls == 2


async def test_run_by_a_thousand_identical_callers_calls_once() -> None:
    backend = Backend()
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        for _ in range(1000):
            await callers.start(lambda: run(shared, backend))

    statistics = shared.statistics()
    assert backend.calls == 1
    assert {answer.value for answer in callers.ended if isinstance(answer, Shared)} == {"answer 1"}
    assert (statistics.requests, statistics.called, statistics.joined) == (1000, 1, 999)
    assert statistics.saved_ratio == pytest.approx(0.999)


async def test_answer_larger_than_the_window_is_shared_but_not_kept() -> None:
    backend = Backend()
    async with engine(DeduplicationConfig(max_bytes=3)) as shared:
        async with anyio.create_task_group() as tasks:
            callers = Callers(tasks)
            await callers.start(lambda: run(shared, backend))
            await callers.start(lambda: run(shared, backend))
        answer = await run(shared, backend)

    assert answer.disposition is Disposition.CALLED
    assert (backend.calls, shared.statistics().joined, shared.statistics().oversized) == (2, 1, 2)


async def test_leader_cancelled_while_another_waits_does_not_cancel_the_call() -> None:
    backend = Backend()
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        await callers.start(lambda: run(shared, backend))
        await callers.start(lambda: run(shared, backend))

        callers.scopes[0].cancel()

    assert callers.ended == [Shared(value="answer 1", disposition=Disposition.JOINED)]
    assert (backend.calls, backend.cancelled) == (1, 0)


async def test_follower_cancelled_while_the_leader_waits_does_not_cancel_the_call() -> None:
    backend = Backend()
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        await callers.start(lambda: run(shared, backend))
        await callers.start(lambda: run(shared, backend))

        callers.scopes[1].cancel()

    assert callers.ended == [Shared(value="answer 1", disposition=Disposition.CALLED)]
    assert (backend.calls, backend.cancelled) == (1, 0)


async def test_last_waiter_cancelled_cancels_the_call() -> None:
    backend = Backend()
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        await callers.start(lambda: run(shared, backend))
        await callers.start(lambda: run(shared, backend))

        for scope in callers.scopes:
            scope.cancel()
        await settle()
        statistics = shared.statistics()

    assert (backend.cancelled, statistics.in_flight, statistics.abandoned, statistics.entries) == (1, 0, 1, 0)


async def test_newcomer_while_an_abandoned_call_still_ends_begins_a_fresh_one() -> None:
    calls: list[str] = []

    async def work(_: Urgency) -> str:
        calls.append("begun")
        try:
            await anyio.sleep(1.0)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await anyio.sleep(10.0)
            calls.append("ended")
            raise
        return "fresh"

    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        await callers.start(lambda: run(shared, work))
        callers.scopes[0].cancel()
        await settle()

        answer = await run(shared, work)

    assert answer == Shared(value="fresh", disposition=Disposition.CALLED)
    assert calls == ["begun", "begun", "ended"]


async def test_late_answer_of_an_abandoned_call_is_not_kept() -> None:
    async def stubborn(_: Urgency) -> str:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1.0)
        return "late"

    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        await callers.start(lambda: run(shared, stubborn))
        callers.scopes[0].cancel()
        await anyio.sleep(2.0)
        statistics = shared.statistics()

    assert (statistics.completed, statistics.abandoned, statistics.entries) == (0, 1, 0)


async def test_late_failure_of_an_abandoned_call_harms_nobody() -> None:
    async def failing_cleanup(_: Urgency) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("cleanup failed")

    backend = Backend()
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        await callers.start(lambda: run(shared, failing_cleanup))
        await callers.start(lambda: shared.run(OTHER, backend, urgency=urgency()))
        callers.scopes[0].cancel()

    assert callers.ended == [Shared(value="answer 1", disposition=Disposition.CALLED)]
    assert (shared.statistics().failed, shared.statistics().abandoned) == (0, 1)


async def test_leader_cancelled_beforehand_leaves_no_call() -> None:
    backend = Backend()
    async with engine() as shared:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await run(shared, backend)
        await settle()
        statistics = shared.statistics()

    assert backend.calls == backend.cancelled  # which of the two runs first is the event loop's choice
    assert (statistics.in_flight, statistics.abandoned) == (0, 1)


async def test_urgency_of_the_call_is_a_copy_that_rises_with_each_caller_who_joins() -> None:
    flights: list[Urgency] = []

    async def work(flight: Urgency) -> str:
        flights.append(flight)
        await anyio.sleep(1.0)
        return "answer"

    leader = urgency(Priority.LOW, timeout_s=5.0)
    follower = urgency(Priority.HIGH, timeout_s=60.0)
    rises: list[Priority] = []
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        await callers.start(lambda: shared.run(KEY, work, urgency=leader))
        flight = flights[0]
        assert (flight.priority, flight.deadline.at_s) == (Priority.LOW, leader.deadline.at_s)
        flight.watch(lambda: rises.append(flight.priority))

        await callers.start(lambda: shared.run(KEY, work, urgency=follower))

    assert (flight.priority, flight.deadline.at_s) == (Priority.HIGH, follower.deadline.at_s)
    assert rises == [Priority.HIGH]
    assert leader.priority is Priority.LOW
    assert leader.deadline.at_s < follower.deadline.at_s


async def test_call_sees_the_context_of_the_caller_who_began_it() -> None:
    seen: list[str] = []

    async def work(_: Urgency) -> str:
        seen.append(request_name.get())
        request_name.set("changed within")
        await anyio.sleep(1.0)
        return "answer"

    left: list[str] = []

    async def caller(name: str) -> None:
        request_name.set(name)
        await run(shared, work)
        left.append(request_name.get())

    async with engine() as shared, anyio.create_task_group() as tasks:
        tasks.start_soon(caller, "leader")
        await settle()
        tasks.start_soon(caller, "follower")

    assert seen == ["leader"]
    assert sorted(left) == ["follower", "leader"]


@pytest.mark.parametrize(
    "values",
    [
        {"window_s": -1.0},
        {"window_s": float("nan")},
        {"window_s": float("inf")},
        {"max_entries": 0},
        {"max_bytes": 0},
    ],
    ids=str,
)
async def test_config_out_of_range_names_the_setting(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        DeduplicationConfig(**values)

    assert raised.value.path == f"deduplication.{next(iter(values))}"


async def test_config_of_no_window_shares_calls_under_way_and_keeps_nothing() -> None:
    backend = Backend()
    async with engine(DeduplicationConfig(window_s=0.0)) as shared:
        async with anyio.create_task_group() as tasks:
            callers = Callers(tasks)
            await callers.start(lambda: run(shared, backend))
            await callers.start(lambda: run(shared, backend))
        await run(shared, backend)

    assert (backend.calls, shared.statistics().joined, shared.statistics().cached) == (2, 1, 0)


async def test_free_drops_kept_answers_and_the_counts_still_add_up() -> None:
    backend = Backend()
    async with engine() as shared:
        await run(shared, backend)
        freed_bytes = shared.free(1)
        answer = await run(shared, backend)

    counted = shared.statistics()
    assert (freed_bytes, answer.disposition) == (len("answer 1"), Disposition.CALLED)
    assert shared.kept_bytes == len("answer 2")
    assert counted.completed == counted.entries + counted.expired + counted.evicted + counted.oversized
    assert (counted.entries, counted.evicted) == (1, 1)
