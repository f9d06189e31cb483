from __future__ import annotations

import gc
import weakref

import anyio
import pytest

from holdfast.domain.admission import AdmissionConfig, AdmissionQueue
from holdfast.domain.concurrency_limit import ConcurrencyLimit, Permit
from holdfast.domain.deadline import Deadline
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import BackpressureError, ConfigurationError, DeadlineExceededError
from holdfast.ports.events import Event, RequestRefused
from holdfast.ports.service import Priority
from holdfast.testing import VirtualClock

pytestmark = pytest.mark.anyio

CLOCK = VirtualClock()


def make(*, slots: int = 1, config: AdmissionConfig = AdmissionConfig()) -> AdmissionQueue:  # noqa: B008 - frozen
    return AdmissionQueue(config, limit=ConcurrencyLimit(slots), clock=CLOCK)


def urgency(priority: Priority = Priority.NORMAL, *, timeout_s: float = 60.0) -> Urgency:
    return Urgency(priority, Deadline.after(timeout_s, CLOCK))


async def taken(queue: AdmissionQueue) -> Permit:
    return await queue.acquire(size_bytes=1, urgency=urgency())


async def until_waiting(queue: AdmissionQueue, count: int) -> None:
    while queue.statistics().waiting < count:
        await anyio.lowlevel.checkpoint()


def test_config_by_default_lets_a_thousand_entries_of_64_mebibytes_wait() -> None:
    config = AdmissionConfig()

    assert (config.max_waiting, config.max_bytes, config.ageing_s) == (1000, 67_108_864, 5.0)
    assert (config.max_tokens, config.weights, config.burst_tokens) == (20_000_000, {}, 65_536)
    assert (config.overload_after_s, config.overload_timeout_s) == (10.0, 5.0)


def test_config_with_bounds_of_one_is_taken() -> None:
    assert AdmissionConfig(max_waiting=1, max_bytes=1, max_tokens=1, burst_tokens=0).max_bytes == 1


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"max_waiting": 0}, r"admission\.max_waiting"),
        ({"max_bytes": 0}, r"admission\.max_bytes"),
        ({"ageing_s": 0.0}, r"admission\.ageing_s"),
        ({"ageing_s": float("inf")}, r"admission\.ageing_s"),
        ({"max_tokens": 0}, r"admission\.max_tokens"),
        ({"burst_tokens": -1}, r"admission\.burst_tokens"),
        ({"overload_after_s": 0.0}, r"admission\.overload_after_s"),
        ({"overload_timeout_s": float("nan")}, r"admission\.overload_timeout_s"),
    ],
)
def test_config_out_of_range_is_refused(config: dict[str, float], path: str) -> None:
    with pytest.raises(ConfigurationError, match=path):
        AdmissionConfig(**config)  # type: ignore[arg-type] # one of them is a float, and out of range anyway


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), float("nan")])
def test_config_with_a_weight_that_is_no_share_is_refused_with_the_tenant_named(weight: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"admission\.weights: 'b' must weigh .* not {weight!r}"):
        AdmissionConfig(weights={"a": 1.0, "b": weight})


async def test_acquire_with_a_free_slot_does_not_yield_to_other_tasks() -> None:
    queue = make()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await taken(queue)

    assert not scope.cancelled_caught
    assert queue.statistics().limit.in_flight == 1


async def test_acquire_waits_until_a_slot_is_released() -> None:
    queue = make()
    permit = await taken(queue)
    start_s = anyio.current_time()

    async def release_later() -> None:
        await anyio.sleep(3.0)
        queue.release(permit)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(release_later)
        queue.release(await taken(queue))

    assert anyio.current_time() - start_s == pytest.approx(3.0)
    assert queue.statistics().limit.in_flight == 0


async def test_acquire_by_many_is_granted_in_order_of_priority_and_arrival() -> None:
    queue = make()
    permit = await taken(queue)
    served: list[str] = []

    async def caller(name: str, priority: Priority) -> None:
        held = await queue.acquire(size_bytes=1, urgency=urgency(priority))
        served.append(name)
        await anyio.sleep(0.1)
        queue.release(held)

    async with anyio.create_task_group() as tasks:
        arrivals = (
            ("bulk", Priority.BULK),
            ("one", Priority.NORMAL),
            ("two", Priority.NORMAL),
            ("high", Priority.HIGH),
        )
        for place, (name, priority) in enumerate(arrivals, start=1):
            tasks.start_soon(caller, name, priority)
            await until_waiting(queue, place)
        queue.release(permit)

    assert served == ["high", "one", "two", "bulk"]


