from __future__ import annotations

import gc
import weakref

import anyio
import pytest
import trio

from holdfast.domain.breaker_config import BreakerConfig
from holdfast.domain.circuit_breaker import CircuitBreaker
from holdfast.domain.compose import compose
from holdfast.domain.deadline import Deadline
from holdfast.domain.timeout import Timeout
from holdfast.ports.errors import (
    AttemptTimeoutError,
    BackendRequestError,
    BackendThrottledError,
    BreakerOpenError,
    DeadlineExceededError,
)
from holdfast.ports.outcome import Outcome, Verdict
from holdfast.ports.statistics import BreakerState
from holdfast.testing import VirtualClock, sweep_cancellation

pytestmark = pytest.mark.anyio

FAILED = Verdict(outcome=Outcome.FAILURE)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def breaker(clock: VirtualClock) -> CircuitBreaker:
    return CircuitBreaker("echo", BreakerConfig(slow_after_s=10.0), clock=clock, random=lambda: 1.0)


async def answer() -> str:
    await anyio.lowlevel.checkpoint()
    return "answer"


class Failing:
    """Work that raises the same object each time."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def __call__(self) -> None:
        await anyio.lowlevel.checkpoint()
        raise self.error


async def half_open(breaker: CircuitBreaker, clock: VirtualClock) -> None:
    for _ in range(5):
        breaker.settle(breaker.acquire(), FAILED)
    await clock.sleep(5.0)


async def test_call_work_returns_returns_it_and_counts_a_success(breaker: CircuitBreaker) -> None:
    assert await breaker.call(answer) == "answer"
    assert (breaker.statistics().succeeded, breaker.statistics().in_flight) == (1, 0)


async def test_call_work_takes_too_long_counts_as_slow(breaker: CircuitBreaker) -> None:
    await breaker.call(lambda: anyio.sleep(10.0))

    assert breaker.statistics().slow == 1


async def test_call_work_takes_too_long_with_its_deadline_lifted_is_not_slow(
    breaker: CircuitBreaker, clock: VirtualClock
) -> None:
    deadline = Deadline.after(60.0, clock)

    async def wait_for_readers() -> None:
        deadline.lift()
        await anyio.sleep(100.0)

    await breaker.call(wait_for_readers, deadline=deadline)

    assert (breaker.statistics().slow, breaker.statistics().succeeded) == (0, 1)


async def test_call_while_it_runs_is_in_flight(breaker: CircuitBreaker) -> None:
    seen: list[int] = []

    async def work() -> None:
        seen.append(breaker.statistics().in_flight)

    await breaker.call(work)

    assert seen == [1]


@pytest.mark.parametrize(
    ("error", "counter"),
    [
        (ConnectionResetError(), "failed"),
        (BackendThrottledError(backend="echo"), "rejected_by_peer"),
        (BackendRequestError("too long", backend="echo"), "ignored"),
        (BreakerOpenError(breaker="inner", retry_after_s=None), "ignored"),
        (ExceptionGroup("both", [OSError(), OSError()]), "failed"),
        (KeyboardInterrupt(), "ignored"),
        (SystemExit(), "ignored"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value,
)
async def test_call_work_raises_counts_it_by_kind_and_raises_the_same_object(
    breaker: CircuitBreaker, error: BaseException, counter: str
) -> None:
    with pytest.raises(type(error)) as caught:
        await breaker.call(Failing(error))

    assert caught.value is error
    assert getattr(breaker.statistics(), counter) == 1
    assert breaker.statistics().in_flight == 0


async def test_call_work_raises_before_it_awaits_settles_too(breaker: CircuitBreaker) -> None:
    def work() -> object:
        raise OSError

    with pytest.raises(OSError, match=r"^$"):
        await breaker.call(work)  # type: ignore[arg-type] # it never gets as far as returning an awaitable

    assert (breaker.statistics().failed, breaker.statistics().in_flight) == (1, 0)


async def test_call_own_classifier_decides_what_an_error_means(clock: VirtualClock) -> None:
    ignore_all = CircuitBreaker(
        "echo", clock=clock, random=lambda: 1.0, classify=lambda _error: Verdict(outcome=Outcome.IGNORED)
    )

    with pytest.raises(OSError, match=r"^$"):
        await ignore_all.call(Failing(OSError()))

    assert ignore_all.statistics().ignored == 1


async def test_call_classifier_raises_gives_the_permit_back(clock: VirtualClock) -> None:
    def broken(error: Exception) -> Verdict:
        raise TypeError from error

    breaker = CircuitBreaker("echo", clock=clock, random=lambda: 1.0, classify=broken)

    with pytest.raises(TypeError):
        await breaker.call(Failing(OSError()))

    assert (breaker.statistics().ignored, breaker.statistics().in_flight) == (1, 0)


async def test_call_open_does_not_begin_the_work(breaker: CircuitBreaker) -> None:
    begun: list[str] = []

    async def work() -> None:
        begun.append("begun")

    for _ in range(5):
        breaker.settle(breaker.acquire(), FAILED)

    with pytest.raises(BreakerOpenError):
        await breaker.call(work)

    assert begun == []


async def test_call_attempt_times_out_inside_counts_as_failed(breaker: CircuitBreaker) -> None:
    with pytest.raises(AttemptTimeoutError):
        await compose(breaker, Timeout(1.0)).call(anyio.sleep_forever)

    assert breaker.statistics().failed == 1


async def test_call_cancelled_before_the_deadline_counts_as_nothing(
    breaker: CircuitBreaker, clock: VirtualClock
) -> None:
    with anyio.move_on_after(1.0):
        await breaker.call(anyio.sleep_forever, deadline=Deadline.after(2.0, clock))

    assert (breaker.statistics().ignored, breaker.statistics().failed) == (1, 0)


async def test_call_cancelled_without_a_deadline_counts_as_nothing(breaker: CircuitBreaker) -> None:
    with anyio.move_on_after(1.0):
        await breaker.call(anyio.sleep_forever)

    assert (breaker.statistics().ignored, breaker.statistics().failed) == (1, 0)


async def test_call_cut_at_the_deadline_counts_as_failed_and_stays_a_cancellation(
    breaker: CircuitBreaker, clock: VirtualClock
) -> None:
    with anyio.move_on_after(2.0) as scope:
        await breaker.call(anyio.sleep_forever, deadline=Deadline.after(2.0, clock))

    assert scope.cancelled_caught
    assert (breaker.statistics().ignored, breaker.statistics().failed) == (0, 1)


async def test_call_backend_hangs_up_to_the_deadline_five_times_opens(
    breaker: CircuitBreaker, clock: VirtualClock
) -> None:
    for _ in range(5):
        with anyio.move_on_after(2.0):
            await breaker.call(anyio.sleep_forever, deadline=Deadline.after(2.0, clock))

    assert breaker.statistics().state is BreakerState.OPEN


async def test_call_cut_at_the_deadline_tells_the_trip_policy_a_deadline_error(clock: VirtualClock) -> None:
    heard: list[Exception | None] = []

    class Listening:
        def record(self, outcome: Outcome, *, now_s: float, error: Exception | None = None) -> bool:
            heard.append(error)
            return False

        def reset(self, *, now_s: float) -> None:
            pass

    breaker = CircuitBreaker("echo", clock=clock, random=lambda: 1.0, trip_policy=Listening())

    with anyio.move_on_after(2.0):
        await breaker.call(anyio.sleep_forever, deadline=Deadline.after(2.0, clock))

    assert [type(error) for error in heard] == [DeadlineExceededError]


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_call_cut_at_the_deadline_inside_a_trio_nursery_counts_as_failed(
    breaker: CircuitBreaker, clock: VirtualClock
) -> None:
    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)

    with anyio.move_on_after(2.0):
        await breaker.call(work, deadline=Deadline.after(2.0, clock))

    assert (breaker.statistics().ignored, breaker.statistics().failed) == (0, 1)


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_call_interrupted_in_a_cancelled_trio_nursery_counts_as_nothing(
    breaker: CircuitBreaker, clock: VirtualClock
) -> None:
    deadline = Deadline.after(1.0, clock)

    async def stop() -> None:
        await trio.sleep(2.0)
        raise KeyboardInterrupt

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)

    with pytest.raises(BaseExceptionGroup):
        await breaker.call(work, deadline=deadline)

    assert (breaker.statistics().ignored, breaker.statistics().failed) == (1, 0)


async def test_call_interrupted_after_the_deadline_by_something_else_counts_as_nothing(
    breaker: CircuitBreaker, clock: VirtualClock
) -> None:
    deadline = Deadline.after(1.0, clock)

    async def work() -> None:
        await anyio.sleep(2.0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await breaker.call(work, deadline=deadline)

    assert (breaker.statistics().ignored, breaker.statistics().failed) == (1, 0)


async def test_call_coroutine_closed_after_the_deadline_counts_as_nothing(
    breaker: CircuitBreaker, clock: VirtualClock
) -> None:
    deadline = Deadline.after(1.0, clock)
    abandoned = breaker.call(anyio.sleep_forever, deadline=deadline)
    abandoned.send(None)
    await clock.sleep(2.0)

    abandoned.close()

    assert (breaker.statistics().ignored, breaker.statistics().in_flight) == (1, 0)


async def test_call_probe_cancelled_lets_the_next_caller_probe(breaker: CircuitBreaker, clock: VirtualClock) -> None:
    await half_open(breaker, clock)
    with anyio.move_on_after(1.0):
        await breaker.call(anyio.sleep_forever)

    for _ in range(3):
        await breaker.call(answer)

    assert breaker.statistics().state is BreakerState.CLOSED


async def test_call_probe_hangs_without_a_deadline_opens_by_time(breaker: CircuitBreaker, clock: VirtualClock) -> None:
    await half_open(breaker, clock)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(breaker.call, anyio.sleep_forever)
        await clock.sleep(60.5)
        hung = breaker.statistics()
        tasks.cancel_scope.cancel()

    assert (hung.state, hung.in_flight) == (BreakerState.OPEN, 1)
    assert breaker.statistics().in_flight == 0


@pytest.mark.parametrize("start", [BreakerState.CLOSED, BreakerState.HALF_OPEN])
async def test_call_cancelled_at_any_checkpoint_leaves_nothing_behind(clock: VirtualClock, start: BreakerState) -> None:
    breaker = CircuitBreaker("echo", clock=clock, random=lambda: 1.0)
    if start is BreakerState.HALF_OPEN:
        await half_open(breaker, clock)
    failed_before = breaker.statistics().failed

    async def work() -> None:
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        await anyio.sleep(1.0)

    async def check() -> None:
        counted = breaker.statistics()
        assert (counted.state, counted.in_flight, counted.failed) == (start, 0, failed_before)
        assert counted.admitted == counted.succeeded + counted.failed + counted.ignored

    assert await sweep_cancellation(lambda: breaker.call(work), check) >= 4


async def test_call_error_that_was_raised_is_freed_without_the_garbage_collector(breaker: CircuitBreaker) -> None:
    class Weak(Exception):  # noqa: N818 - a plain OSError takes no weak reference
        pass

    async def work() -> None:
        raise Weak

    async def fail_once() -> weakref.ref[Weak]:
        try:
            await breaker.call(work)
        except Weak as error:
            return weakref.ref(error)
        raise AssertionError

    gc.disable()
    try:
        freed = await fail_once()
        assert freed() is None
    finally:
        gc.enable()
