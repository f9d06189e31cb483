"""What is decided on the wired path is told: each mechanism's events, met by requests that provoke them."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from dependency_injector import providers

from holdfast.adapters.inference.provider import SharedBackendProvider
from holdfast.application.container import Backend, Container
from holdfast.application.settings import GuardSettings, Settings
from holdfast.application.settings_sources import load_settings
from holdfast.application.wiring import open_container, open_orchestrator
from holdfast.domain.adaptive_limit import AdaptiveLimitConfig
from holdfast.domain.circuit_breaker import BreakerConfig
from holdfast.domain.event_hub import EventConfig
from holdfast.domain.pool import PoolConfig
from holdfast.domain.retry_policy import Jitter, RetryPolicy
from holdfast.ports.errors import (
    AttemptTimeoutError,
    BackendThrottledError,
    BackendUnavailableError,
    BreakerOpenError,
    ClosedError,
    ConfigurationError,
    HoldfastError,
    RequestError,
)
from holdfast.ports.events import (
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpened,
    BreakerRefused,
    Deduplicated,
    Event,
    EventSink,
    FellBack,
    FlightAbandoned,
    LeaseLeaked,
    LimitChanged,
    PoolRefused,
    RecordedEvent,
    RequestAnswered,
    RequestFailed,
    ResourceFailed,
    RetryRefused,
    RetryScheduled,
    ServiceClosed,
    ServiceDraining,
)
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.service import Disposition, Priority, Request
from holdfast.ports.statistics import Health
from holdfast.testing import VirtualClock, sweep_cancellation
from tests.fakes.events import Listener
from tests.fakes.service import ONCE, Answering, ask, assert_nothing_is_held, opened, told, unavailable

pytestmark = pytest.mark.anyio


class Unmakeable(SharedBackendProvider):
    async def create(self) -> InferenceBackend:
        raise ConnectionRefusedError


class Raising:
    def emit(self, event: Event) -> None:
        raise OSError("no space left on device")


def guarded_by(**guard: object) -> Settings:
    return Settings(guard=GuardSettings.model_validate({"retry": ONCE.retry} | guard))


async def test_submit_that_is_answered_tells_for_whom_by_whom_and_how_long_it_took() -> None:
    async with opened({"a": Answering(delay_s=2.0)}) as orchestrator:
        await orchestrator.submit(ask(tenant="alice", priority=Priority.HIGH))
        now_s = VirtualClock().monotonic_s()

        assert orchestrator.events == [
            RecordedEvent(
                at_s=now_s,
                event=RequestAnswered(
                    tenant="alice",
                    priority=Priority.HIGH,
                    backend="a",
                    disposition=Disposition.CALLED,
                    attempts=1,
                    latency_s=2.0,
                ),
            )
        ]


async def test_submit_that_fails_tells_each_retry_and_then_the_failure() -> None:
    settings = Settings(guard=GuardSettings(retry=RetryPolicy(max_attempts=2, jitter=Jitter.NONE, base_delay_s=1.0)))
    async with opened({"a": Answering(delay_s=1.0, failing=unavailable)}, settings) as orchestrator:
        with pytest.raises(BackendUnavailableError):
            await orchestrator.submit(ask(tenant="alice"))

        assert [recorded.event for recorded in orchestrator.events] == [
            RetryScheduled(backend="a", attempt=1, delay_s=1.0, error="BackendUnavailableError"),
            RetryRefused(backend="a", attempt=2, reason="strategy", error="BackendUnavailableError"),
            RequestFailed(tenant="alice", priority=Priority.NORMAL, error="BackendUnavailableError", latency_s=3.0),
        ]


async def test_submit_that_is_wrong_or_too_late_tells_a_failure() -> None:
    async with opened({"a": Answering()}) as orchestrator:
        with pytest.raises(RequestError):
            await orchestrator.submit(Request(messages=()))
        await orchestrator.drain(timeout_s=1.0)
        with pytest.raises(ClosedError):
            await orchestrator.submit(ask())

        assert [failed.error for failed in told(orchestrator, RequestFailed)] == ["RequestError", "ClosedError"]


async def test_submit_to_a_backend_that_fails_and_recovers_tells_what_its_breaker_does() -> None:
    breaker = BreakerConfig(failures_in_row=2, open_s=8.0, probe_calls=1, probe_successes=1)
    backend = Answering(failing=lambda call: unavailable() if call <= 2 else None)
    async with opened({"a": backend}, guarded_by(breaker=breaker)) as orchestrator:
        for error in (BackendUnavailableError, BackendUnavailableError, BreakerOpenError):
            with pytest.raises(error):
                await orchestrator.submit(ask())
        await anyio.sleep(6.0)
        await orchestrator.submit(ask())

        assert told(orchestrator, BreakerOpened, BreakerRefused, BreakerHalfOpened, BreakerClosed) == [
            BreakerOpened(breaker="a", open_s=6.0),
            BreakerRefused(breaker="a", retry_after_s=6.0),
            BreakerHalfOpened(breaker="a"),
            BreakerClosed(breaker="a"),
        ]


async def test_submit_more_than_the_pool_serves_tells_who_was_refused() -> None:
    pool = PoolConfig(max_size=1, max_waiters=1, acquire_timeout_s=1.0)
    async with opened({"a": Answering(delay_s=3.0)}, guarded_by(pool=pool)) as orchestrator:

        async def submit(number: int) -> None:
            with suppress(HoldfastError):
                await orchestrator.submit(ask(f"question {number}"))

        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(submit, number)
                await anyio.sleep(0.1)

        assert told(orchestrator, PoolRefused) == [
            PoolRefused(pool="a", waiting=1, waited_s=0.0),
            PoolRefused(pool="a", waiting=0, waited_s=1.0),
        ]


async def test_submit_to_a_backend_that_cannot_be_made_tells_why() -> None:
    async with opened({"a": Backend(provider=Unmakeable(Answering()), guard=ONCE)}) as orchestrator:
        with pytest.raises(ConnectionRefusedError):
            await orchestrator.submit(ask())

        assert told(orchestrator, ResourceFailed) == [
            ResourceFailed(pool="a", operation="create", error="ConnectionRefusedError")
        ]


async def test_submit_to_a_backend_that_hangs_tells_that_its_lease_is_overdue() -> None:
    settings = guarded_by(attempt_timeout_s=30.0, pool=PoolConfig(leak_warning_s=10.0))
    async with opened({"a": Answering(delay_s=float("inf"))}, settings) as orchestrator:
        with pytest.warns(ResourceWarning), pytest.raises(AttemptTimeoutError):
            await orchestrator.submit(ask())

        [leak] = told(orchestrator, LeaseLeaked)
        assert leak.pool == "a"
        assert 10.0 <= leak.held_s <= 15.0


async def test_submit_of_duplicates_tells_which_joined_and_which_came_later() -> None:
    async with opened({"a": Answering(delay_s=1.0)}) as orchestrator:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(orchestrator.submit, ask())
        await orchestrator.submit(ask())

        shared = told(orchestrator, Deduplicated)
        assert [event.disposition for event in shared] == [Disposition.JOINED, Disposition.CACHED]
        assert {event.disposition for event in told(orchestrator, RequestAnswered)} == {
            Disposition.CALLED,
            Disposition.JOINED,
            Disposition.CACHED,
        }
        assert len({event.key for event in shared}) == 1


async def test_submit_that_is_cancelled_tells_only_that_its_call_was_given_up() -> None:
    async with opened({"a": Answering(delay_s=10.0)}) as orchestrator:
        with anyio.move_on_after(1.0):
            await orchestrator.submit(ask())
        with anyio.move_on_after(1.0):
            await orchestrator.submit(replace(ask(), no_cache=True))
        await anyio.sleep(1.0)

        assert [type(recorded.event) for recorded in orchestrator.events] == [FlightAbandoned]


async def test_submit_under_an_adaptive_limit_tells_when_it_moves() -> None:
    settings = guarded_by().model_copy(update={"adaptive_limit": AdaptiveLimitConfig()})
    pushing_back = Answering(delay_s=1.0, failing=lambda call: BackendThrottledError(backend="a"))
    async with opened({"a": pushing_back}, settings) as orchestrator:
        with pytest.raises(BackendThrottledError):
            await orchestrator.submit(ask())

        assert told(orchestrator, LimitChanged) == [LimitChanged(before=20, after=18, recent_s=None, baseline_s=None)]


async def test_submit_that_falls_back_tells_from_where_to_where_and_why() -> None:
    backends = {"a": Answering(failing=unavailable), "b": Answering(failing=unavailable), "c": Answering()}
    async with opened(backends, guarded_by()) as orchestrator:
        await orchestrator.submit(ask())

        assert told(orchestrator, FellBack) == [
            FellBack(failed="a", following="b", error="BackendUnavailableError"),
            FellBack(failed="b", following="c", error="BackendUnavailableError"),
        ]


async def test_submit_whose_last_backend_fails_falls_back_to_none() -> None:
    async with opened({"a": Answering(failing=unavailable)}, guarded_by()) as orchestrator:
        with pytest.raises(BackendUnavailableError):
            await orchestrator.submit(ask())

        assert told(orchestrator, FellBack) == []


async def test_drain_tells_once_how_many_run_and_how_many_were_cut_off() -> None:
    async with opened({"a": Answering(delay_s=10.0)}) as orchestrator:

        async def submit() -> None:
            with suppress(ClosedError):
                await orchestrator.submit(ask())

        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(submit)
            await anyio.sleep(1.0)
            for _ in range(2):
                tasks.start_soon(orchestrator.drain, 5.0)
        await orchestrator.drain(timeout_s=1.0)

        assert told(orchestrator, ServiceDraining) == [ServiceDraining(running=2, timeout_s=5.0)]
        assert told(orchestrator, ServiceClosed) == [ServiceClosed(cancelled=2)]
        assert orchestrator.events[-1].event == ServiceClosed(cancelled=2)


async def test_drain_of_requests_that_end_in_time_cuts_nobody_off() -> None:
    async with opened({"a": Answering(delay_s=3.0)}) as orchestrator:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(orchestrator.submit, ask())
            await anyio.sleep(1.0)
            await orchestrator.drain(timeout_s=5.0)

        assert told(orchestrator, ServiceClosed) == [ServiceClosed(cancelled=0)]


async def test_sink_that_raises_changes_nothing_and_is_counted() -> None:
    async def course(*sinks: EventSink) -> tuple[list[object], Health, list[Event]]:
        outcomes: list[object] = []
        backend = Answering(delay_s=1.0, failing=lambda call: unavailable() if call % 2 else None)
        breaker = BreakerConfig(failures_in_row=3)
        retry = RetryPolicy(base_delay_s=1.0)  # pauses and latencies are sums that a float holds exactly
        settings = Settings(guard=GuardSettings(retry=retry, breaker=breaker))
        async with opened({"a": backend}, settings, event_sinks=sinks) as orchestrator:
            for number in range(6):
                try:
                    reply = await orchestrator.submit(ask(f"question {number}"))
                    outcomes.append((reply.text, reply.attempts, reply.disposition))
                except HoldfastError as error:
                    outcomes.append(type(error))
            with anyio.move_on_after(0.5):
                await orchestrator.submit(ask("given up"))
            await anyio.sleep(1.0)  # until the call has ended too
            await orchestrator.drain(timeout_s=1.0)
            health = orchestrator.health()
            return outcomes, health, [recorded.event for recorded in orchestrator.events]

    outcomes, health, events = await course()
    outcomes_beside_it, health_beside_it, events_beside_it = await course(Raising())

    assert len(events) > 10
    assert outcomes_beside_it == outcomes
    assert events_beside_it == events
    assert health_beside_it.events == replace(health.events, sink_failures=len(events))
    assert replace(health_beside_it, events=health.events) == health


async def test_sink_added_in_one_line_hears_what_the_orchestrator_remembers() -> None:
    listener = Listener()

    async with open_orchestrator(Settings(), backends={"a": Answering()}, event_sinks=[listener]) as orchestrator:
        await orchestrator.submit(ask())

        assert listener.heard == [recorded.event for recorded in orchestrator.events]
    assert [event.name for event in listener.heard] == ["request_answered"]


async def test_sink_put_into_the_container_in_one_line_hears_every_event() -> None:
    listener = Listener()
    container = Container(settings=providers.Object(Settings()))
    container.clock.override(providers.Object(VirtualClock()))

    container.event_sinks.override(providers.Object((listener,)))

    async with open_container(container) as orchestrator:
        await orchestrator.submit(ask())
    assert [event.name for event in listener.heard] == ["request_answered"]


async def test_health_counts_events_by_name_and_agrees_with_the_requests() -> None:
    backend = Answering(failing=lambda call: unavailable() if call == 1 else None)
    async with opened({"a": backend}, guarded_by()) as orchestrator:
        with pytest.raises(BackendUnavailableError):
            await orchestrator.submit(ask())
        for _ in range(2):
            await orchestrator.submit(ask())
        health = orchestrator.health()

    assert health.events.counts == {
        "retry_refused": 1,
        "request_failed": 1,
        "request_answered": 2,
        "deduplicated": 1,
    }
    assert (health.requests.answered, health.requests.failed) == (2, 1)
    assert health.events.emitted == health.events.buffer.appended == 5


async def test_submit_cancelled_at_every_checkpoint_tells_of_no_request_that_did_not_end() -> None:
    backend = Answering(delay_s=1.0, failing=lambda call: unavailable() if call % 3 == 1 else None)
    async with opened({"a": backend, "b": Answering()}, guarded_by()) as orchestrator:
        numbers = iter(range(1000))

        async def scenario() -> None:
            await orchestrator.submit(ask(f"question {next(numbers)}"))

        async def check() -> None:
            await anyio.sleep(5.0)
            health = orchestrator.health()
            counts, requests = health.events.counts, health.requests
            assert_nothing_is_held(health)
            assert counts.get("request_answered", 0) == requests.answered
            assert counts.get("request_failed", 0) == requests.failed == 0
            assert counts.get("flight_abandoned", 0) == health.deduplication.abandoned == requests.cancelled

        assert await sweep_cancellation(scenario, check) >= 1


async def test_events_hold_nothing_of_what_was_asked_and_answered() -> None:
    backend = Answering(text="the secret answer", failing=lambda call: unavailable() if call == 1 else None)
    async with opened({"a": backend}) as orchestrator:
        for _ in range(2):
            await orchestrator.submit(ask("the secret question"))

        assert len(orchestrator.events) == 4
        assert "secret" not in str(orchestrator.events)


async def test_setting_of_events_bounds_what_is_remembered() -> None:
    async with opened({"a": Answering()}, Settings(events=EventConfig(max_items=2))) as orchestrator:
        for number in range(5):
            await orchestrator.submit(ask(f"question {number}"))

        assert len(orchestrator.events) == 2
        assert orchestrator.health().events.emitted == 5


@pytest.mark.parametrize(("log_events", "lines"), [(False, 0), (True, 1)])
async def test_setting_log_events_logs_them(log_events: bool, lines: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="holdfast.events")

    async with open_orchestrator(Settings(log_events=log_events), backends={"a": Answering()}) as orchestrator:
        await orchestrator.submit(ask())

    assert [record.getMessage().split()[0] for record in caplog.records] == ["request_answered"] * lines


def test_setting_of_events_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_EVENTS__MAX_ITEMS", "50")
    monkeypatch.setenv("HOLDFAST_LOG_EVENTS", "true")

    settings = load_settings(tmp_path).settings

    assert (settings.events, settings.log_events) == (EventConfig(max_items=50), True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_items": 0}, r"^events\.max_items: must be a finite number of at least 1, not 0"),
        ({"max_itms": 5}, r"^events\.max_itms: is not a setting .*did you mean 'events\.max_items'"),
    ],
)
def test_setting_what_cannot_be_is_refused_with_its_path(
    tmp_path: Path, arguments: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_settings(tmp_path, {"events": arguments})
