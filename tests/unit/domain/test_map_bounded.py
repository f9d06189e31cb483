from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import anyio
import pytest

from holdfast.domain.map_bounded import Err, Ok, map_bounded
from holdfast.ports.errors import ConfigurationError
from holdfast.testing import sweep_cancellation

pytestmark = pytest.mark.anyio


class Shutdown(BaseException):
    """Ends the program; not an Exception."""


async def square(number: int) -> int:
    await anyio.sleep(1.0)
    return number**2


async def test_results_of_work_that_ends_in_any_order_stand_in_input_order() -> None:
    async def wait(delay_s: float) -> float:
        await anyio.sleep(delay_s)
        return delay_s

    assert await map_bounded([3.0, 1.0, 2.0], wait, limit=3) == [Ok(3.0), Ok(1.0), Ok(2.0)]


async def test_no_items_give_no_results_and_call_nothing() -> None:
    async def work(item: object) -> None:
        pytest.fail(f"called with {item!r}")

    assert await map_bounded([], work, limit=3) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_all_items_are_worked_on_whatever_the_limit(limit: int) -> None:
    results = await map_bounded(range(7), square, limit=limit)

    assert results == [Ok(number**2) for number in range(7)]


@pytest.mark.parametrize(("limit", "expected_s"), [(1, 6.0), (2, 3.0), (4, 2.0), (6, 1.0)])
async def test_limit_is_both_kept_and_used(limit: int, expected_s: float) -> None:
    start_s = anyio.current_time()
    running = 0
    most = 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(1.0)
        running -= 1
        return number

    await map_bounded(range(6), work, limit=limit)

    assert most == limit
    assert anyio.current_time() - start_s == pytest.approx(expected_s)


async def test_items_are_pulled_at_most_the_limit_ahead_of_those_that_ended() -> None:
    pulled = 0
    ended = 0
    ahead: list[int] = []

    def source() -> Iterator[int]:
        nonlocal pulled
        for number in range(50):
            pulled += 1
            ahead.append(pulled - ended)
            yield number

    async def work(number: int) -> None:
        nonlocal ended
        await anyio.sleep(number % 3 + 1.0)
        ended += 1

    await map_bounded(source(), work, limit=4)

    assert max(ahead) == 4


async def test_error_of_one_item_is_its_result_and_ends_no_other() -> None:
    error = RuntimeError("broken")

    async def work(number: int) -> int:
        await anyio.sleep(1.0)
        if number == 1:
            raise error
        return number

    results = await map_bounded(range(3), work, limit=2)

    assert results == [Ok(0), Err(error), Ok(2)]


async def test_results_are_told_apart_by_matching() -> None:
    async def invert(number: int) -> float:
        await anyio.lowlevel.checkpoint()
        return 1 / number

    told: list[str] = []
    for result in await map_bounded([2, 0], invert, limit=1):
        match result:
            case Ok(value):
                told.append(f"value {value}")
            case Err(error):
                told.append(f"error {type(error).__name__}")

    assert told == ["value 0.5", "error ZeroDivisionError"]


@pytest.mark.parametrize("limit", [1, 3])
async def test_error_that_is_no_exception_propagates_as_the_same_object_and_ends_the_rest(limit: int) -> None:
    fatal = Shutdown()
    ended: list[int] = []

    async def work(number: int) -> None:
        try:
            await anyio.sleep(1.0 if number == 1 else 5.0)
            if number == 1:
                raise fatal
        finally:
            ended.append(number)

    with pytest.raises(Shutdown) as raised:
        await map_bounded(range(50), work, limit=limit)

    assert raised.value is fatal
    assert sorted(ended) == list(range(2 if limit == 1 else 3))


async def test_group_of_errors_that_are_no_exceptions_propagates_as_a_group_of_them() -> None:
    fatal = Shutdown()

    async def work(number: int) -> None:
        raise BaseExceptionGroup("both", [fatal, RuntimeError()])

    with pytest.raises(BaseExceptionGroup, match="both") as raised:
        await map_bounded([1], work, limit=1)

    assert raised.value.exceptions[0] is fatal


@pytest.mark.parametrize("good", [0, 1, 5])
async def test_source_that_fails_propagates_its_error_as_the_same_object(good: int) -> None:
    error = OSError("cannot read on")

    def source() -> Iterator[int]:
        yield from range(good)
        raise error

    with pytest.raises(OSError, match="cannot read on") as raised:
        await map_bounded(source(), square, limit=2)

    assert raised.value is error


async def test_fatal_error_while_the_caller_is_cancelled_wins_over_the_cancellation() -> None:
    fatal = Shutdown()

    async def work(number: int) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            if number == 1:
                raise fatal

    with anyio.move_on_after(1.0), pytest.raises(Shutdown) as raised:
        await map_bounded(range(3), work, limit=3)

    assert raised.value is fatal


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("items", [[1], [0, 1], [1, 0], [0, 2, 1]])
async def test_cancellation_that_work_raises_by_itself_is_not_taken_for_an_end(items: list[int]) -> None:
    async def work(number: int) -> int:
        await anyio.sleep(number)
        if number == 1:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        return number

    with pytest.raises(asyncio.CancelledError):
        await map_bounded(items, work, limit=2)


async def test_cancel_from_outside_passes_through_and_leaves_nothing_running() -> None:
    ended: list[int] = []

    async def work(number: int) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(number)
            ended.append(number)

    with anyio.move_on_after(5.0) as scope:
        await map_bounded([1, 2, 3], work, limit=2)

    assert scope.cancelled_caught
    assert ended == [1, 2]


async def test_cancel_at_every_checkpoint_starts_no_work_that_does_not_end() -> None:
    running: set[int] = set()

    async def work(number: int) -> None:
        running.add(number)
        try:
            await anyio.lowlevel.checkpoint()
            await anyio.sleep(1.0)
        finally:
            running.remove(number)

    async def scenario() -> None:
        await map_bounded(range(5), work, limit=2)

    async def check() -> None:
        assert running == set()

    assert await sweep_cancellation(scenario, check) >= 1


async def test_error_in_a_result_is_freed_with_it_and_without_the_garbage_collector() -> None:
    class Broken(Exception):  # noqa: N818 - it stands for any error
        pass

    async def work(number: int) -> None:
        raise Broken

    gc.collect()
    gc.disable()
    try:
        results = await map_bounded([1], work, limit=1)
        assert isinstance(results[0], Err)
        watched = weakref.ref(results[0].error)
        del results

        assert watched() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("limit", [0, -1])
async def test_limit_below_one_is_refused_before_anything_is_pulled(limit: int) -> None:
    source = iter([1, 2])
    with pytest.raises(ConfigurationError, match="limit"):
        await map_bounded(source, square, limit=limit)

    assert list(source) == [1, 2]