async def test_acquire_of_bulk_work_under_a_steady_load_of_critical_work_is_granted_by_ageing() -> None:
    queue = make(config=AdmissionConfig(ageing_s=1.0, overload_after_s=3600.0))
    permit = await taken(queue)
    start_s = anyio.current_time()
    granted_after_s: list[float] = []

    async def bulk() -> None:
        held = await queue.acquire(size_bytes=1, urgency=urgency(Priority.BULK))
        granted_after_s.append(anyio.current_time() - start_s)
        queue.release(held)

    async def critical() -> None:
        held = await queue.acquire(size_bytes=1, urgency=urgency(Priority.CRITICAL))
        await anyio.sleep(0.5)
        queue.release(held)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bulk)
        await until_waiting(queue, 1)
        for _ in range(40):
            tasks.start_soon(critical)
            await anyio.sleep(0.25)
        assert granted_after_s == []
        queue.release(permit)

    assert granted_after_s == [pytest.approx(10.0 + 16 * 0.5)]


async def test_acquire_past_the_deadline_raises() -> None:
    queue = make()
    late = urgency(timeout_s=1.0)
    await anyio.sleep(2.0)
    with pytest.raises(DeadlineExceededError):
        await queue.acquire(size_bytes=1, urgency=late)

    assert queue.statistics().expired == 1


async def test_acquire_whose_deadline_passes_in_line_without_a_scope_raises_when_its_turn_comes() -> None:
    queue = make()
    permit = await taken(queue)

    async def release_later() -> None:
        await anyio.sleep(3.0)
        queue.release(permit)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(release_later)
        with pytest.raises(DeadlineExceededError):
            await queue.acquire(size_bytes=1, urgency=urgency(timeout_s=1.0))

    assert (queue.statistics().expired, queue.statistics().limit.in_flight) == (1, 0)


async def test_acquire_that_is_shed_raises_backpressure_and_the_newcomer_takes_the_place() -> None:
    queue = make(config=AdmissionConfig(max_waiting=1))
    permit = await taken(queue)
    ended: list[str] = []

    async def caller(name: str, priority: Priority) -> None:
        try:
            queue.release(await queue.acquire(size_bytes=1, urgency=urgency(priority)))
        except BackpressureError as error:
            ended.append(f"{name}: {error.reason}")
        else:
            ended.append(f"{name}: granted")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller, "low", Priority.LOW)
        await until_waiting(queue, 1)
        tasks.start_soon(caller, "high", Priority.HIGH)
        await anyio.sleep(1.0)
        queue.release(permit)

    assert ended == ["low: the admission queue is full and more urgent work has come", "high: granted"]


async def test_acquire_that_is_shed_frees_its_error_without_the_garbage_collector() -> None:
    queue = make(config=AdmissionConfig(max_waiting=1))
    await taken(queue)
    watched: list[weakref.ref[BaseException]] = []

    async def shed() -> None:
        try:
            await queue.acquire(size_bytes=1, urgency=urgency(Priority.LOW))
        except BackpressureError as error:
            watched.append(weakref.ref(error))

    gc.collect()
    gc.disable()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shed)
            await until_waiting(queue, 1)
            with anyio.move_on_after(1.0):
                await queue.acquire(size_bytes=1, urgency=urgency(Priority.HIGH))

        assert [reference() for reference in watched] == [None]
    finally:
        gc.enable()


async def test_acquire_of_a_flight_that_rises_in_line_is_granted_before_others() -> None:
    queue = make()
    permit = await taken(queue)
    served: list[str] = []
    flight = urgency(Priority.BULK)

    async def caller(name: str, own: Urgency) -> None:
        held = await queue.acquire(size_bytes=1, urgency=own)
        served.append(name)
        queue.release(held)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller, "normal", urgency())
        await until_waiting(queue, 1)
        tasks.start_soon(caller, "flight", flight)
        await until_waiting(queue, 2)
        flight.rise_to(urgency(Priority.HIGH))
        queue.release(permit)

    assert served == ["flight", "normal"]


