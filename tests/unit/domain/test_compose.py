from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import pytest

from holdfast.domain.compose import Policy, compose
from holdfast.domain.concurrency_limit import ConcurrencyLimit
from holdfast.domain.deadline import Deadline
from holdfast.domain.timeout import Timeout
from holdfast.ports.errors import AttemptTimeoutError
from holdfast.testing import VirtualClock, sweep_cancellation

pytestmark = pytest.mark.anyio

T = TypeVar("T")


class Tracing:
    """A policy that notes when it is entered and left, and with which deadline."""

    def __init__(self, name: str, trace: list[str], deadlines: list[Deadline | None] | None = None) -> None:
        self._name = name
        self._trace = trace
        self._deadlines = deadlines if deadlines is not None else []

    async def call(self, work: Callable[[], Awaitable[T]], *, deadline: Deadline | None = None) -> T:
        self._trace.append(f"+{self._name}")
        self._deadlines.append(deadline)
        try:
            return await work()
        finally:
            self._trace.append(f"-{self._name}")


async def answer() -> int:
    await anyio.lowlevel.checkpoint()
    return 42


async def test_compose_of_three_puts_the_first_outermost() -> None:
    trace: list[str] = []
    policy = compose(Tracing("a", trace), Tracing("b", trace), Tracing("c", trace))

    assert await policy.call(answer) == 42
    assert trace == ["+a", "+b", "+c", "-c", "-b", "-a"]


async def test_compose_of_one_is_that_one() -> None:
    policy = Timeout(1.0)

    assert compose(policy) is policy


async def test_compose_hands_the_same_deadline_to_each() -> None:
    deadlines: list[Deadline | None] = []
    deadline = Deadline.after(1.0, VirtualClock())
    await compose(*(Tracing(name, [], deadlines) for name in "abc")).call(answer, deadline=deadline)

    assert deadlines == [deadline] * 3


async def test_compose_calls_the_work_once_for_each_call() -> None:
    calls: list[int] = []

    async def work() -> int:
        calls.append(len(calls))
        return len(calls)

    policy = compose(Tracing("a", []), Tracing("b", []))

    assert [await policy.call(work), await policy.call(work)] == [1, 2]


async def test_compose_when_the_work_fails_raises_the_same_object_through_every_policy() -> None:
    trace: list[str] = []
    error = RuntimeError("broken")

    async def work() -> None:
        raise error

    with pytest.raises(RuntimeError) as raised:
        await compose(Tracing("a", trace), Tracing("b", trace)).call(work)

    assert raised.value is error
    assert trace == ["+a", "+b", "-b", "-a"]


async def test_compose_of_a_limit_around_a_timeout_frees_the_slot_when_the_time_is_up() -> None:
    limit = ConcurrencyLimit(1)
    policy: Policy = compose(limit, Timeout(1.0))
    with pytest.raises(AttemptTimeoutError):
        await policy.call(anyio.sleep_forever)

    assert limit.statistics().in_flight == 0


async def test_compose_cancelled_at_every_checkpoint_leaves_every_policy() -> None:
    trace: list[str] = []

    async def scenario() -> None:
        trace.clear()
        await compose(Tracing("a", trace), Tracing("b", trace)).call(answer)

    async def check() -> None:
        assert trace in ([], ["+a", "+b", "-b", "-a"])

    assert await sweep_cancellation(scenario, check) >= 1
