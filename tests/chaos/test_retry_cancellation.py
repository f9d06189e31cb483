"""A cancel at every checkpoint of a retried call: during each attempt, and during each sleep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest

from holdfast.domain.retry import Retry
from holdfast.domain.retry_policy import Jitter, RetryPolicy
from holdfast.testing import VirtualClock, sweep_cancellation

pytestmark = pytest.mark.anyio

POLICY = RetryPolicy(jitter=Jitter.NONE, base_delay_s=1.0)


class Backend:
    """Fails twice and counts what is running in it."""

    def __init__(self) -> None:
        self.running = 0
        self.attempts = 0
        self.outcomes: list[str] = []

    async def __call__(self) -> str:
        self.attempts += 1
        self.running += 1
        try:
            await anyio.sleep(0.5)
        finally:
            self.running -= 1
        if self.attempts < 3:
            raise ConnectionError
        return "answer"


async def test_call_cancelled_at_any_checkpoint_ends_there_and_leaves_nothing_behind() -> None:
    retry = Retry(POLICY, clock=VirtualClock(), random=lambda: 0.5)
    backends: list[Backend] = []
    answers: list[str] = []
    attempts_made: list[int] = []

    async def scenario() -> None:
        backends.append(Backend())
        answers.append(await retry.call(backends[-1]))

    async def check() -> None:
        backend = backends[-1]
        attempts_made.append(backend.attempts)
        await anyio.sleep(60)
        assert backend.running == 0
        assert backend.attempts == attempts_made[-1], "an attempt began after the cancellation"

    checkpoints = await sweep_cancellation(scenario, check)

    assert checkpoints == 5
    assert attempts_made == [1, 1, 2, 2, 3, 3]
    assert answers == ["answer"]


@pytest.mark.parametrize("at_s", [0.25, 1.0], ids=["during an attempt", "between two attempts"])
async def test_call_cancelled_raises_the_cancellation_as_the_same_object(at_s: float) -> None:
    inside: list[BaseException] = []
    outside: list[BaseException] = []

    @contextmanager
    def noted_in(seen: list[BaseException]) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            seen.append(error)
            raise

    class NotingClock(VirtualClock):
        async def sleep(self, delay_s: float) -> None:
            with noted_in(inside):
                await super().sleep(delay_s)

    async def work() -> None:
        with noted_in(inside):
            await anyio.sleep(0.5)
        raise ConnectionError

    with anyio.move_on_after(at_s) as scope, noted_in(outside):
        await Retry(POLICY, clock=NotingClock(), random=lambda: 0.5).call(work)

    assert scope.cancelled_caught
    assert len(inside) == len(outside) == 1
    assert outside[0] is inside[0]
    assert not hasattr(outside[0], "__notes__")
