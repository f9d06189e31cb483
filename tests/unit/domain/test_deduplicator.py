from __future__ import annotations

import asyncio
import contextvars
import gc
import traceback
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup

from holdfast.domain.deadline import Deadline
from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.deduplicator import DeduplicationConfig, Deduplicator, Shared
from holdfast.domain.flight import InProgress, New
from holdfast.domain.result_window import Cached
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import BackendUnavailableError, ClosedError, ConfigurationError, SharedFailureError
from holdfast.ports.service import Disposition, Priority
from holdfast.testing import VirtualClock

pytestmark = pytest.mark.anyio

KEY = DeduplicationKey(digest=b"k" * 32)
OTHER = DeduplicationKey(digest=b"o" * 32)
# For what only asyncio can do, and for what depends on the order in which it runs what is ready.
ONLY_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)

request_name: contextvars.ContextVar[str] = contextvars.ContextVar("request_name")


class UncopyableError(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")


class Collapse(BaseException):
    """Stands for KeyboardInterrupt and SystemExit, which would end the test run."""


def engine(config: DeduplicationConfig = DeduplicationConfig()) -> Deduplicator[str]:  # noqa: B008 - frozen
    return Deduplicator(config, clock=VirtualClock(), size_of=len)


def urgency(priority: Priority = Priority.NORMAL, *, timeout_s: float = 30.0) -> Urgency:
    return Urgency(priority, Deadline.after(timeout_s, VirtualClock()))


class Backend:
    """Answers after a second, and counts."""

    def __init__(self, *, error: BaseException | None = None, seconds: float = 1.0) -> None:
        self.calls = 0
        self.cancelled = 0
        self.error = error
        self.seconds = seconds

    async def __call__(self, urgency: Urgency) -> str:
        self.calls += 1
        try:
            await anyio.sleep(self.seconds)
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return f"answer {self.calls}"


async def run(shared: Deduplicator[str], work: Callable[[Urgency], Awaitable[str]]) -> Shared[str]:
    return await shared.run(KEY, work, urgency=urgency())


class Callers:
    """Starts callers one after the other, and keeps how each ended and the scope that cancels it, in that order."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._ended: dict[int, Shared[str] | Exception] = {}
        self.scopes: list[anyio.CancelScope] = []

    async def start(self, call: Callable[[], Awaitable[Shared[str]]]) -> None:
        """Start a caller and let it run until it waits."""
        self.scopes.append(anyio.CancelScope())
        self._tasks.start_soon(self._run, call, len(self.scopes) - 1)
        await settle()

    async def _run(self, call: Callable[[], Awaitable[Shared[str]]], number: int) -> None:
        with self.scopes[number]:
            try:
                self._ended[number] = await call()
            except Exception as error:  # noqa: BLE001 - what a test looks at
                self._ended[number] = error

    @property
    def ended(self) -> list[Shared[str] | Exception]:
        return [ended for _, ended in sorted(self._ended.items(), key=lambda item: item[0])]

    @property
    def errors(self) -> list[Exception]:
        return [ended for ended in self.ended if isinstance(ended, Exception)]


async def settle() -> None:
    """Let every task run until it waits for time."""
    await anyio.wait_all_tasks_blocked()


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


async def test_failure_reaches_every_waiter_as_its_own_copy_with_the_original_as_cause() -> None:
    original = BackendUnavailableError("down", backend="a")
    backend = Backend(error=original)
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        for _ in range(3):
            await callers.start(lambda: run(shared, backend))

    errors = callers.errors
    assert [type(error) for error in errors] == [BackendUnavailableError] * 3
    assert len({id(error) for error in [original, *errors]}) == 4
    assert all(error.__cause__ is original for error in errors)


async def test_failure_traceback_of_a_waiter_does_not_grow_with_the_others() -> None:
    backend = Backend(error=ValueError("down"))
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        for _ in range(5):
            await callers.start(lambda: run(shared, backend))

    for error in callers.errors:
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert frames.count("run") == 2  # the engine's, and that of this file


async def test_failure_that_cannot_be_copied_reaches_every_waiter_as_shared_failure() -> None:
    original = UncopyableError(code=7)
    backend = Backend(error=original)
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        for _ in range(2):
            await callers.start(lambda: run(shared, backend))

    errors = callers.errors
    assert [type(error) for error in errors] == [SharedFailureError] * 2
    assert errors[0] is not errors[1]
    assert all(error.__cause__ is original for error in errors)


async def test_failure_starts_no_herd() -> None:
    backend = Backend(error=ValueError("down"))
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        for _ in range(100):
            await callers.start(lambda: run(shared, backend))

    assert (backend.calls, len(callers.errors)) == (1, 100)


async def test_failure_is_not_kept() -> None:
    backend = Backend(error=ValueError("down"))
    async with engine() as shared:
        with pytest.raises(ValueError, match="down"):
            await run(shared, backend)
        backend.error = None

        answer = await run(shared, backend)

    assert answer == Shared(value="answer 2", disposition=Disposition.CALLED)
    assert (shared.statistics().failed, shared.statistics().completed) == (1, 1)


async def test_failure_of_work_that_is_no_coroutine_reaches_the_caller() -> None:
    def work(_: Urgency) -> Awaitable[str]:
        raise ValueError("not even begun")

    async with engine() as shared:
        with pytest.raises(ValueError, match="not even begun"):
            await run(shared, work)

    assert shared.statistics().in_flight == 0


async def test_failure_leaves_no_reference_cycle() -> None:
    class Payload:
        pass

    payload = Payload()
    remembered = weakref.ref(payload)
    error = ValueError("down")
    error.payload = payload  # type: ignore[attr-defined] # anything that should go with the error
    backend = Backend(error=error)
    del payload, error
    gc.disable()
    try:
        async with engine() as shared:
            try:
                await run(shared, backend)
            except ValueError:
                backend.error = None

        assert remembered() is None
    finally:
        gc.enable()


async def test_size_that_cannot_be_told_fails_the_callers() -> None:
    def size_of(value: str) -> int:
        raise TypeError(value)

    async with Deduplicator[str](clock=VirtualClock(), size_of=size_of) as shared:
        with pytest.raises(TypeError, match="answer 1"):
            await run(shared, Backend())

    assert (shared.statistics().in_flight, shared.statistics().failed) == (0, 1)


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


async def test_closed_engine_refuses_every_request() -> None:
    async with engine() as shared:
        await run(shared, Backend())
        shared.close()

        with pytest.raises(ClosedError):
            await run(shared, Backend())
        with pytest.raises(ClosedError):
            shared.check_and_register(OTHER)

    assert shared.statistics().requests == 1


async def test_call_under_way_when_the_engine_closes_goes_on_for_its_waiters() -> None:
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        await callers.start(lambda: run(shared, Backend()))

        shared.close()

    assert callers.ended == [Shared(value="answer 1", disposition=Disposition.CALLED)]


async def test_leaving_the_engine_fails_the_waiters_then_cancels_the_calls_and_awaits_them() -> None:
    order: list[str] = []

    async def work(_: Urgency) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1.0)
            order.append("call ended")
        return "never"

    async def caller() -> Shared[str]:
        try:
            return await run(shared, work)
        finally:
            order.append("caller told")

    async with anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        async with engine() as shared:
            await callers.start(caller)
            await callers.start(caller)
        order.append("left")

    assert [type(error) for error in callers.errors] == [ClosedError, ClosedError]
    assert order == ["caller told", "caller told", "call ended", "left"]
    assert shared.statistics().in_flight == 0


@ONLY_ASYNCIO
async def test_call_that_had_not_begun_when_the_engine_was_left_never_begins() -> None:
    backend = Backend()
    told: list[Exception] = []

    async def caller(shared: Deduplicator[str], leave: anyio.Event) -> None:
        leave.set()
        with pytest.raises(ClosedError) as raised:
            await run(shared, backend)
        told.append(raised.value)

    async with anyio.create_task_group() as tasks:
        leave = anyio.Event()
        async with engine() as shared:
            tasks.start_soon(caller, shared, leave)
            await leave.wait()

    assert (backend.calls, len(told), shared.statistics().called) == (0, 1, 1)


async def test_engine_never_opened_refuses_every_request() -> None:
    with pytest.raises(ClosedError):
        await run(engine(), Backend())


async def test_engine_opened_again_refuses() -> None:
    shared = engine()
    async with shared:
        pass

    with pytest.raises(ClosedError):
        async with shared:
            pass


@pytest.mark.parametrize("error", [ValueError("body"), Collapse("body")])
async def test_error_of_the_body_leaves_the_engine_as_it_is(error: BaseException) -> None:
    async def body(callers: Callers) -> None:
        async with engine() as shared:
            await callers.start(lambda: run(shared, Backend()))
            raise error

    async with anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        with pytest.raises(type(error)) as raised:
            await body(callers)

    assert raised.value is error
    assert [type(error) for error in callers.errors] == [ClosedError]


async def test_cancellation_around_the_engine_passes_through_and_fails_the_waiters_outside() -> None:
    async with anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        with anyio.CancelScope() as scope:
            async with engine() as shared:
                await callers.start(lambda: run(shared, Backend()))
                scope.cancel()
                await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert [type(error) for error in callers.errors] == [ClosedError]


async def test_cancellation_around_the_engine_reaches_the_calls_before_the_body_notices() -> None:
    async with anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        with anyio.CancelScope() as scope:
            async with engine() as shared:
                await callers.start(lambda: run(shared, Backend()))
                with anyio.CancelScope(shield=True):
                    scope.cancel()
                    await settle()

                    assert [type(error) for error in callers.errors] == [ClosedError]


@ONLY_ASYNCIO
async def test_native_cancellation_of_the_body_passes_through_as_the_same_exception() -> None:
    seen: list[asyncio.CancelledError] = []

    async def body() -> None:
        async with engine() as shared:
            shared.check_and_register(KEY)
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError as error:
                seen.append(error)
                raise

    task = asyncio.ensure_future(body())
    await settle()
    task.cancel("from outside")

    with pytest.raises(asyncio.CancelledError) as raised:
        await task
    assert raised.value is seen[0]


@ONLY_ASYNCIO
async def test_stray_cancellation_within_a_call_fails_its_waiters_and_spares_other_calls() -> None:
    async def work(_: Urgency) -> str:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        future.cancel()
        return await future

    backend = Backend()
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        await callers.start(lambda: shared.run(OTHER, backend, urgency=urgency()))
        with pytest.raises(SharedFailureError) as raised:
            await run(shared, work)

    assert isinstance(raised.value.__cause__, asyncio.CancelledError)
    assert callers.ended == [Shared(value="answer 1", disposition=Disposition.CALLED)]


async def test_collapse_of_a_call_fails_every_waiter_and_leaves_the_engine_as_it_is() -> None:
    collapse = Collapse()

    async def body(callers: Callers) -> None:
        async with engine() as shared:
            await callers.start(lambda: run(shared, Backend(error=collapse)))
            await callers.start(lambda: run(shared, Backend()))
            await callers.start(lambda: shared.run(OTHER, Backend(seconds=60.0), urgency=urgency()))
            await anyio.sleep(60.0)

    async with anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        with pytest.raises(BaseExceptionGroup) as raised:
            await body(callers)

    assert raised.value.exceptions == (collapse,)
    assert [type(error) for error in callers.errors] == [SharedFailureError, SharedFailureError, ClosedError]
    assert [error.__cause__ for error in callers.errors[:2]] == [collapse, collapse]


async def test_call_that_cannot_be_started_frees_its_key() -> None:
    shared = engine()
    async with shared:
        with pytest.raises(AttributeError):
            await shared.run(KEY, Backend(), urgency=None)  # type: ignore[arg-type] # fails after it was registered

    assert (shared.statistics().in_flight, shared.statistics().abandoned) == (0, 1)


async def test_token_completed_by_its_holder_answers_those_who_joined() -> None:
    async with engine() as shared, anyio.create_task_group() as tasks:
        found = shared.check_and_register(KEY)
        assert isinstance(found, New)
        callers = Callers(tasks)
        await callers.start(lambda: run(shared, Backend()))

        assert shared.complete(found.token, "by hand")
        assert not shared.complete(found.token, "again")

    assert callers.ended == [Shared(value="by hand", disposition=Disposition.JOINED)]
    assert shared.statistics().called == 1


async def test_token_failed_by_its_holder_fails_those_who_joined() -> None:
    async with engine() as shared, anyio.create_task_group() as tasks:
        found = shared.check_and_register(KEY)
        assert isinstance(found, New)
        callers = Callers(tasks)
        await callers.start(lambda: run(shared, Backend()))

        assert shared.fail(found.token, ValueError("by hand"))

    assert [str(error) for error in callers.errors] == ["by hand"]


async def test_token_whose_joiners_all_left_is_still_its_holders() -> None:
    async with engine() as shared:
        found = shared.check_and_register(KEY)
        assert isinstance(found, New)
        with anyio.move_on_after(1.0):
            await run(shared, Backend())

        assert shared.complete(found.token, "by hand")

        assert shared.check_and_register(KEY) == Cached(value="by hand")


async def test_token_never_settled_fails_those_who_joined_when_the_engine_is_left() -> None:
    async with anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        async with engine() as shared:
            shared.check_and_register(KEY)
            await callers.start(lambda: run(shared, Backend()))

    assert [type(error) for error in callers.errors] == [ClosedError]


async def test_waiter_keeps_the_call_going_until_it_leaves() -> None:
    backend = Backend()
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        await callers.start(lambda: run(shared, backend))
        found = shared.check_and_register(KEY)
        assert isinstance(found, InProgress)
        callers.scopes[0].cancel()
        await settle()
        assert backend.cancelled == 0

        with anyio.move_on_after(0.1):
            await found.waiter.wait()
        await settle()

    assert (backend.cancelled, shared.statistics().abandoned) == (1, 1)


async def test_waiter_that_left_and_waits_again_is_told_that_the_call_was_abandoned() -> None:
    async with engine() as shared:
        async with anyio.create_task_group() as tasks:
            callers = Callers(tasks)
            await callers.start(lambda: run(shared, Backend()))
            found = shared.check_and_register(KEY)
            assert isinstance(found, InProgress)
            waiter = found.waiter
            callers.scopes[0].cancel()
            with anyio.move_on_after(0.1):
                await waiter.wait()

        with pytest.raises(ClosedError):
            await waiter.wait()


async def test_waiter_that_left_and_waits_again_counts_no_more() -> None:
    async with engine() as shared, anyio.create_task_group() as tasks:
        callers = Callers(tasks)
        await callers.start(lambda: run(shared, Backend()))
        found = shared.check_and_register(KEY)
        assert isinstance(found, InProgress)
        for _ in range(2):
            with anyio.move_on_after(0.1):
                await found.waiter.wait()

        assert await found.waiter.wait() == "answer 1"

    assert shared.statistics().abandoned == 0


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
