"""The wired path: every mechanism, met by a request that goes through `Orchestrator.submit`."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from holdfast.application.settings import GuardSettings, Settings
from holdfast.domain.admission import AdmissionConfig
from holdfast.domain.circuit_breaker import BreakerConfig
from holdfast.domain.retry_policy import RetryPolicy
from holdfast.ports.errors import (
    AttemptTimeoutError,
    BackendRequestError,
    BackendThrottledError,
    BackendUnavailableError,
    BackpressureError,
    BreakerOpenError,
    ClosedError,
    DeadlineExceededError,
    RequestError,
)
from holdfast.ports.inference import Parameters, ResponseFormat
from holdfast.ports.service import Disposition, Priority, Request
from holdfast.ports.statistics import BreakerState, ServiceState
from tests.fakes.service import ONCE, Answering, Shelf, ask, ask_anew, assert_nothing_is_held, opened, unavailable

pytestmark = pytest.mark.anyio


async def test_submit_plain_question_takes_the_whole_path_and_tells_what_happened() -> None:
    backend, shelf = Answering(delay_s=2.0), Shelf()
    async with opened({"a": backend}, retriever=shelf) as orchestrator:
        reply = await orchestrator.submit(replace(ask(), request_id="r-1"))
        health = orchestrator.health()

    assert (reply.text, reply.backend, reply.model, reply.request_id) == ("42", "a", "answering-1", "r-1")
    assert (reply.disposition, reply.attempts, reply.queue_s) == (Disposition.CALLED, 1, 0.0)
    assert reply.backend_s == pytest.approx(2.0)
    assert shelf.queries == ["what is the answer?"]
    assert [passage.source for passage in backend.prompts[0].passages] == ["a.md"]
    assert "what is the answer?" in backend.prompts[0].messages[0].content
    assert health.state is ServiceState.READY
    assert (health.admission.granted, health.deduplication.called) == (1, 1)
    assert (health.backends[0].breaker.succeeded, health.backends[0].pool.leases) == (1, 1)
    assert_nothing_is_held(health)


async def test_submit_json_asked_for_strips_the_fences_around_it() -> None:
    request = replace(ask(), parameters=Parameters(response_format=ResponseFormat.JSON))
    async with opened({"a": Answering(text='```json\n{"answer": 42}\n```')}) as orchestrator:
        assert (await orchestrator.submit(request)).text == '{"answer": 42}'


async def test_submit_more_at_once_than_a_slow_backend_takes_wait_for_admission_and_none_is_refused() -> None:
    async with opened({"a": Answering(delay_s=15.0)}) as orchestrator:
        async with anyio.create_task_group() as tasks:
            for _ in range(30):
                tasks.start_soon(orchestrator.submit, ask_anew())
        health = orchestrator.health()

    assert health.requests.answered == 30
    assert (health.backends[0].pool.timeouts, health.backends[0].pool.refused) == (0, 0)


async def test_submit_1000_identical_at_once_call_a_slow_backend_once() -> None:
    backend = Answering(delay_s=5.0)
    dispositions: list[Disposition] = []
    async with opened({"a": backend}) as orchestrator:

        async def submit() -> None:
            dispositions.append((await orchestrator.submit(ask())).disposition)

        async with anyio.create_task_group() as tasks:
            for _ in range(1000):
                tasks.start_soon(submit)
        health = orchestrator.health()

    assert len(backend.prompts) == 1
    assert dispositions.count(Disposition.CALLED) == 1
    assert dispositions.count(Disposition.JOINED) == 999
    assert health.admission.granted == 1
    assert health.deduplication.saved_ratio == 0.999


async def test_submit_same_question_again_within_the_window_is_cached_and_after_it_called() -> None:
    backend = Answering()
    async with opened({"a": backend}) as orchestrator:
        first = await orchestrator.submit(ask())
        second = await orchestrator.submit(ask())
        await anyio.sleep(301)
        third = await orchestrator.submit(ask())

    assert [reply.disposition for reply in (first, second, third)] == [
        Disposition.CALLED,
        Disposition.CACHED,
        Disposition.CALLED,
    ]
    assert len(backend.prompts) == 2


@pytest.mark.parametrize(
    "other",
    [
        ask("another question"),
        replace(ask(), tenant="somebody else"),
        replace(ask(), model="another"),
        replace(ask(), parameters=Parameters(max_tokens=5)),
        replace(ask(), no_cache=True),
        replace(ask(), parameters=Parameters(temperature=0.7)),
    ],
)
async def test_submit_request_that_must_differ_is_called_for_itself(other: Request) -> None:
    backend = Answering()
    async with opened({"a": backend}) as orchestrator:
        await orchestrator.submit(ask())
        reply = await orchestrator.submit(other)

    assert reply.disposition is Disposition.CALLED
    assert len(backend.prompts) == 2


async def test_submit_idempotency_key_is_the_same_for_each_attempt_and_another_for_each_request() -> None:
    backend = Answering(failing=lambda call: unavailable() if call == 1 else None)
    async with opened({"a": backend}) as orchestrator:
        await orchestrator.submit(ask())
        await orchestrator.submit(ask("another question"))
        await orchestrator.submit(replace(ask("a third one"), idempotency_key="mine"))

    keys = [prompt.idempotency_key for prompt in backend.prompts]
    assert keys[0] == keys[1]
    assert len({keys[0], keys[2], keys[3]}) == 3
    assert keys[3] == "mine"


async def test_submit_failure_that_passes_is_retried_and_counted() -> None:
    backend = Answering(failing=lambda call: unavailable() if call < 3 else None)
    async with opened({"a": backend}) as orchestrator:
        reply = await orchestrator.submit(ask())
        health = orchestrator.health()

    assert reply.attempts == 3
    assert (health.backends[0].breaker.failed, health.backends[0].breaker.succeeded) == (2, 1)
    assert_nothing_is_held(health)


async def test_submit_push_back_waits_as_long_as_the_backend_asked() -> None:
    backend = Answering(
        failing=lambda call: BackendThrottledError(backend="a", retry_after_s=7.0) if call == 1 else None
    )
    async with opened({"a": backend}) as orchestrator:
        reply = await orchestrator.submit(ask())

    assert reply.attempts == 2
    assert 7.0 <= reply.backend_s <= 7.7


async def test_submit_first_backend_down_falls_back_to_the_second() -> None:
    down, spare = Answering(failing=unavailable), Answering(text="from the spare")
    async with opened({"down": down, "spare": spare}) as orchestrator:
        reply = await orchestrator.submit(ask())

    assert (reply.text, reply.backend, reply.attempts) == ("from the spare", "spare", 4)


async def test_submit_callers_mistake_is_tried_on_no_other_backend_and_feeds_no_breaker() -> None:
    strict = Answering(failing=lambda call: BackendRequestError("too long", backend="strict"))
    spare = Answering()
    async with opened({"strict": strict, "spare": spare}) as orchestrator:
        with pytest.raises(BackendRequestError, match="too long"):
            await orchestrator.submit(ask())
        health = orchestrator.health()

    assert (len(strict.prompts), len(spare.prompts)) == (1, 0)
    assert health.backends[0].breaker.ignored == 1


async def test_submit_every_backend_down_raises_the_last_failure_and_notes_the_others() -> None:
    first = Answering(failing=lambda call: BackendUnavailableError("no route", backend="first"))
    second = Answering(failing=lambda call: BackendUnavailableError("on fire", backend="second"))
    async with opened({"first": first, "second": second}, Settings(guard=ONCE)) as orchestrator:
        with pytest.raises(BackendUnavailableError, match="on fire") as caught:
            await orchestrator.submit(ask())

    assert any("'first'" in note and "no route" in note for note in caught.value.__notes__)


async def test_submit_breaker_open_on_one_backend_surfaces_the_real_failure_of_the_other() -> None:
    guard = GuardSettings(retry=RetryPolicy(max_attempts=1), breaker=BreakerConfig(failures_in_row=2))
    down = {name: Answering(failing=unavailable) for name in ("first", "second")}
    async with opened(down, Settings(guard=guard)) as orchestrator:
        for number in range(2):
            with pytest.raises(BackendUnavailableError):
                await orchestrator.submit(ask(f"question {number}"))
        with pytest.raises(BreakerOpenError) as caught:
            await orchestrator.submit(ask("question 3"))
        health = orchestrator.health()

    assert [backend.breaker.state for backend in health.backends] == [BreakerState.OPEN, BreakerState.OPEN]
    assert caught.value.retry_after_s is not None
    assert [len(backend.prompts) for backend in down.values()] == [2, 2]


async def test_submit_backend_that_hangs_times_out_and_opens_its_breaker() -> None:
    guard = GuardSettings(attempt_timeout_s=1.0, retry=RetryPolicy(max_attempts=1))
    backend = Answering(delay_s=float("inf"))
    async with opened({"a": backend}, Settings(guard=guard)) as orchestrator:
        for number in range(5):
            with pytest.raises(AttemptTimeoutError):
                await orchestrator.submit(ask(f"question {number}"))
        with pytest.raises(BreakerOpenError):
            await orchestrator.submit(ask("one more"))
        health = orchestrator.health()

    assert health.backends[0].breaker.failed == 5
    assert len(backend.prompts) == 5
    assert_nothing_is_held(health)


async def test_submit_backend_that_hangs_until_the_callers_deadline_opens_its_breaker_too() -> None:
    backend = Answering(delay_s=float("inf"))
    async with opened({"a": backend}) as orchestrator:
        for number in range(5):
            with pytest.raises(DeadlineExceededError, match="2 s"):
                await orchestrator.submit(replace(ask(f"question {number}"), timeout_s=2.0))
        await anyio.sleep(1)
        health = orchestrator.health()

    assert health.backends[0].breaker.failed == 5
    assert health.backends[0].breaker.state is BreakerState.OPEN
    assert_nothing_is_held(health)


async def test_submit_cancelled_caller_counts_as_nothing() -> None:
    backend = Answering(delay_s=10.0)
    async with opened({"a": backend}) as orchestrator:
        for number in range(30):
            with anyio.move_on_after(1.0) as scope:
                await orchestrator.submit(ask(f"question {number}"))
            assert scope.cancelled_caught
        await anyio.sleep(1)
        health = orchestrator.health()

    assert health.backends[0].breaker.state is BreakerState.CLOSED
    assert (health.backends[0].breaker.failed, health.backends[0].breaker.ignored) == (0, 30)
    assert_nothing_is_held(health)


async def test_submit_leader_cancelled_while_followers_wait_does_not_disturb_them() -> None:
    backend = Answering(delay_s=10.0)
    texts: list[str] = []
    async with opened({"a": backend}) as orchestrator:

        async def follow() -> None:
            texts.append((await orchestrator.submit(ask())).text)

        async with anyio.create_task_group() as tasks:
            with anyio.move_on_after(1.0):
                tasks.start_soon(follow)
                await orchestrator.submit(ask())

    assert texts == ["42"]
    assert len(backend.prompts) == 1


async def test_submit_failure_reaches_every_follower_as_an_exception_of_its_own() -> None:
    backend = Answering(delay_s=1.0, failing=unavailable)
    caught: list[Exception] = []
    async with opened({"a": backend}, Settings(guard=ONCE)) as orchestrator:

        async def follow() -> None:
            try:
                await orchestrator.submit(ask())
            except BackendUnavailableError as error:
                caught.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(follow)

    assert len(backend.prompts) == 1
    assert len({id(error) for error in caught}) == 10


async def test_submit_more_than_fits_is_refused_with_the_numbers() -> None:
    settings = Settings(max_in_flight=1, admission=AdmissionConfig(max_waiting=1))
    refused: list[BackpressureError] = []
    async with opened({"a": Answering(delay_s=5.0)}, settings) as orchestrator:

        async def submit(number: int) -> None:
            try:
                await orchestrator.submit(ask(f"question {number}"))
            except BackpressureError as error:
                refused.append(error)

        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(submit, number)
        health = orchestrator.health()

    assert [(error.depth, error.capacity) for error in refused] == [(1, 1)]
    assert health.admission.granted == 2
    assert_nothing_is_held(health)


async def test_submit_urgent_follower_moves_the_whole_flight_up() -> None:
    done: list[str] = []
    async with opened({"a": Answering(delay_s=5.0)}, Settings(max_in_flight=1)) as orchestrator:

        async def submit(question: str, priority: Priority) -> None:
            await orchestrator.submit(replace(ask(question), priority=priority))
            done.append(f"{question} {priority.name}")

        async with anyio.create_task_group() as tasks:
            for question, priority in [
                ("running", Priority.NORMAL),
                ("waits", Priority.NORMAL),
                ("joined", Priority.BULK),
                ("joined", Priority.CRITICAL),
            ]:
                tasks.start_soon(submit, question, priority)
                await anyio.sleep(0.01)

    assert done[0] == "running NORMAL"
    assert set(done[1:3]) == {"joined BULK", "joined CRITICAL"}
    assert done[3] == "waits NORMAL"


async def test_submit_request_that_is_wrong_is_refused_before_anything_is_spent() -> None:
    async with opened({"a": Answering()}) as orchestrator:
        with pytest.raises(RequestError):
            await orchestrator.submit(Request(messages=()))
        health = orchestrator.health()

    assert (health.admission.offered, health.deduplication.requests) == (0, 0)


async def test_submit_larger_than_allowed_is_refused() -> None:
    async with opened({"a": Answering()}, Settings(max_request_bytes=10)) as orchestrator:
        with pytest.raises(RequestError, match="10 allowed"):
            await orchestrator.submit(ask("x" * 11))


async def test_drain_idle_closes_at_once_and_refuses_what_comes_later() -> None:
    async with opened({"a": Answering()}) as orchestrator:
        await orchestrator.drain(timeout_s=5.0)

        assert orchestrator.health().state is ServiceState.CLOSED
        with pytest.raises(ClosedError):
            await orchestrator.submit(ask())


async def test_drain_running_request_within_the_bound_is_answered() -> None:
    replies: list[str] = []
    async with opened({"a": Answering(delay_s=3.0)}) as orchestrator:

        async def submit() -> None:
            replies.append((await orchestrator.submit(ask())).text)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(submit)
            await anyio.sleep(1.0)
            tasks.start_soon(orchestrator.drain, 5.0)
            await anyio.sleep(1.0)
            assert orchestrator.health().state is ServiceState.DRAINING
            with pytest.raises(ClosedError):
                await orchestrator.submit(ask("too late"))

    assert replies == ["42"]


async def test_drain_running_request_beyond_the_bound_is_told_and_leaves_nothing() -> None:
    told: list[ClosedError] = []
    backend = Answering(delay_s=100.0)
    async with opened({"a": backend}) as orchestrator:

        async def submit() -> None:
            try:
                await orchestrator.submit(ask())
            except ClosedError as error:
                told.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(submit)
            await anyio.sleep(1.0)
            await orchestrator.drain(timeout_s=5.0)
        await anyio.sleep(1.0)
        health = orchestrator.health()

    assert len(told) == 1
    assert health.state is ServiceState.CLOSED
    assert health.backends[0].breaker.ignored == 1
    assert_nothing_is_held(health)


async def test_drain_twice_at_once_both_return() -> None:
    async with opened({"a": Answering(delay_s=2.0)}) as orchestrator, anyio.create_task_group() as tasks:
        tasks.start_soon(orchestrator.submit, ask())
        await anyio.sleep(1.0)
        tasks.start_soon(orchestrator.drain, 5.0)
        tasks.start_soon(orchestrator.drain, 5.0)

    assert orchestrator.health().state is ServiceState.CLOSED
