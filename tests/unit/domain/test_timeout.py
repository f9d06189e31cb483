from __future__ import annotations

import anyio
import pytest

from holdfast.domain.deadline import Deadline
from holdfast.domain.timeout import Timeout
from holdfast.ports.errors import AttemptTimeoutError, ConfigurationError
from holdfast.testing import VirtualClock, sweep_cancellation

pytestmark = pytest.mark.anyio


async def test_call_that_ends_in_time_returns_its_result() -> None:
    async def work() -> str:
        await anyio.sleep(0.9)
        return "done"

    assert await Timeout(1.0).call(work) == "done"


async def test_call_that_takes_too_long_raises_after_its_time() -> None:
    start_s = anyio.current_time()
    with pytest.raises(AttemptTimeoutError) as raised:
        await Timeout(1.0).call(anyio.sleep_forever)

    assert raised.value.timeout_s == 1.0
    assert anyio.current_time() - start_s == pytest.approx(1.0)


async def test_call_that_takes_too_long_has_ended_when_the_error_is_raised() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(5.0)
            ended.append("cleaned up")

    with pytest.raises(AttemptTimeoutError):
        await Timeout(1.0).call(work)

    assert ended == ["cleaned up"]


async def test_call_that_fails_raises_its_error_as_the_same_object() -> None:
    error = TimeoutError("its own")

    async def work() -> None:
        raise error

    with pytest.raises(TimeoutError) as raised:
        await Timeout(1.0).call(work)

    assert raised.value is error


async def test_call_with_a_scope_outside_that_ends_first_passes_the_cancellation_through() -> None:
    with anyio.move_on_after(0.5) as scope:
        await Timeout(1.0).call(anyio.sleep_forever)

    assert scope.cancelled_caught


async def test_call_with_a_deadline_leaves_the_deadline_to_the_door() -> None:
    async def work() -> str:
        await anyio.sleep(0.9)
        return "done"

    result = await Timeout(1.0).call(work, deadline=Deadline.after(0.5, VirtualClock()))

    assert result == "done"


async def test_call_cancelled_at_every_checkpoint_never_turns_it_into_an_error() -> None:
    async def scenario() -> None:
        await Timeout(1.0).call(anyio.lowlevel.checkpoint)

    async def check() -> None:
        """Nothing is left to check: an AttemptTimeoutError would have ended the sweep."""

    assert await sweep_cancellation(scenario, check) >= 1


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("inf"), float("nan")])
async def test_timeout_of_no_time_or_all_time_is_refused(timeout_s: float) -> None:
    with pytest.raises(ConfigurationError, match="timeout_s"):
        Timeout(timeout_s)
