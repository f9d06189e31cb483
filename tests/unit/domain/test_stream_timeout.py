from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from holdfast.domain.deadline import Deadline
from holdfast.domain.stream_log import StreamLog
from holdfast.domain.stream_outlet import Outlet, StreamingConfig
from holdfast.domain.stream_timeout import StreamTimeout
from holdfast.ports.errors import AttemptTimeoutError, ConfigurationError
from holdfast.ports.inference import Deliver
from holdfast.testing import VirtualClock, sweep_cancellation

pytestmark = pytest.mark.anyio

TIMEOUT = StreamTimeout(first_s=5.0, idle_s=2.0)


def sending(*pauses_s: float, last_s: float = 0.0, piece: str = "a") -> Callable[[Deliver], Awaitable[str]]:
    async def work(deliver: Deliver) -> str:
        for pause_s in pauses_s:
            await anyio.sleep(pause_s)
            await deliver(piece)
        await anyio.sleep(last_s)
        return "done"

    return work


def outlet(log: StreamLog | None = None) -> Outlet:
    log = StreamLog(max_ahead_bytes=1000) if log is None else log
    return Outlet(log, deadline=Deadline.after(1e6, VirtualClock()), config=StreamingConfig(stall_timeout_s=1e6))


async def test_call_within_its_times_returns_what_the_work_returns() -> None:
    out = outlet()

    assert await TIMEOUT.call(sending(4.9, *[1.9] * 20, last_s=1.9), out) == "done"
    assert out.sent_text() == "a" * 21


@pytest.mark.parametrize("number", range(1, 6))
async def test_call_with_pieces_in_quick_succession_still_has_all_of_its_time_after_each(number: int) -> None:
    assert await TIMEOUT.call(sending(*[0.3] * number, 2.0, last_s=2.0), outlet()) == "done"


@pytest.mark.parametrize(
    ("work", "allowed_s", "earliest_s", "latest_s"),
    [
        (sending(6.0), 5.0, 5.0, 5.0),
        (sending(1.0, 3.0), 2.0, 3.0, 3.5),
        (sending(1.0, 0.4, 3.0), 2.0, 3.4, 3.9),
        (sending(1.0, last_s=3.0), 2.0, 3.0, 3.5),
        (sending(4.0, 4.0, piece=""), 5.0, 5.0, 5.0),
    ],
    ids=["first piece", "next piece", "a later piece", "end", "empty pieces are none"],
)
async def test_call_that_keeps_its_reader_waiting_is_ended_with_the_seconds_it_had(
    work: Callable[[Deliver], Awaitable[str]], allowed_s: float, earliest_s: float, latest_s: float
) -> None:
    began_s = anyio.current_time()

    with pytest.raises(AttemptTimeoutError) as caught:
        await TIMEOUT.call(work, outlet())

    assert caught.value.timeout_s == allowed_s
    assert earliest_s - 0.001 <= anyio.current_time() - began_s <= latest_s + 0.001


async def test_call_time_that_a_slow_reader_takes_does_not_count() -> None:
    log = StreamLog(max_ahead_bytes=1)

    async def read_slowly() -> None:
        for position in range(3):
            await anyio.sleep(100.0)
            log.read(position)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_slowly)
        done = await TIMEOUT.call(sending(1.0, 1.9, 1.9, last_s=1.9), outlet(log))

    assert done == "done"
    assert log.text() == "aaa"


async def test_call_error_of_the_work_passes_through_as_the_same_object() -> None:
    error = ConnectionResetError()

    async def fail(deliver: Deliver) -> str:
        await deliver("a")
        raise error

    with pytest.raises(ConnectionResetError) as caught:
        await TIMEOUT.call(fail, outlet())

    assert caught.value is error


async def test_call_cancelled_anywhere_ends_the_work() -> None:
    running = 0

    async def work(deliver: Deliver) -> str:
        nonlocal running
        running += 1
        try:
            return await sending(1.0, 1.0)(deliver)
        finally:
            running -= 1

    async def check() -> None:
        assert running == 0

    assert await sweep_cancellation(lambda: TIMEOUT.call(work, outlet()), check) >= 2


@pytest.mark.parametrize(("first_s", "idle_s"), [(0.0, 1.0), (1.0, 0.0), (float("nan"), 1.0)])
def test_seconds_out_of_range_are_refused(first_s: float, idle_s: float) -> None:
    with pytest.raises(ConfigurationError):
        StreamTimeout(first_s=first_s, idle_s=idle_s)
