"""Rate limits of tenants and of backends, met by requests that go through `Orchestrator.submit`."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from holdfast.adapters.inference.provider import SharedBackendProvider
from holdfast.adapters.inference.scripted import Pieces, ScriptedBackend, Step, in_turn
from holdfast.application.container import Backend
from holdfast.application.settings import GuardSettings, Settings, TenantSettings
from holdfast.domain.admission import AdmissionConfig
from holdfast.domain.breaker_config import BreakerConfig, BreakerMode
from holdfast.domain.hedge import HedgeConfig
from holdfast.domain.pool import PoolConfig
from holdfast.domain.rate_limit_config import RateLimitConfig
from holdfast.domain.retry_budget import RetryBudgetConfig
from holdfast.domain.retry_policy import RetryPolicy
from holdfast.ports.errors import (
    BackendThrottledError,
    BackendUnavailableError,
    BackpressureError,
    BreakerOpenError,
    DeadlineExceededError,
    OutputRejectedError,
    PoolExhaustedError,
    RateLimitedError,
)
from holdfast.ports.events import FellBack, RateLimited, RateLimitPaused
from holdfast.ports.inference import Message, Parameters, Role, Usage
from holdfast.ports.service import Disposition, Request
from holdfast.ports.statistics import Health, RateLimitStatistics
from holdfast.testing import VirtualClock, sweep_cancellation
from tests.fakes.service import Answering, assert_nothing_is_held, opened, told, unavailable

pytestmark = pytest.mark.anyio

TEN_A_MINUTE = RateLimitConfig(requests_per_minute=10)
TOKENS = RateLimitConfig(tokens_per_minute=0.001, burst_tokens=1000)
ONCE = RetryPolicy(max_attempts=1)

INPUT_TOKENS = 7  # eleven bytes in one message
ESTIMATED_TOKENS = INPUT_TOKENS + 90


def ask(number: int = 0, *, tenant: str = "default") -> Request:
    return Request(
        messages=(Message(role=Role.USER, content=f"question {number:02}"),),
        tenant=tenant,
        parameters=Parameters(max_tokens=90),
    )


def scripted(step: Step) -> ScriptedBackend:
    return ScriptedBackend("a", in_turn(step), clock=VirtualClock())


def limit_of(health: Health, backend: int = 0) -> RateLimitStatistics:
    limit = health.backends[backend].rate_limit
    assert limit is not None
    return limit


def tokens_taken(limit: RateLimitStatistics) -> int:
    assert limit.tokens_left is not None
    return 1000 - round(limit.tokens_left)


def tenant_settings(config: RateLimitConfig, *, retry: RetryPolicy = ONCE) -> Settings:
    return Settings(tenant_rate_limit=config, guard=GuardSettings(retry=retry))


def backend_settings(config: RateLimitConfig, *, retry: RetryPolicy = ONCE, pool: PoolConfig | None = None) -> Settings:
    return Settings(guard=GuardSettings(rate_limit=config, retry=retry, pool=pool or PoolConfig()))


async def test_submit_100_requests_of_one_tenant_against_10_a_minute_lets_10_through() -> None:
    backend = Answering(delay_s=0.5)
    refusals: list[RateLimitedError] = []
    async with opened({"a": backend}, tenant_settings(TEN_A_MINUTE)) as orchestrator:

        async def submit(number: int) -> None:
            try:
                await orchestrator.submit(ask(number))
            except RateLimitedError as error:
                refusals.append(error)

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(submit, number)
        health = orchestrator.health()

    assert (backend.calls, len(refusals)) == (10, 90)
    assert {(refusal.scope, refusal.quantity) for refusal in refusals} == {("tenant 'default'", "requests")}
    assert all(refusal.retry_after_s == pytest.approx(6.0) for refusal in refusals)
    assert (health.tenants.asked, health.tenants.refused, health.tenants.settled) == (100, 90, 10)
    assert health.admission.offered == 10


async def test_submit_refused_one_that_comes_back_when_told_is_answered() -> None:
    async with opened({"a": Answering()}, tenant_settings(RateLimitConfig(requests_per_minute=1))) as orchestrator:
        await orchestrator.submit(ask(1))
        with pytest.raises(RateLimitedError) as caught:
            await orchestrator.submit(ask(2))
        assert caught.value.retry_after_s is not None
        await anyio.sleep(caught.value.retry_after_s)

        assert (await orchestrator.submit(ask(2))).text == "42"


async def test_submit_limit_of_one_tenant_does_not_touch_another() -> None:
    async with opened({"a": Answering()}, tenant_settings(RateLimitConfig(requests_per_minute=1))) as orchestrator:
        await orchestrator.submit(ask(tenant="a"))
        with pytest.raises(RateLimitedError, match="tenant 'a'"):
            await orchestrator.submit(ask(1, tenant="a"))

        assert (await orchestrator.submit(ask(tenant="b"))).text == "42"


async def test_submit_named_tenants_have_limits_of_their_own_or_none() -> None:
    settings = Settings(
        tenant_rate_limit=RateLimitConfig(requests_per_minute=1),
        tenants={"large": TenantSettings(rate_limit=TEN_A_MINUTE), "ours": TenantSettings()},
    )
    answered = {"large": 0, "ours": 0}
    async with opened({"a": Answering()}, settings) as orchestrator:
        for tenant in answered:
            for number in range(30):
                try:
                    await orchestrator.submit(ask(number, tenant=tenant))
                except RateLimitedError:
                    break
                answered[tenant] += 1
        tracked = orchestrator.health().tenants.tracked

    assert answered == {"large": 10, "ours": 30}
    assert tracked == 1


async def test_submit_duplicates_take_nothing_of_the_tenants_limit() -> None:
    backend = Answering(delay_s=1.0)
    dispositions: list[Disposition] = []
    async with opened({"a": backend}, tenant_settings(RateLimitConfig(requests_per_minute=1))) as orchestrator:

        async def submit() -> None:
            dispositions.append((await orchestrator.submit(ask())).disposition)

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(submit)
        await submit()
        health = orchestrator.health()

    assert (dispositions.count(Disposition.JOINED), dispositions.count(Disposition.CACHED)) == (19, 1)
    assert (health.tenants.asked, health.tenants.settled) == (1, 1)


async def test_submit_settles_the_tenants_tokens_with_the_usage() -> None:
    backend = Answering(usage=Usage(input_tokens=12, output_tokens=30))
    async with opened({"a": backend}, tenant_settings(TOKENS)) as orchestrator:
        await orchestrator.submit(ask())
        health = orchestrator.health()

    assert (health.tenants.settled, health.tenants.tokens_used) == (1, 42)


async def test_submit_settles_the_tenants_tokens_with_the_estimate_where_no_usage_is_reported() -> None:
    async with opened({"a": Answering()}, tenant_settings(TOKENS)) as orchestrator:
        await orchestrator.submit(ask())
        health = orchestrator.health()

    assert health.tenants.tokens_used == ESTIMATED_TOKENS


async def test_submit_usage_beyond_the_estimate_is_a_debt_of_the_tenant() -> None:
    backend = Answering(usage=Usage(input_tokens=12, output_tokens=1200))
    async with opened({"a": backend}, tenant_settings(RateLimitConfig(tokens_per_minute=600))) as orchestrator:
        await orchestrator.submit(ask(1))
        with pytest.raises(RateLimitedError) as caught:
            await orchestrator.submit(ask(2))

    assert caught.value.quantity == "tokens"
    assert caught.value.retry_after_s == pytest.approx((1212 + ESTIMATED_TOKENS - 600) / 10)


async def test_submit_request_larger_than_the_tenants_burst_is_refused_for_good() -> None:
    async with opened({"a": Answering()}, tenant_settings(RateLimitConfig(tokens_per_minute=50))) as orchestrator:
        with pytest.raises(RateLimitedError) as caught:
            await orchestrator.submit(ask())

    assert (caught.value.retry_after_s, caught.value.most) == (None, 50.0)


async def test_submit_cancelled_gives_the_tenant_back_what_it_took() -> None:
    config = RateLimitConfig(requests_per_minute=0.001, burst_requests=1)
    async with opened({"a": Answering(delay_s=5.0)}, tenant_settings(config)) as orchestrator:
        for _ in range(3):
            with anyio.move_on_after(1.0) as scope:
                await orchestrator.submit(ask())
            assert scope.cancelled_caught
            await anyio.sleep(1.0)  # the call runs in a task of its own, which ends just after its caller
        health = orchestrator.health()

    assert (health.tenants.reserved, health.tenants.cancelled, health.tenants.refused) == (0, 3, 0)


async def test_submit_refused_by_the_admission_queue_gives_the_tenant_back_what_it_took() -> None:
    settings = Settings(
        tenant_rate_limit=TEN_A_MINUTE, max_in_flight=1, admission=AdmissionConfig(max_waiting=1), guard=GuardSettings()
    )
    refused = 0
    async with opened({"a": Answering(delay_s=1.0)}, settings) as orchestrator:

        async def submit(number: int) -> None:
            nonlocal refused
            try:
                await orchestrator.submit(ask(number))
            except BackpressureError:
                refused += 1

        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(submit, number)
        health = orchestrator.health()

    assert refused == 3
    assert (health.tenants.settled, health.tenants.cancelled) == (2, 3)


async def test_submit_that_expires_in_the_queue_gives_the_tenant_back_what_it_took() -> None:
    settings = Settings(tenant_rate_limit=TEN_A_MINUTE, max_in_flight=1)
    async with opened({"a": Answering(delay_s=5.0)}, settings) as orchestrator, anyio.create_task_group() as tasks:
        tasks.start_soon(orchestrator.submit, ask(1))
        await anyio.sleep(1.0)
        with pytest.raises(DeadlineExceededError):
            await orchestrator.submit(replace(ask(2), timeout_s=2.0))
        await anyio.sleep(1.0)
        health = orchestrator.health()

    assert (health.tenants.reserved, health.tenants.cancelled) == (1, 1)


async def test_submit_refused_by_every_backend_gives_the_tenant_back_what_it_took() -> None:
    guard = GuardSettings(breaker=BreakerConfig(mode=BreakerMode.FORCED_OPEN))
    async with opened({"a": Answering()}, Settings(tenant_rate_limit=TEN_A_MINUTE, guard=guard)) as orchestrator:
        with pytest.raises(BreakerOpenError):
            await orchestrator.submit(ask())
        health = orchestrator.health()

    assert (health.tenants.settled, health.tenants.cancelled) == (0, 1)


async def test_submit_that_fails_counts_for_the_tenant_what_it_had_sent() -> None:
    backend = Answering(failing=unavailable)
    async with opened({"a": backend}, tenant_settings(TOKENS)) as orchestrator:
        with pytest.raises(BackendUnavailableError):
            await orchestrator.submit(ask())
        health = orchestrator.health()

    assert (health.tenants.settled, health.tenants.tokens_used) == (1, INPUT_TOKENS)


async def test_submit_whose_answer_is_rejected_counts_for_the_tenant_what_it_took() -> None:
    rule = {"kind": "required_fields", "fields": ["total"], "action": "reject"}
    settings = Settings.model_validate({"validators": {"order": rule}, "tenant_rate_limit": TOKENS})
    backend = Answering(usage=Usage(input_tokens=12, output_tokens=30))
    async with opened({"a": backend}, settings) as orchestrator:
        with pytest.raises(OutputRejectedError):
            await orchestrator.submit(ask())
        health = orchestrator.health()

    assert (health.tenants.settled, health.tenants.tokens_used) == (1, 42)


async def test_submit_cut_off_at_its_deadline_counts_what_it_had_sent() -> None:
    settings = Settings(tenant_rate_limit=TOKENS, guard=GuardSettings(rate_limit=TOKENS))
    async with opened({"a": Answering(delay_s=5.0)}, settings) as orchestrator:
        with pytest.raises(DeadlineExceededError):
            await orchestrator.submit(replace(ask(), timeout_s=1.0))
        await anyio.sleep(1.0)
        health = orchestrator.health()

    assert (health.tenants.settled, health.tenants.tokens_used) == (1, INPUT_TOKENS)
    assert (limit_of(health).settled, limit_of(health).tokens_used) == (1, INPUT_TOKENS)


async def test_submit_beyond_the_limit_of_a_backend_falls_back_without_counting_as_its_failure() -> None:
    provider, spare = SharedBackendProvider(Answering()), Answering()
    limited = Backend(provider=provider, guard=GuardSettings(rate_limit=TEN_A_MINUTE))
    async with opened({"limited": limited, "spare": spare}) as orchestrator:
        replies = [await orchestrator.submit(ask(number)) for number in range(15)]
        health = orchestrator.health()
        events = [record.event for record in orchestrator.events]

    first = health.backends[0]
    assert [reply.backend for reply in replies] == ["limited"] * 10 + ["spare"] * 5
    assert [reply.attempts for reply in replies] == [1] * 15
    assert (first.breaker.failed, first.breaker.ignored, first.breaker.succeeded) == (0, 5, 10)
    assert (first.retry_budget.asked, first.retry_budget.in_flight) == (0, 0)
    assert (limit_of(health).asked, limit_of(health).refused, limit_of(health).settled) == (15, 5, 10)
    assert events.count(FellBack(failed="limited", following="spare", error="RateLimitedError")) == 5


async def test_submit_beyond_the_limit_of_the_only_backend_is_told_when_to_come_back() -> None:
    backend = Answering()
    async with opened({"a": backend}, backend_settings(RateLimitConfig(requests_per_minute=1))) as orchestrator:
        await orchestrator.submit(ask(1))
        with pytest.raises(RateLimitedError) as caught:
            await orchestrator.submit(ask(2))

    assert (caught.value.scope, backend.calls) == ("backend 'a'", 1)
    assert caught.value.retry_after_s == pytest.approx(60.0)


async def test_submit_each_attempt_takes_of_the_backends_limit() -> None:
    backend = Answering(failing=lambda call: unavailable() if call < 3 else None)
    settings = backend_settings(TEN_A_MINUTE, retry=RetryPolicy(max_attempts=3))
    async with opened({"a": backend}, settings) as orchestrator:
        reply = await orchestrator.submit(ask())
        health = orchestrator.health()

    assert reply.attempts == 3
    assert (limit_of(health).asked, limit_of(health).settled) == (3, 3)


async def test_submit_settles_the_backends_tokens_with_the_usage() -> None:
    backend = Answering(usage=Usage(input_tokens=12, output_tokens=30))
    async with opened({"a": backend}, backend_settings(TOKENS)) as orchestrator:
        await orchestrator.submit(ask())
        health = orchestrator.health()

    assert tokens_taken(limit_of(health)) == 42


async def test_submit_keeps_the_estimate_where_the_backend_reports_no_usage() -> None:
    async with opened({"a": Answering()}, backend_settings(TOKENS)) as orchestrator:
        await orchestrator.submit(ask())
        health = orchestrator.health()

    assert tokens_taken(limit_of(health)) == ESTIMATED_TOKENS


async def test_submit_that_fails_counts_for_the_backend_what_it_was_sent() -> None:
    backend = Answering(failing=unavailable)
    async with opened({"a": backend}, backend_settings(TOKENS)) as orchestrator:
        with pytest.raises(BackendUnavailableError):
            await orchestrator.submit(ask())
        health = orchestrator.health()

    assert tokens_taken(limit_of(health)) == INPUT_TOKENS


async def test_submit_cancelled_gives_back_what_it_took_of_the_backend() -> None:
    config = RateLimitConfig(requests_per_minute=0.001, burst_requests=1)
    async with opened({"a": Answering(delay_s=5.0)}, backend_settings(config)) as orchestrator:
        for _ in range(3):
            with anyio.move_on_after(1.0):
                await orchestrator.submit(ask())
            await anyio.sleep(1.0)
        health = orchestrator.health()

    assert (limit_of(health).reserved, limit_of(health).cancelled, limit_of(health).refused) == (0, 3, 0)


async def test_submit_refused_by_the_pool_gives_back_what_it_took_of_the_backend() -> None:
    settings = backend_settings(TEN_A_MINUTE, pool=PoolConfig(max_size=1, max_waiters=1))
    refused = 0
    async with opened({"a": Answering(delay_s=1.0)}, settings) as orchestrator:

        async def submit(number: int) -> None:
            nonlocal refused
            try:
                await orchestrator.submit(ask(number))
            except PoolExhaustedError:
                refused += 1

        await submit(0)
        async with anyio.create_task_group() as tasks:
            for number in range(1, 6):
                tasks.start_soon(submit, number)
        health = orchestrator.health()

    assert refused == 3
    assert (limit_of(health).settled, limit_of(health).cancelled) == (3, 3)


async def test_submit_after_push_back_leaves_the_backend_alone_for_as_long_as_it_asked() -> None:
    first = Answering(failing=lambda call: BackendThrottledError(backend="a", retry_after_s=5.0) if call == 1 else None)
    async with opened({"a": first, "b": Answering()}, backend_settings(TEN_A_MINUTE)) as orchestrator:
        backends = [(await orchestrator.submit(ask(1))).backend, (await orchestrator.submit(ask(2))).backend]
        pause_left_s = limit_of(orchestrator.health()).pause_left_s
        await anyio.sleep(5.0)
        backends.append((await orchestrator.submit(ask(3))).backend)
        events = [record.event for record in orchestrator.events]

    assert backends == ["b", "b", "a"]
    assert pause_left_s == pytest.approx(5.0)
    assert first.calls == 2
    assert RateLimitPaused(scope="backend 'a'", pause_s=5.0) in events
    assert [event.quantity for event in events if isinstance(event, RateLimited)] == ["pause"]


async def test_submit_retried_after_push_back_meets_no_pause_any_more() -> None:
    backend = Answering(
        failing=lambda call: BackendThrottledError(backend="a", retry_after_s=5.0) if call == 1 else None
    )
    settings = backend_settings(TEN_A_MINUTE, retry=RetryPolicy(max_attempts=2))
    async with opened({"a": backend}, settings) as orchestrator:
        reply = await orchestrator.submit(ask())

    assert (reply.text, reply.attempts) == ("42", 2)


async def test_submit_push_back_for_an_hour_pauses_for_the_longest_pause() -> None:
    backend = Answering(failing=lambda call: BackendThrottledError(backend="a", retry_after_s=3600.0))
    config = RateLimitConfig(requests_per_minute=10, max_pause_s=20.0)
    async with opened({"a": backend}, backend_settings(config)) as orchestrator:
        with pytest.raises(BackendThrottledError):
            await orchestrator.submit(ask())
        health = orchestrator.health()

    assert limit_of(health).pause_left_s == pytest.approx(20.0)


async def test_submit_push_back_that_names_no_time_pauses_nothing() -> None:
    backend = Answering(failing=lambda call: BackendThrottledError(backend="a"))
    async with opened({"a": backend}, backend_settings(TEN_A_MINUTE)) as orchestrator:
        with pytest.raises(BackendThrottledError):
            await orchestrator.submit(ask())
        health = orchestrator.health()

    assert limit_of(health).pause_left_s == 0.0


async def test_submit_push_back_without_a_rate_limit_pauses_nothing() -> None:
    backend = Answering(
        failing=lambda call: BackendThrottledError(backend="a", retry_after_s=5.0) if call == 1 else None
    )
    async with opened({"a": backend}, Settings(guard=GuardSettings(retry=ONCE))) as orchestrator:
        with pytest.raises(BackendThrottledError):
            await orchestrator.submit(ask())
        reply = await orchestrator.submit(ask())
        health = orchestrator.health()

    assert reply.text == "42"
    assert health.backends[0].rate_limit is None


async def test_stream_is_settled_with_its_usage() -> None:
    settings = Settings(tenant_rate_limit=TOKENS, guard=GuardSettings(rate_limit=TOKENS))
    spoken = Pieces(pieces=("x" * 20, "y" * 20), usage=Usage(input_tokens=12, output_tokens=30))
    async with opened({"a": scripted(spoken)}, settings) as orchestrator:
        async with orchestrator.stream(ask()) as stream:
            await stream.reply()
        health = orchestrator.health()

    assert tokens_taken(limit_of(health)) == health.tenants.tokens_used == 42


async def test_stream_that_its_reader_leaves_counts_what_had_gone_out() -> None:
    settings = Settings(tenant_rate_limit=TOKENS, guard=GuardSettings(rate_limit=TOKENS))
    endless = Pieces(pieces=("x" * 20, "y" * 20, "z" * 20), between_s=1.0)
    async with opened({"a": scripted(endless)}, settings) as orchestrator:
        async with orchestrator.stream(ask()) as stream:
            pieces = aiter(stream)
            await anext(pieces)
            await anext(pieces)
        await anyio.sleep(1.0)
        health = orchestrator.health()

    assert tokens_taken(limit_of(health)) == health.tenants.tokens_used == INPUT_TOKENS + 10
    assert (limit_of(health).reserved, health.tenants.reserved) == (0, 0)


async def test_stream_beyond_the_limit_of_its_tenant_is_refused() -> None:
    settings = tenant_settings(RateLimitConfig(requests_per_minute=1))
    async with opened({"a": scripted(Pieces(pieces=("x",)))}, settings) as orchestrator:
        await orchestrator.submit(ask(1))
        with pytest.raises(RateLimitedError):
            async with orchestrator.stream(ask(2)) as stream:
                await stream.reply()


async def test_submit_second_attempt_of_a_hedge_takes_of_the_backends_limit_and_the_loser_gives_back() -> None:
    guard = GuardSettings(
        rate_limit=TEN_A_MINUTE,
        hedge=HedgeConfig(min_samples=1, max_ratio=1.0),
        retry_budget=RetryBudgetConfig(min_retries=100),
    )
    slow_once = Answering(delay_s=lambda call: 20.0 if call == 2 else 1.0)
    async with opened({"a": slow_once}, Settings(guard=guard)) as orchestrator:
        for number in range(2):
            await orchestrator.submit(ask(number))
        health = orchestrator.health()

    limit = limit_of(health)
    assert slow_once.calls == 3
    assert (limit.asked, limit.settled, limit.cancelled, limit.reserved) == (3, 2, 1, 0)


async def test_events_tell_of_a_tenant_at_its_limit() -> None:
    async with opened({"a": Answering()}, tenant_settings(RateLimitConfig(requests_per_minute=1))) as orchestrator:
        await orchestrator.submit(ask(1))
        with pytest.raises(RateLimitedError):
            await orchestrator.submit(ask(2))
        events = told(orchestrator, RateLimited)

    assert [(event.scope, event.quantity) for event in events] == [("tenant 'default'", "requests")]


async def test_submit_cancelled_at_any_checkpoint_leaves_every_reservation_settled_or_given_back() -> None:
    config = RateLimitConfig(requests_per_minute=0.001, burst_requests=1000, tokens_per_minute=1e-3, burst_tokens=1e6)
    guard = GuardSettings(
        rate_limit=config,
        retry=RetryPolicy(max_attempts=2),
        retry_budget=RetryBudgetConfig(min_retries=1000),
        breaker=BreakerConfig(mode=BreakerMode.DISABLED),
    )
    backend = Answering(delay_s=1.0, failing=unavailable)
    async with opened({"a": backend}, Settings(tenant_rate_limit=config, guard=guard)) as orchestrator:

        async def scenario() -> None:
            with pytest.raises(BackendUnavailableError):
                await orchestrator.submit(replace(ask(), no_cache=True))

        async def check() -> None:
            await anyio.sleep(60.0)
            health = orchestrator.health()
            limit = limit_of(health)
            assert_nothing_is_held(health)
            assert (limit.refused, health.tenants.refused) == (0, 0)
            assert limit.requests_left == pytest.approx(1000 - limit.settled, abs=0.1)

        checkpoints = await sweep_cancellation(scenario, check)
        health = orchestrator.health()

    assert checkpoints >= 3  # in both attempts, and while the retry sleeps
    assert (health.tenants.settled, health.tenants.cancelled) == (1, checkpoints)
