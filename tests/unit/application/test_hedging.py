"""Hedging, met by requests that go through `Orchestrator.submit`."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import anyio
import pytest

from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import GuardSettings, Settings
from holdfast.domain.hedge import HedgeConfig
from holdfast.domain.pool import PoolConfig
from holdfast.domain.retry_budget import RetryBudgetConfig
from holdfast.ports.errors import DeadlineExceededError, HoldfastError
from holdfast.ports.events import HedgeLaunched, HedgeRefused, HedgeWon
from holdfast.ports.service import Request
from holdfast.ports.statistics import Health, HedgeStatistics
from holdfast.testing import sweep_cancellation
from tests.fakes import service
from tests.fakes.service import Answering, ask_anew, assert_nothing_is_held, told, unavailable

pytestmark = pytest.mark.anyio

USUAL_S = 1.0
WARM_UP = 100
HEDGED = GuardSettings(hedge=HedgeConfig())


def answering(
    delay_s: Callable[[int], float], *, failing: Callable[[int], Exception | None] = lambda call: None
) -> Answering:
    return Answering(delay_s=delay_s, text="call {}".format, failing=failing)


def slow_at(*numbers: int, slow_s: float = 50.0) -> Callable[[int], float]:
    """Return delays that are usual but for the calls of these numbers, counted from the end of the warm-up."""
    return lambda call: slow_s if call - WARM_UP in numbers else USUAL_S / 2 if call > WARM_UP else USUAL_S


def failing_at(*numbers: int) -> Callable[[int], Exception | None]:
    """Return failures of the calls of these numbers, counted as in `slow_at`."""
    return lambda call: unavailable() if call - WARM_UP in numbers else None


def opened(backend: Answering, guard: GuardSettings = HEDGED) -> AbstractAsyncContextManager[Orchestrator]:
    return service.opened({"a": backend}, Settings(guard=guard, max_in_flight=1000))


def ask() -> Request:
    return ask_anew(timeout_s=600.0)


async def warm_up(orchestrator: Orchestrator) -> None:
    for _ in range(WARM_UP):
        await orchestrator.submit(ask())


def hedging(health: Health) -> HedgeStatistics:
    found = health.backends[0].hedge
    assert found is not None
    return found


async def test_submit_slow_call_after_a_warm_up_is_answered_by_the_second_and_the_first_holds_nothing() -> None:
    backend = answering(slow_at(1))
    async with opened(backend) as orchestrator:
        await warm_up(orchestrator)
        reply = await orchestrator.submit(replace(ask(), no_cache=True))  # in this very task
        running, health = backend.running, orchestrator.health()
        await anyio.sleep(0.001)  # the pool resets what the cancelled call had leased
        later = orchestrator.health()
        events = told(orchestrator, HedgeLaunched, HedgeWon, HedgeRefused)

    assert (reply.text, reply.attempts) == (f"call {WARM_UP + 2}", 2)
    assert reply.backend_s == pytest.approx(USUAL_S + USUAL_S / 2)
    assert (running, health.backends[0].breaker.in_flight) == (0, 0)
    assert health.backends[0].retry_budget.retries_in_flight == 0
    assert_nothing_is_held(later)
    assert (hedging(health).hedged, hedging(health).won) == (1, 1)
    assert [type(event) for event in events] == [HedgeLaunched, HedgeWon]


async def test_submit_loser_counts_as_nothing_for_the_breaker_and_as_a_retry_for_the_budget() -> None:
    async with opened(answering(slow_at(1))) as orchestrator:
        await warm_up(orchestrator)
        await orchestrator.submit(ask())
        backend = orchestrator.health().backends[0]

    assert (backend.breaker.ignored, backend.breaker.failed, backend.breaker.succeeded) == (1, 0, WARM_UP + 1)
    assert (backend.retry_budget.asked, backend.retry_budget.retried) == (1, 1)


async def test_submit_without_hedging_in_the_settings_waits_for_the_first_call() -> None:
    async with opened(answering(slow_at(1)), GuardSettings(attempt_timeout_s=55.0)) as orchestrator:
        await warm_up(orchestrator)
        reply = await orchestrator.submit(ask())
        health = orchestrator.health()

    assert (reply.attempts, health.backends[0].hedge) == (1, None)


async def test_submit_request_that_is_not_idempotent_is_neither_hedged_nor_a_sample() -> None:
    backend = answering(slow_at(1))
    async with opened(backend, HEDGED.model_copy(update={"attempt_timeout_s": 55.0})) as orchestrator:
        await warm_up(orchestrator)
        reply = await orchestrator.submit(replace(ask(), idempotent=False))
        health = orchestrator.health()

    assert (reply.attempts, backend.calls) == (1, WARM_UP + 1)
    assert (hedging(health).calls, hedging(health).samples) == (WARM_UP, WARM_UP)


async def test_stream_that_is_slow_is_not_hedged() -> None:
    backend = answering(slow_at(1, slow_s=20.0))
    async with opened(backend) as orchestrator:
        await warm_up(orchestrator)
        async with orchestrator.stream(ask()) as stream:
            reply = await stream.reply()
        health = orchestrator.health()

    assert (reply.attempts, backend.calls) == (1, WARM_UP + 1)
    assert hedging(health).calls == WARM_UP


async def test_submit_first_call_of_two_fails_the_second_answers_without_a_retry() -> None:
    backend = answering(slow_at(1, slow_s=1.2), failing=failing_at(1))
    async with opened(backend) as orchestrator:
        await warm_up(orchestrator)
        reply = await orchestrator.submit(ask())
        health = orchestrator.health()

    assert (reply.text, reply.attempts) == (f"call {WARM_UP + 2}", 2)
    assert (hedging(health).won, health.backends[0].breaker.failed) == (1, 1)


async def test_submit_both_calls_fail_the_request_is_retried_as_ever() -> None:
    backend = answering(slow_at(1, 2, slow_s=1.2), failing=failing_at(1, 2))
    async with opened(backend) as orchestrator:
        await warm_up(orchestrator)
        reply = await orchestrator.submit(ask())
        health = orchestrator.health()

    assert (reply.text, reply.attempts) == (f"call {WARM_UP + 3}", 3)
    assert hedging(health).failed == 1
    assert_nothing_is_held(health)


async def test_submit_backend_that_becomes_slow_for_all_gets_few_calls_more() -> None:
    backend = answering(lambda call: USUAL_S if call <= WARM_UP else 20.0)
    guard = HEDGED.model_copy(update={"pool": PoolConfig(max_size=200)})
    async with opened(backend, guard) as orchestrator:
        await warm_up(orchestrator)
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(orchestrator.submit, ask())
        await anyio.sleep(0.001)
        health = orchestrator.health()

    statistics = hedging(health)
    assert statistics.due >= 90
    assert statistics.hedged <= 10
    assert backend.calls == 200 + statistics.hedged
    assert_nothing_is_held(health)


async def test_submit_spent_retry_budget_leaves_nothing_for_hedges_and_says_so() -> None:
    guard = HEDGED.model_copy(update={"retry_budget": RetryBudgetConfig(min_retries=0)})
    async with opened(answering(slow_at(1, slow_s=20.0)), guard) as orchestrator:
        await warm_up(orchestrator)
        reply = await orchestrator.submit(ask())
        health = orchestrator.health()
        refused = told(orchestrator, HedgeRefused)

    assert (reply.attempts, hedging(health).hedged) == (1, 0)
    assert [event.backend for event in refused] == ["a"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
async def test_submit_storm_of_slow_calls_failures_and_cancellations_keeps_to_the_share(seed: int) -> None:
    chance = random.Random(seed)
    backend = answering(
        lambda call: chance.choice([0.1, 0.2, 0.3, chance.expovariate(0.5)]),
        failing=lambda call: unavailable() if chance.random() < 0.05 else None,
    )
    ends = {"answered": 0}
    async with opened(backend) as orchestrator:

        async def caller() -> None:
            await anyio.sleep(chance.uniform(0.0, 200.0))
            with anyio.move_on_after(chance.uniform(0.0, 5.0) if chance.random() < 0.1 else 1000.0):
                try:
                    await orchestrator.submit(replace(ask(), no_cache=chance.random() < 0.5))
                except HoldfastError:
                    return
                ends["answered"] += 1

        async with anyio.create_task_group() as tasks:
            for _ in range(1000):
                tasks.start_soon(caller)
        await anyio.sleep(100.0)
        health = orchestrator.health()

    statistics = hedging(health)
    assert_nothing_is_held(health)
    assert ends["answered"] > 800, f"seed {seed}"
    assert statistics.won > 0, f"seed {seed}"
    assert statistics.hedged * 20 <= statistics.calls, f"seed {seed}"


@pytest.mark.slow
async def test_submit_hedged_request_cancelled_at_every_checkpoint_leaves_nothing_behind() -> None:
    guard = HEDGED.model_copy(update={"hedge": HedgeConfig(min_samples=1, max_ratio=1.0)})
    delays_s = {1: USUAL_S}
    async with opened(answering(lambda call: delays_s.get(call, 5.0)), guard) as orchestrator:
        await orchestrator.submit(ask())

        async def scenario() -> None:
            await orchestrator.submit(replace(ask(), no_cache=True))

        async def check() -> None:
            await anyio.sleep(0.001)  # the pool resets what a cancelled call had leased
            assert_nothing_is_held(orchestrator.health())

        checkpoints = await sweep_cancellation(scenario, check)
        health = orchestrator.health()

    assert checkpoints >= 2  # the first call, and the wait for its loser
    assert hedging(health).hedged >= 1


async def test_submit_cancelled_while_both_calls_run_ends_both_and_counts_as_nothing() -> None:
    backend = answering(slow_at(1, 2))
    async with opened(backend) as orchestrator:
        await warm_up(orchestrator)
        with anyio.move_on_after(5.0) as scope:
            await orchestrator.submit(replace(ask(), no_cache=True))
        running = backend.running
        await anyio.sleep(0.001)
        health = orchestrator.health()

    assert scope.cancelled_caught
    assert (backend.calls, running) == (WARM_UP + 2, 0)
    assert (hedging(health).abandoned, health.backends[0].breaker.ignored) == (1, 2)
    assert_nothing_is_held(health)


async def test_submit_cut_at_its_deadline_while_both_calls_run_counts_both_as_failures() -> None:
    backend = answering(slow_at(1, 2))
    async with opened(backend) as orchestrator:
        await warm_up(orchestrator)
        with pytest.raises(DeadlineExceededError):
            await orchestrator.submit(replace(ask(), timeout_s=5.0))
        await anyio.sleep(0.001)
        health = orchestrator.health()

    assert (hedging(health).abandoned, health.backends[0].breaker.failed) == (1, 2)
    assert_nothing_is_held(health)
