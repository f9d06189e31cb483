"""The retry budget, met by requests that go through `Orchestrator.submit`."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

import anyio
import pytest

from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import GuardSettings, Settings
from holdfast.domain.breaker_config import BreakerConfig, BreakerMode
from holdfast.domain.pool import PoolConfig
from holdfast.domain.retry_budget import RetryBudgetConfig
from holdfast.domain.retry_policy import Jitter, RetryPolicy
from holdfast.ports.errors import BackendThrottledError, BackendUnavailableError
from holdfast.ports.statistics import Health, RetryBudgetStatistics
from tests.fakes import service
from tests.fakes.service import Answering, ask, assert_nothing_is_held, unavailable

pytestmark = pytest.mark.anyio

CALLERS = 1000
THREE_ATTEMPTS = RetryPolicy(max_attempts=3)
DEFAULT = RetryBudgetConfig()
NO_BUDGET = RetryBudgetConfig(min_retries=1_000_000)


def down(failing: Callable[[int], Exception] = unavailable, *, delay_s: float = 1.0) -> Answering:
    return Answering(delay_s=delay_s, failing=failing)


def settings_of(
    *, budget: RetryBudgetConfig = DEFAULT, retry: RetryPolicy = THREE_ATTEMPTS, max_in_flight: int = CALLERS
) -> Settings:
    """Everything that is not the budget is made wide or left out."""
    return Settings(
        timeout_s=3600.0,
        max_in_flight=max_in_flight,
        guard=GuardSettings(
            retry=retry,
            retry_budget=budget,
            breaker=BreakerConfig(mode=BreakerMode.DISABLED),
            pool=PoolConfig(max_size=CALLERS, max_waiters=CALLERS),
        ),
    )


def opened(backends: Mapping[str, Answering], settings: Settings) -> AbstractAsyncContextManager[Orchestrator]:
    return service.opened(backends, settings, random=random.Random(7).random)


async def submit_all(orchestrator: Orchestrator, callers: int = CALLERS) -> list[BaseException]:
    """Submit a different question for each caller, all at once, and return what each of them was told."""
    told: list[BaseException] = []

    async def submit(number: int) -> None:
        try:
            await orchestrator.submit(ask(f"question {number}"))
        except BackendUnavailableError as error:
            told.append(error)

    async with anyio.create_task_group() as tasks:
        for number in range(callers):
            tasks.start_soon(submit, number)
    return told


def budget_in(health: Health) -> RetryBudgetStatistics:
    return health.backends[0].retry_budget


@pytest.mark.slow
@pytest.mark.parametrize("max_in_flight", [1, 20, CALLERS])
@pytest.mark.parametrize("delay_s", [0.0, 1.0])
async def test_submit_1000_callers_of_a_backend_that_always_fails_call_it_1250_times_at_most(
    max_in_flight: int, delay_s: float
) -> None:
    backend = down(delay_s=delay_s)
    async with opened({"a": backend}, settings_of(max_in_flight=max_in_flight)) as orchestrator:
        told = await submit_all(orchestrator)
        health = orchestrator.health()

    budget = budget_in(health)
    assert len(told) == CALLERS
    assert CALLERS < backend.calls <= 1.25 * CALLERS
    assert backend.calls == CALLERS + budget.retried
    assert budget.abandoned == 0
    assert_nothing_is_held(health)


@pytest.mark.slow
async def test_submit_1000_callers_without_a_budget_call_it_3000_times() -> None:
    backend = down()
    async with opened({"a": backend}, settings_of(budget=NO_BUDGET)) as orchestrator:
        await submit_all(orchestrator)

    assert backend.calls == 3 * CALLERS


async def test_submit_refused_by_the_budget_is_told_what_really_failed_and_why_it_was_not_retried() -> None:
    backend = down()
    async with opened({"a": backend}, settings_of(budget=RetryBudgetConfig(min_retries=0))) as orchestrator:
        told = await submit_all(orchestrator, callers=1)

    assert backend.calls == 1
    assert "is down" in str(told[0])
    assert any("the retry budget is spent" in note for note in told[0].__notes__)


async def test_submit_refused_by_the_budget_of_one_backend_falls_back_to_the_next() -> None:
    backend = down()
    settings = settings_of(budget=RetryBudgetConfig(min_retries=0))
    async with opened({"a": backend, "b": Answering()}, settings) as orchestrator:
        reply = await orchestrator.submit(ask())
        first, second = (health.retry_budget for health in orchestrator.health().backends)

    assert (reply.backend, reply.attempts) == ("b", 2)
    assert (first.asked, first.without_token, second.asked) == (1, 1, 0)


async def test_submit_spends_the_budget_of_its_backend_which_all_callers_share() -> None:
    backend = down(delay_s=0.0)
    async with opened({"a": backend, "b": Answering()}, settings_of()) as orchestrator:
        for number in range(5):
            await orchestrator.submit(ask(f"question {number}"))
        first, second = (health.retry_budget for health in orchestrator.health().backends)

    assert (first.retried, first.tokens, second.tokens) == (3, 0, 3)
    assert backend.calls == 5 + 3


async def test_submit_told_never_to_retry_is_never_retried() -> None:
    backend = down(lambda _: BackendThrottledError(backend="a", retry_allowed=False))
    async with opened({"a": backend}, settings_of(budget=NO_BUDGET)) as orchestrator:
        for number in range(20):
            with pytest.raises(BackendThrottledError):
                await orchestrator.submit(ask(f"question {number}"))
        budget = budget_in(orchestrator.health())

    assert backend.calls == 20
    assert budget.asked == 0


async def test_submit_holds_no_permit_while_its_retry_sleeps() -> None:
    backend = down(lambda _: BackendThrottledError(backend="a", retry_after_s=30.0))
    async with opened({"a": backend}, settings_of()) as orchestrator, anyio.create_task_group() as tasks:
        tasks.start_soon(submit_and_be_cancelled, orchestrator)
        await anyio.sleep(15.0)
        asleep = orchestrator.health().backends[0]
        tasks.cancel_scope.cancel()

    assert backend.calls == 1
    assert asleep.retry_budget.waiting == 1
    assert (asleep.retry_budget.in_flight, asleep.breaker.in_flight, asleep.pool.leased) == (0, 0, 0)


async def submit_and_be_cancelled(orchestrator: Orchestrator) -> None:
    await orchestrator.submit(ask())


@pytest.mark.parametrize("cut_at_s", [0.5, 1.5, 2.5], ids=["first attempts", "sleeping", "retries"])
async def test_submit_cancelled_callers_give_everything_back(cut_at_s: float) -> None:
    retry = RetryPolicy(jitter=Jitter.NONE, base_delay_s=1.0)
    async with opened({"a": down()}, settings_of(retry=retry)) as orchestrator:
        with anyio.move_on_after(cut_at_s):
            await submit_all(orchestrator, callers=100)
        await anyio.sleep(0.1)
        cut = budget_in(orchestrator.health())
        await anyio.sleep(10.0)
        later = orchestrator.health()

    assert (cut.in_flight, cut.retries_in_flight, cut.waiting) == (0, 0, 0)
    assert cut.asked == cut.without_token + cut.without_room + cut.abandoned + cut.retried
    assert cut.tokens == {0.5: 3, 1.5: 20, 2.5: 20 - cut.retried}[cut_at_s]
    assert 3 - cut.retried <= budget_in(later).tokens <= 3
    assert_nothing_is_held(later)


async def test_submit_while_the_wall_clock_steps_back_by_an_hour_is_retried_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def storm() -> RetryBudgetStatistics:
        async with opened({"a": down(delay_s=0.0)}, settings_of()) as orchestrator:
            for number in range(3):
                for caller in range(20):
                    with pytest.raises(BackendUnavailableError):
                        await orchestrator.submit(ask(f"question {100 * number + caller}"))
                await anyio.sleep(4.0)
            return budget_in(orchestrator.health())

    undisturbed = await storm()
    wall_s = iter(range(2_000_000_000, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(wall_s)))

    assert await storm() == undisturbed
    assert undisturbed.retried > 0
