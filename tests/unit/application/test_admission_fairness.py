"""Tenants, overload and refusals of the admission queue, as requests through the wired path meet them."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import Settings
from holdfast.application.settings_sources import load_settings
from holdfast.domain.admission import AdmissionConfig
from holdfast.domain.latency import percentile
from holdfast.ports.errors import BackpressureError, ConfigurationError, DeadlineExceededError
from holdfast.ports.events import OverloadBegan, OverloadEnded, RequestExpired, RequestRefused, RequestShed
from holdfast.ports.inference import Message, Parameters, Role
from holdfast.ports.service import Priority, Request
from holdfast.testing import sweep_cancellation
from tests.fakes.service import Answering, assert_nothing_is_held, opened, told

pytestmark = pytest.mark.anyio


def ask(
    tenant: str,
    number: int,
    *,
    priority: Priority = Priority.NORMAL,
    timeout_s: float = 60.0,
    tokens: int | None = None,
) -> Request:
    return Request(
        messages=(Message(role=Role.USER, content=f"question {number}?"),),
        tenant=tenant,
        priority=priority,
        timeout_s=timeout_s,
        parameters=Parameters(max_tokens=tokens),
    )


async def until_waiting(orchestrator: Orchestrator, count: int) -> None:
    while orchestrator.health().admission.waiting < count:
        await anyio.lowlevel.checkpoint()


async def test_submit_by_two_tenants_is_served_by_turns() -> None:
    served: list[str] = []
    settings = Settings(max_in_flight=1)
    async with opened({"a": Answering(delay_s=1.0)}, settings) as orchestrator, anyio.create_task_group() as tasks:

        async def caller(tenant: str, number: int) -> None:
            await orchestrator.submit(ask(tenant, number))
            served.append(tenant)

        tasks.start_soon(caller, "big", 0)
        await anyio.sleep(0.5)
        for number, tenant in enumerate(("big", "big", "big", "small"), start=1):
            tasks.start_soon(caller, tenant, number)
            await until_waiting(orchestrator, number)

    assert served == ["big", "big", "small", "big", "big"]


async def test_submit_by_tenants_of_unequal_weight_is_served_by_their_weights() -> None:
    served: list[str] = []
    settings = Settings(max_in_flight=1, admission=AdmissionConfig(weights={"heavy": 3.0}))
    async with opened({"a": Answering(delay_s=1.0)}, settings) as orchestrator, anyio.create_task_group() as tasks:

        async def caller(tenant: str, number: int) -> None:
            await orchestrator.submit(ask(tenant, number))
            served.append(tenant)

        for number in range(13):
            tasks.start_soon(caller, "light", number)
            tasks.start_soon(caller, "heavy", number)

    assert 8 <= served[1:13].count("heavy") <= 10


async def test_submit_that_may_take_many_tokens_costs_its_tenant_more_turns() -> None:
    served: list[str] = []
    settings = Settings(max_in_flight=1)
    async with opened({"a": Answering(delay_s=1.0)}, settings) as orchestrator, anyio.create_task_group() as tasks:

        async def caller(tenant: str, number: int, tokens: int) -> None:
            await orchestrator.submit(ask(tenant, number, tokens=tokens))
            served.append(tenant)

        tasks.start_soon(caller, "costly", 0, 4000)
        await anyio.sleep(0.5)
        for number in range(1, 5):
            tasks.start_soon(caller, "costly", number, 4000)
            await until_waiting(orchestrator, 2 * number - 1)
            tasks.start_soon(caller, "cheap", number, 1000)
            await until_waiting(orchestrator, 2 * number)

    assert served[1:6] == ["cheap", "cheap", "cheap", "costly", "cheap"]


@pytest.mark.slow
async def test_submit_beside_a_tenant_that_sends_a_hundred_times_as_much_takes_at_most_twice_as_long_as_alone() -> None:
    rng = random.Random(7)
    arrivals_s = sorted(rng.uniform(0.0, 30.0) for _ in range(20))

    async def small_p99_s(*, beside_big: bool) -> float:
        took_s: list[float] = []
        settings = Settings(max_in_flight=4)
        async with opened({"a": Answering(delay_s=1.0)}, settings) as orchestrator:
            start_s = anyio.current_time()

            async def big(number: int, at_s: float) -> None:
                await anyio.sleep_until(start_s + at_s)
                with suppress(BackpressureError, DeadlineExceededError):
                    await orchestrator.submit(ask("big", number))

            async def small(number: int, at_s: float) -> None:
                await anyio.sleep_until(start_s + at_s)
                await orchestrator.submit(ask("small", number))
                if at_s > 5.0:  # by then the queue knows what either of them has used
                    took_s.append(anyio.current_time() - start_s - at_s)

            async with anyio.create_task_group() as tasks:
                for number, at_s in enumerate(arrivals_s):
                    tasks.start_soon(small, number, at_s)
                if beside_big:
                    for number in range(2000):
                        tasks.start_soon(big, number, rng.uniform(0.0, 30.0))
        return percentile(sorted(took_s), 99)

    assert await small_p99_s(beside_big=True) <= 2 * await small_p99_s(beside_big=False)


async def test_submit_under_sustained_overload_answers_the_newest_and_sheds_what_waits_too_long() -> None:
    settings = Settings(max_in_flight=1, admission=AdmissionConfig(overload_after_s=6.0, overload_timeout_s=3.0))
    come_back_s: list[float | None] = []
    answered: list[int] = []
    async with opened({"a": Answering(delay_s=1.0)}, settings) as orchestrator:

        async def caller(number: int) -> None:
            try:
                await orchestrator.submit(ask("a", number))
            except BackpressureError as error:
                come_back_s.append(error.retry_after_s)
            else:
                answered.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(caller, number)
                await anyio.sleep(0.25)
            overloaded = orchestrator.health().admission.overloaded
        began, ended = told(orchestrator, OverloadBegan), told(orchestrator, OverloadEnded)
        shed = told(orchestrator, RequestShed)
        assert_nothing_is_held(orchestrator.health())

    assert overloaded == 1
    assert [(event.tenant, event.priority) for event in began] == [("a", Priority.NORMAL)]
    assert len(ended) == 1
    assert len(shed) == len(come_back_s) > 50
    assert None not in come_back_s
    assert {event.reason for event in shed} == {"overload"}
    assert answered[-5:] != sorted(answered[-5:])


async def test_submit_to_a_full_queue_names_when_to_come_back_also_before_anything_was_measured() -> None:
    settings = Settings(max_in_flight=1, admission=AdmissionConfig(max_waiting=1))
    async with opened({"a": Answering(delay_s=5.0)}, settings) as orchestrator, anyio.create_task_group() as tasks:
        for number in range(2):
            tasks.start_soon(orchestrator.submit, ask("a", number))
        await until_waiting(orchestrator, 1)
        with pytest.raises(BackpressureError) as raised:
            await orchestrator.submit(ask("a", 3))
        refused = told(orchestrator, RequestRefused)

    assert raised.value.retry_after_s == 1.0
    assert refused == [RequestRefused(tenant="a", priority=Priority.NORMAL, reason="full", retry_after_s=1.0)]


async def test_submit_whose_deadline_passes_in_line_is_told_as_expired() -> None:
    settings = Settings(max_in_flight=1)
    async with opened({"a": Answering(delay_s=5.0)}, settings) as orchestrator, anyio.create_task_group() as tasks:
        tasks.start_soon(orchestrator.submit, ask("a", 0))
        await anyio.sleep(1.0)
        with pytest.raises(DeadlineExceededError):
            await orchestrator.submit(ask("b", 1, timeout_s=2.0))
        await anyio.sleep(0.1)  # the flight ends once its last caller has left
        expired = told(orchestrator, RequestExpired)

    (event,) = expired
    assert (event.tenant, event.priority) == ("b", Priority.NORMAL)
    assert event.waited_s == pytest.approx(2.0)


async def test_submit_of_two_tenants_cancelled_at_every_checkpoint_leaves_nobody_in_line() -> None:
    async with opened({"a": Answering(delay_s=1.0)}, Settings(max_in_flight=1)) as orchestrator:

        async def scenario() -> None:
            async with anyio.create_task_group() as tasks:
                for number, tenant in enumerate(("big", "big", "small")):
                    tasks.start_soon(orchestrator.submit, ask(tenant, number))

        async def check() -> None:
            await anyio.sleep(10.0)
            assert_nothing_is_held(orchestrator.health())

        assert await sweep_cancellation(scenario, check) >= 1


def test_settings_give_tenants_weights_by_name(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text('[admission.weights]\nours = 2.5\n"theirs.test" = 0.5\n')

    assert load_settings(tmp_path).settings.admission.weights == {"ours": 2.5, "theirs.test": 0.5}


def test_settings_with_a_weight_that_is_no_share_are_refused_with_path_and_tenant(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text("[admission.weights]\nours = 0\n")
    with pytest.raises(ConfigurationError) as raised:
        load_settings(tmp_path)

    assert raised.value.path == "admission.weights"
    assert "'ours' must weigh a finite number above 0" in str(raised.value)
