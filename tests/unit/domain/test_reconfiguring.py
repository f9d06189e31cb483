"""Mechanisms that go by other numbers while they work: state and counts go on."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from holdfast.domain.adaptive_limit import AdaptiveLimit, AdaptiveLimitConfig
from holdfast.domain.admission import AdmissionConfig, AdmissionQueue
from holdfast.domain.circuit_breaker import BreakerConfig, BreakerMode, CircuitBreaker
from holdfast.domain.concurrency_limit import ConcurrencyLimit
from holdfast.domain.deadline import Deadline
from holdfast.domain.event_hub import EventHub
from holdfast.domain.gcra import Gcra
from holdfast.domain.rate_limit import RateLimit, RateLimitConfig
from holdfast.domain.retry import Retry
from holdfast.domain.retry_policy import RetryPolicy
from holdfast.domain.tenant_limits import TenantLimits
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import BackendUnavailableError, BackpressureError, RateLimitedError
from holdfast.ports.events import BreakerHalfOpened, Event
from holdfast.ports.outcome import Outcome, Verdict
from holdfast.ports.service import Priority
from holdfast.ports.statistics import BreakerState
from holdfast.testing import ManualClock, VirtualClock
from tests.fakes.events import Listener

FAILED = Verdict(outcome=Outcome.FAILURE)


def breaker(clock: ManualClock, **config: object) -> CircuitBreaker:
    return CircuitBreaker("a", BreakerConfig(**config), clock=clock, random=lambda: 1.0)  # type: ignore[arg-type]


def fail(guard: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        guard.settle(guard.acquire(), FAILED)


def test_gcra_retuned_pays_off_at_the_new_rate_what_was_taken_before() -> None:
    quantity = Gcra(per_s=1.0, burst=10.0, max_debt_s=60.0, now_s=0.0)
    quantity.try_take("a", 10.0, now_s=0.0)

    quantity.retune(per_s=4.0, burst=10.0, max_debt_s=60.0, now_s=2.0)

    assert quantity.left(now_s=2.0) == 2.0
    assert quantity.left(now_s=3.0) == 6.0


def test_gcra_retuned_to_less_lets_nothing_through_until_what_was_taken_fits() -> None:
    quantity = Gcra(per_s=1.0, burst=10.0, max_debt_s=60.0, now_s=0.0)
    quantity.try_take("a", 8.0, now_s=0.0)

    quantity.retune(per_s=1.0, burst=4.0, max_debt_s=60.0, now_s=0.0)

    assert not quantity.try_take("b", 1.0, now_s=4.5)
    assert quantity.wait_s(1.0, now_s=4.5) == 0.5
    assert quantity.try_take("b", 1.0, now_s=5.0)


def test_gcra_retuned_to_a_shorter_debt_forgives_the_rest() -> None:
    quantity = Gcra(per_s=1.0, burst=1.0, max_debt_s=60.0, now_s=0.0)
    quantity.try_take("a", 1.0, now_s=0.0)
    quantity.settle("a", 1.0, used=50.0, now_s=0.0)

    quantity.retune(per_s=1.0, burst=1.0, max_debt_s=5.0, now_s=0.0)

    assert quantity.left(now_s=0.0) == -5.0


def test_breaker_reconfigured_opens_by_the_new_numbers_and_counts_on() -> None:
    clock = ManualClock()
    guard = breaker(clock, failures_in_row=10)
    fail(guard, 3)

    guard.reconfigure(BreakerConfig(failures_in_row=2, open_s=7.0))
    fail(guard)
    assert guard.statistics().state is BreakerState.CLOSED  # the window began anew
    fail(guard)

    counted = guard.statistics()
    assert (counted.state, counted.failed, counted.admitted, counted.opened) == (BreakerState.OPEN, 5, 5, 1)
    clock.advance(6.9)
    assert guard.try_acquire() is None
    clock.advance(0.1)
    assert guard.try_acquire() is not None


def test_breaker_reconfigured_while_open_stays_open_until_its_time_is_over() -> None:
    clock = ManualClock()
    guard = breaker(clock, failures_in_row=1, open_s=5.0)
    fail(guard)

    guard.reconfigure(BreakerConfig(failures_in_row=1, open_s=100.0))

    clock.advance(4.9)
    assert guard.statistics().state is BreakerState.OPEN
    clock.advance(0.1)
    assert guard.statistics().state is BreakerState.HALF_OPEN


def test_breaker_reconfigured_while_half_open_takes_the_result_of_its_probe() -> None:
    clock = ManualClock()
    guard = breaker(clock, failures_in_row=1, probe_calls=1, probe_successes=1)
    fail(guard)
    clock.advance(5.0)
    probe = guard.acquire()

    guard.reconfigure(BreakerConfig(failures_in_row=1, probe_calls=3, probe_successes=3))
    guard.settle(probe, Verdict(outcome=Outcome.SUCCESS))

    assert guard.statistics().state is BreakerState.CLOSED


def test_breaker_reconfigured_to_another_mode_is_switched_to_it() -> None:
    guard = breaker(ManualClock())

    guard.reconfigure(BreakerConfig(mode=BreakerMode.FORCED_OPEN))

    assert guard.statistics().state is BreakerState.FORCED_OPEN


def test_breaker_reconfigured_stays_in_the_mode_that_an_operator_chose() -> None:
    guard = breaker(ManualClock())
    guard.switch_to(BreakerMode.DISABLED)

    guard.reconfigure(BreakerConfig(failures_in_row=1))

    assert guard.statistics().state is BreakerState.DISABLED


def test_breaker_that_only_counts_judges_by_the_new_numbers() -> None:
    guard = breaker(ManualClock(), mode=BreakerMode.METRICS_ONLY, failures_in_row=10)

    guard.reconfigure(BreakerConfig(mode=BreakerMode.METRICS_ONLY, failures_in_row=1))
    fail(guard)

    assert guard.statistics().would_have_opened == 1
    assert guard.statistics().state is BreakerState.METRICS_ONLY


def test_breaker_reconfigured_settles_calls_that_began_before_for_the_totals_only() -> None:
    guard = breaker(ManualClock(), failures_in_row=1)
    permit = guard.acquire()

    guard.reconfigure(BreakerConfig(failures_in_row=1))
    guard.settle(permit, FAILED)

    counted = guard.statistics()
    assert (counted.state, counted.failed, counted.in_flight) == (BreakerState.CLOSED, 1, 0)


@pytest.mark.anyio
async def test_retry_follows_another_strategy_from_the_next_failure_on() -> None:
    retry = Retry(RetryPolicy(max_attempts=1), clock=VirtualClock(), random=lambda: 0.5)
    calls = 0

    async def work() -> None:
        nonlocal calls
        calls += 1
        retry.follow(RetryPolicy(max_attempts=4))
        raise BackendUnavailableError("is down", backend="a")

    with pytest.raises(BackendUnavailableError):
        await retry.call(work)

    assert calls == 4


def queue(slots: int, clock: VirtualClock, **config: object) -> AdmissionQueue:
    return AdmissionQueue(AdmissionConfig(**config), limit=ConcurrencyLimit(slots), clock=clock)  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_admission_resized_lets_those_who_wait_in_at_once() -> None:
    clock = VirtualClock()
    admission = queue(1, clock)
    running = 0

    async def work() -> None:
        nonlocal running
        running += 1
        await anyio.sleep(10)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            urgency = Urgency(Priority.NORMAL, Deadline.after(60.0, clock))
            tasks.start_soon(partial(admission.call, work, urgency=urgency, size_bytes=1))
        await anyio.wait_all_tasks_blocked()
        admission.resize(3)
        await anyio.wait_all_tasks_blocked()
        assert (running, admission.statistics().waiting) == (3, 2)
        admission.resize(1)
        await anyio.sleep(11)
        assert admission.statistics().limit.in_flight == 1

    assert admission.statistics().granted == 5


def test_admission_resized_stays_as_it_is_where_latencies_decide() -> None:
    adaptive = AdaptiveLimit(AdaptiveLimitConfig(initial_limit=5))
    admission = AdmissionQueue(limit=ConcurrencyLimit(7), clock=ManualClock(), adaptive=adaptive)

    admission.resize(3)

    assert admission.statistics().limit.limit == 5


@pytest.mark.anyio
async def test_admission_reconfigured_keeps_those_who_wait_and_refuses_the_next_by_the_new_bound() -> None:
    clock = VirtualClock()
    admission = queue(1, clock, max_waiting=10)
    permit = await admission.acquire(urgency=Urgency(Priority.NORMAL, Deadline.after(60.0, clock)), size_bytes=1)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            urgency = Urgency(Priority.HIGH, Deadline.after(60.0, clock))
            tasks.start_soon(_take_and_give, admission, urgency)
        await anyio.wait_all_tasks_blocked()
        admission.reconfigure(AdmissionConfig(max_waiting=3, weights={"b": 2.0}))
        with pytest.raises(BackpressureError) as refused:
            await admission.acquire(
                urgency=Urgency(Priority.LOW, Deadline.after(60.0, clock)), size_bytes=1, tenant="b"
            )
        admission.release(permit)

    counted = admission.statistics()
    assert refused.value.capacity == 3
    assert (counted.granted, counted.refused, counted.shed, counted.waiting) == (4, 1, 0, 0)


async def _take_and_give(admission: AdmissionQueue, urgency: Urgency) -> None:
    admission.release(await admission.acquire(urgency=urgency, size_bytes=1))


def test_hub_tells_a_sink_from_when_it_was_added_until_it_is_removed() -> None:
    first, second, hub = Listener(), Listener(), EventHub(clock=ManualClock())
    event: Event = BreakerHalfOpened(breaker="a")
    hub.add(first)
    hub.emit(event)
    hub.add(second)
    hub.emit(event)
    hub.remove(first)
    hub.remove(first)
    hub.emit(event)

    assert (len(first.heard), len(second.heard)) == (2, 2)
    assert hub.statistics().emitted == 3


def test_rate_limit_reconfigured_pays_off_at_the_new_rate_and_counts_on() -> None:
    clock = ManualClock()
    limit = RateLimit("a", RateLimitConfig(requests_per_minute=60, burst_requests=1), clock=clock)
    limit.reserve(1).settle(1)

    limit.reconfigure(RateLimitConfig(requests_per_minute=600, burst_requests=1))

    with pytest.raises(RateLimitedError) as refused:
        limit.reserve(1)
    assert refused.value.retry_after_s == pytest.approx(0.1)
    clock.advance(0.1)
    limit.reserve(1).cancel()
    counted = limit.statistics()
    assert (counted.asked, counted.refused, counted.settled, counted.cancelled) == (3, 1, 1, 1)


def test_rate_limit_reconfigured_settles_what_was_reserved_before_once() -> None:
    limit = RateLimit("a", RateLimitConfig(tokens_per_minute=600), clock=ManualClock())
    reservation = limit.reserve(500)

    limit.reconfigure(RateLimitConfig(tokens_per_minute=60, requests_per_minute=6))
    reservation.settle(100)

    counted = limit.statistics()
    assert (counted.reserved, counted.settled, counted.requests_left) == (0, 1, 6.0)
    assert counted.tokens_left == -40.0


def test_rate_limit_reconfigured_to_another_quantity_bounds_that_one_only() -> None:
    limit = RateLimit("a", RateLimitConfig(tokens_per_minute=60), clock=ManualClock())
    limit.reserve(60).settle(60)

    limit.reconfigure(RateLimitConfig(requests_per_minute=2))

    limit.reserve(1000).settle(1000)
    assert limit.statistics().tokens_left is None
    assert limit.statistics().requests_left == 1.0


def test_rate_limit_reconfigured_lets_a_pause_go_on_no_longer_than_its_new_bound() -> None:
    limit = RateLimit("a", RateLimitConfig(requests_per_minute=600), clock=ManualClock())
    limit.pause(30.0)

    limit.reconfigure(RateLimitConfig(requests_per_minute=600, max_pause_s=10.0))

    assert limit.statistics().pause_left_s == 10.0


def test_tenant_limits_reconfigured_let_nobody_forget_what_they_took() -> None:
    one, clock = RateLimitConfig(requests_per_minute=60, burst_requests=1), ManualClock()
    tenants = TenantLimits(one, {"named": one, "free": None}, clock=clock)
    for name in ("named", "other"):
        limit = tenants.get(name)
        assert limit is not None
        limit.reserve(1).settle(1)

    tenants.reconfigure(one, {"other": one, "free": one})

    for name in ("named", "other"):
        limit = tenants.get(name)
        assert limit is not None
        with pytest.raises(RateLimitedError):
            limit.reserve(1)
    free = tenants.get("free")
    assert free is not None
    free.reserve(1).cancel()
    counted = tenants.statistics()
    assert (counted.asked, counted.refused, counted.tracked) == (5, 2, 3)


def test_tenant_limits_reconfigured_to_none_limit_only_those_who_are_named() -> None:
    one = RateLimitConfig(requests_per_minute=60, burst_requests=1)
    tenants = TenantLimits(one, {"gone": one}, clock=ManualClock())
    held = tenants.get("other")
    assert held is not None
    reservation = held.reserve(1)

    tenants.reconfigure(None, {"gone": None})
    reservation.settle(1)

    assert (tenants.get("other"), tenants.get("gone")) == (None, None)
    assert (tenants.statistics().reserved, tenants.statistics().tracked) == (0, 0)