async def test_release_twice_changes_nothing() -> None:
    queue = make(slots=2)
    permit = await taken(queue)
    await taken(queue)
    queue.release(permit)
    queue.release(permit)

    assert queue.statistics().limit.in_flight == 1


async def test_call_returns_what_the_work_returns_and_frees_the_slot() -> None:
    queue = make()

    async def work() -> int:
        await anyio.lowlevel.checkpoint()
        return queue.statistics().limit.in_flight

    assert await queue.call(work, size_bytes=1, urgency=urgency()) == 1
    assert queue.statistics().limit.in_flight == 0


async def test_call_that_fails_raises_its_error_and_frees_the_slot() -> None:
    queue = make()
    error = RuntimeError("broken")

    async def work() -> None:
        raise error

    with pytest.raises(RuntimeError) as raised:
        await queue.call(work, size_bytes=1, urgency=urgency())

    assert raised.value is error
    assert queue.statistics().limit.in_flight == 0


async def test_call_that_is_refused_does_not_call_the_work() -> None:
    queue = make(config=AdmissionConfig(max_bytes=1))
    await taken(queue)
    called: list[str] = []

    async def work() -> None:
        called.append("called")

    with pytest.raises(BackpressureError):
        await queue.call(work, size_bytes=2, urgency=urgency())

    assert called == []


async def test_acquire_by_two_tenants_is_granted_by_turns() -> None:
    queue = make()
    permit = await taken(queue)
    served: list[str] = []

    async def caller(tenant: str) -> None:
        held = await queue.acquire(tenant=tenant, tokens=100, size_bytes=1, urgency=urgency())
        served.append(tenant)
        queue.release(held)

    async with anyio.create_task_group() as tasks:
        for place, tenant in enumerate(("big", "big", "big", "small"), start=1):
            tasks.start_soon(caller, tenant)
            await until_waiting(queue, place)
        queue.release(permit)

    assert served == ["big", "small", "big", "big"]


async def test_call_hands_tenant_and_tokens_on() -> None:
    queue = make()
    await taken(queue)

    async def wait(tenant: str) -> None:
        await queue.call(anyio.sleep_forever, tenant=tenant, tokens=300, size_bytes=1, urgency=urgency())

    async with anyio.create_task_group() as tasks:
        for tenant in ("a", "b"):
            tasks.start_soon(wait, tenant)
        await until_waiting(queue, 2)
        counted = queue.statistics()
        tasks.cancel_scope.cancel()

    assert (counted.waiting_tenants, counted.waiting_tokens) == (2, 600)


async def test_acquire_in_a_line_that_is_overloaded_raises_once_it_has_waited_for_too_long() -> None:
    queue = make(config=AdmissionConfig(overload_after_s=2.0, overload_timeout_s=1.0))
    await taken(queue)
    ended: list[tuple[int, float, float | None]] = []

    async def caller(number: int) -> None:
        began_s = anyio.current_time()
        try:
            await queue.acquire(size_bytes=1, urgency=urgency())
        except BackpressureError as error:
            ended.append((number, anyio.current_time() - began_s, error.retry_after_s))

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(caller, number)
            await anyio.sleep(0.5)
        tasks.cancel_scope.cancel()

    assert [number for number, _, _ in ended] == [1, 2, 3, 4, 5, 6]
    assert all(waited_s <= 1.5 + 1e-9 and retry_after_s == 1.0 for _, waited_s, retry_after_s in ended[1:])


async def test_events_are_told_to_whom_the_queue_was_given() -> None:
    told: list[Event] = []

    class Sink:
        def emit(self, event: Event) -> None:
            told.append(event)

    config = AdmissionConfig(max_bytes=1)
    queue = AdmissionQueue(config, limit=ConcurrencyLimit(1), clock=CLOCK, events=Sink())
    await taken(queue)
    with pytest.raises(BackpressureError):
        await queue.acquire(tenant="t", size_bytes=2, urgency=urgency())

    assert told == [RequestRefused(tenant="t", priority=Priority.NORMAL, reason="too large", retry_after_s=None)]
