"""What ADR 0004 says of pybreaker itself. A failure here means that a new version changed: read the ADR again."""

from __future__ import annotations

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import pybreaker
import pytest

pytestmark = pytest.mark.anyio

CALLERS = 10


def half_open() -> pybreaker.CircuitBreaker:
    breaker = pybreaker.CircuitBreaker()
    breaker.half_open()
    return breaker


async def fail() -> None:
    raise OSError


async def test_call_coroutine_function_that_fails_counts_a_success_before_it_has_begun() -> None:
    breaker = pybreaker.CircuitBreaker(fail_max=1)

    for _ in range(CALLERS):
        returned = breaker.call(fail)
        assert inspect.iscoroutine(returned)
        with pytest.raises(OSError, match=r"^$"):
            await returned

    assert (breaker.current_state, breaker.fail_counter) == (pybreaker.STATE_CLOSED, 0)


async def test_call_async_without_tornado_is_a_name_error() -> None:
    with pytest.raises(NameError):
        pybreaker.CircuitBreaker().call_async(fail)  # type: ignore[no-untyped-call] # pybreaker does not type it


def test_call_in_several_threads_runs_one_at_a_time() -> None:
    breaker = pybreaker.CircuitBreaker()
    first_has_begun, second_is_about_to, go_on = threading.Event(), threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> None:
        order.append("first begins")
        first_has_begun.set()
        go_on.wait()
        order.append("first ends")

    def call_second() -> None:
        second_is_about_to.set()
        breaker.call(lambda: order.append("second begins"))

    with ThreadPoolExecutor(2) as threads:
        threads.submit(breaker.call, first)
        first_has_begun.wait()
        threads.submit(call_second)
        second_is_about_to.wait()
        # The second thread now either waits for the lock or is about to; nothing else can let it in before `go_on`.
        lock_is_free = breaker._lock.acquire(blocking=False)  # what the lock does is the fact under test
        go_on.set()

    assert not lock_is_free
    assert order == ["first begins", "first ends", "second begins"]


async def test_calling_half_open_lets_every_caller_through_at_once() -> None:
    breaker = half_open()
    inside = most_inside = 0

    async def caller() -> None:
        nonlocal inside, most_inside
        with breaker.calling():
            inside += 1
            most_inside = max(most_inside, inside)
            await anyio.sleep(1.0)
            inside -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(CALLERS):
            tasks.start_soon(caller)

    assert most_inside == CALLERS


async def test_calling_late_success_of_an_earlier_state_closes_a_breaker_that_has_opened_since() -> None:
    breaker = half_open()
    states: list[str] = []

    async def slow_success() -> None:
        with breaker.calling():
            await anyio.sleep(2.0)

    async def failure_in_between() -> None:
        await anyio.sleep(1.0)
        raise OSError

    async def quick_failure() -> None:
        with pytest.raises(pybreaker.CircuitBreakerError), breaker.calling():
            await failure_in_between()
        states.append(breaker.current_state)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow_success)
        tasks.start_soon(quick_failure)

    assert [*states, breaker.current_state] == [pybreaker.STATE_OPEN, pybreaker.STATE_CLOSED]


async def hang_in(breaker: pybreaker.CircuitBreaker) -> None:
    with breaker.calling():
        await anyio.sleep_forever()


async def test_calling_cancelled_counts_a_failure() -> None:
    breaker = pybreaker.CircuitBreaker(fail_max=100)

    for _ in range(CALLERS):
        with anyio.move_on_after(1.0):
            await hang_in(breaker)

    assert breaker.fail_counter == CALLERS


async def test_calling_cancelled_at_the_threshold_turns_the_cancellation_into_an_error() -> None:
    breaker = pybreaker.CircuitBreaker(fail_max=1)

    with pytest.raises(pybreaker.CircuitBreakerError), anyio.move_on_after(1.0):
        await hang_in(breaker)


def test_call_listener_raises_takes_the_place_of_the_result() -> None:
    class Broken(pybreaker.CircuitBreakerListener):
        def success(self, cb: pybreaker.CircuitBreaker) -> None:
            raise RuntimeError("the pager is down")

    def work() -> str:
        return "answer"

    with pytest.raises(RuntimeError, match="the pager is down"):
        pybreaker.CircuitBreaker(listeners=[Broken()]).call(work)
