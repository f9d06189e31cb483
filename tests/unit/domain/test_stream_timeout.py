from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from holdfast.domain.stream_timeout import StreamTimeout
from holdfast.ports.errors import AttemptTimeoutError, ConfigurationError
from holdfast.ports.inference import Deliver
from holdfast.testing import sweep_cancellation

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


async def take(piece: str) -> None:
    await anyio.sleep(0.0)


async def test_call_within_its_times_returns_what_the_work_returns() -> None:
    assert await TIMEOUT.call(sending(4.9, 1.9, 1.9, 1.9, last_s=1.9), take) == "done"


@pytest.mark.parametrize(
    ("work", "allowed_s", "ended_s"),
    [
        (sending(6.0), 5.0, 5.0),
        (sending(1.0, 3.0), 2.0, 3.0),
        (sending(1.0, last_s=3.0), 2.0, 3.0),
        (sending(4.0, 4.0, piece=""), 5.0, 5.0),
    ],
    ids=["first piece", "next piece", "end", "empty pieces are none"],
)
async def test_call_that_keeps_its_reader_waiting_is_ended_with_the_seconds_it_had(
    work: Callable[[Deliver], Awaitable[str]], allowed_s: float, ended_s: float
) -> None:
    began_s = anyio.current_time()

    with pytest.raises(AttemptTimeoutError) as caught:
        await TIMEOUT.call(work, take)

    assert caught.value.timeout_s == allowed_s
    assert anyio.current_time() - began_s == pytest.approx(ended_s)


async def test_call_time_that_a_slow_reader_takes_does_not_count() -> None:
    async def take_slowly(piece: str) -> None:
        await anyio.sleep(100.0)

    assert await TIMEOUT.call(sending(1.0, 1.9, last_s=1.9), take_slowly) == "done"


async def test_call_error_of_the_reader_passes_through_as_the_same_object() -> None:
    error = ConnectionResetError()

    async def fail(piece: str) -> None:
        raise error

    with pytest.raises(ConnectionResetError) as caught:
        await TIMEOUT.call(sending(1.0), fail)

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

    assert await sweep_cancellation(lambda: TIMEOUT.call(work, take), check) >= 4


@pytest.mark.parametrize(("first_s", "idle_s"), [(0.0, 1.0), (1.0, 0.0), (float("nan"), 1.0)])
def test_seconds_out_of_range_are_refused(first_s: float, idle_s: float) -> None:
    with pytest.raises(ConfigurationError):
        StreamTimeout(first_s=first_s, idle_s=idle_s)
