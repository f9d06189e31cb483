"""A cancel at every checkpoint of a process that leads, of one that waits, and of one that opens and closes."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest

from holdfast.adapters.memory.answers import MemoryAnswers
from holdfast.domain.shared_answers import SharedAnswersConfig
from holdfast.ports.answer_store import AnswerClaim, AnswerStore, Busy
from holdfast.ports.errors import BackendUnavailableError, StoreUnavailableError
from holdfast.testing import FaultInjector, FaultPlan, VirtualClock, sweep_cancellation
from tests.fakes.answers import CONFIG, KEY, Calls, Process, assert_adds_up, open_process

pytestmark = pytest.mark.anyio

SHORT = SharedAnswersConfig(lease_s=1.0, claim_timeout_s=0.25)


def meeting() -> MemoryAnswers:
    return MemoryAnswers(clock=VirtualClock())


def assert_at_rest(process: Process, calls: Calls) -> None:
    counted = process.counted
    assert_adds_up(counted)
    assert (counted.waiting, counted.holding, calls.running) == (0, 0, 0)


async def assert_free(store: AnswerStore) -> None:
    """Assert that nobody is at the key, and leave it so."""
    heard = await store.claim(AnswerClaim(key=KEY.digest, claimant="check", lease_s=1.0))
    assert not isinstance(heard, Busy)
    await store.release(KEY.digest, claimant="check")


async def test_leader_cancelled_anywhere_gives_the_key_up_at_once() -> None:
    store, calls = meeting(), Calls(seconds=0.5)
    async with open_process(store, window_s=0.0) as process:

        async def check() -> None:
            await anyio.wait_all_tasks_blocked()
            assert_at_rest(process, calls)
            await assert_free(store)

        checkpoints = await sweep_cancellation(lambda: process.run(calls), check)

    assert checkpoints >= 2
    assert process.counted.left + process.counted.released + 1 == checkpoints + 1


async def test_leader_cancelled_anywhere_costs_those_who_wait_nothing_but_time() -> None:
    store, calls = meeting(), Calls(seconds=0.5)
    answers: list[str] = []
    begun = 0
    async with (
        open_process(store, window_s=0.0) as leader,
        open_process(store, window_s=0.0) as other,
        anyio.create_task_group() as tasks,
    ):

        async def wait() -> None:
            answers.append((await other.run(calls)).text)

        async def lead() -> None:
            nonlocal begun
            begun += 1
            tasks.start_soon(wait)
            await leader.run(calls)

        async def check() -> None:
            await anyio.sleep(0.5 + 0.5 + CONFIG.max_poll_s + 0.1)
            assert len(answers) == begun
            for process in (leader, other):
                assert_at_rest(process, calls)
            await assert_free(store)

        checkpoints = await sweep_cancellation(lead, check)

    assert checkpoints >= 2
    assert set(answers) == {"42"}


async def test_one_that_waits_cancelled_anywhere_costs_the_leader_nothing() -> None:
    store, calls = meeting(), Calls(seconds=0.4)
    answers: list[str] = []
    async with (
        open_process(store, window_s=0.0) as leader,
        open_process(store, window_s=0.0) as other,
        anyio.create_task_group() as tasks,
    ):

        async def lead() -> None:
            answers.append((await leader.run(calls)).text)

        async def wait() -> None:
            tasks.start_soon(lead)
            with anyio.CancelScope(shield=True):
                while not leader.counted.holding:
                    await anyio.lowlevel.checkpoint()
            await other.run(calls)

        async def check() -> None:
            await anyio.sleep(1.0)
            assert answers.pop() == "42"
            for process in (leader, other):
                assert_at_rest(process, calls)
            await assert_free(store)

        checkpoints = await sweep_cancellation(wait, check)

    assert checkpoints >= 4
    assert (calls.cancelled, leader.counted.told) == (0, leader.counted.led)


async def test_process_cancelled_anywhere_while_it_opens_works_and_closes_leaves_the_key_free() -> None:
    store, calls = meeting(), Calls(seconds=0.5)

    async def live() -> None:
        async with open_process(store, SHORT, window_s=0.0) as process, anyio.create_task_group() as tasks:
            tasks.start_soon(process.run, calls)
            await anyio.sleep(0.4)
            tasks.start_soon(process.run, calls)

    async def check() -> None:
        await anyio.wait_all_tasks_blocked()
        assert calls.running == 0
        await assert_free(store)

    assert await sweep_cancellation(live, check) >= 3


@pytest.mark.parametrize("seed", range(40))
async def test_processes_over_a_faulty_store_all_end_with_an_answer_or_the_backends_failure(seed: int) -> None:
    """Whatever is lost, late, hanging, doubled or out of order; and after it the key is free."""
    clock, store = VirtualClock(), meeting()
    plan = FaultPlan(
        seed=seed,
        error=lambda: StoreUnavailableError("is away", store="faulty"),
        delay_ratio=0.1,
        lost_call_ratio=0.02,
        lost_reply_ratio=0.03,
        hang_ratio=0.02,
        duplicate_ratio=0.1,
        reorder_ratio=0.1,
        max_delay_s=0.2,
    )
    calls = Calls(seconds=0.7, error=BackendUnavailableError("is down", backend="a") if seed % 3 == 0 else None)
    ended: list[str] = []

    async def ask(process: Process) -> None:
        for _ in range(5):
            with anyio.move_on_after(0.6 if len(ended) % 4 == 0 else 60.0):
                try:
                    ended.append((await process.run(calls)).text)
                except BackendUnavailableError:
                    ended.append("failed")

    async with AsyncExitStack() as stack:
        them = [
            await stack.enter_async_context(
                open_process(FaultInjector(plan, clock=clock).wrap(store), SHORT, window_s=0.3)
            )
            for _ in range(4)
        ]
        async with anyio.create_task_group() as tasks:
            for process in them:
                tasks.start_soon(ask, process)
                tasks.start_soon(ask, process)
        await anyio.sleep(10.0)
        for process in them:
            assert_at_rest(process, calls)
        await assert_free(store)

    assert set(ended) <= {"42", "failed"}
    assert sum(process.counted.led for process in them) > 0
