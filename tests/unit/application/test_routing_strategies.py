"""Which backend answers, met by requests that go through `Orchestrator.submit`."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast.application.orchestrator import Orchestrator
from holdfast.application.program import answer_fingerprint
from holdfast.application.settings import GuardSettings, Settings
from holdfast.application.settings_sources import load_settings
from holdfast.application.wiring import open_orchestrator
from holdfast.domain.circuit_breaker import BreakerConfig
from holdfast.domain.hedge import HedgeConfig
from holdfast.domain.route_choice import RoutingConfig, RoutingStrategy
from holdfast.ports.errors import (
    BackendRequestError,
    BackendUnavailableError,
    BreakerOpenError,
    ConfigurationError,
    DeadlineExceededError,
)
from holdfast.ports.events import FellBack, RouteChosen
from holdfast.ports.service import Reply, Request
from holdfast.ports.statistics import Health
from holdfast.testing import sweep_cancellation
from tests.fakes import service
from tests.fakes.events import Listener
from tests.fakes.service import ONCE, Answering, assert_nothing_is_held, unavailable

pytestmark = pytest.mark.anyio


def answering(*, delay_s: float = 0.1, failing: Callable[[int], Exception | None] = lambda call: None) -> Answering:
    return Answering(delay_s=delay_s, failing=failing)


def opened(
    backends: Mapping[str, Answering],
    strategy: RoutingStrategy = RoutingStrategy.ORDERED,
    *,
    weights: Mapping[str, float] | None = None,
    guard: GuardSettings = ONCE,
    listener: Listener | None = None,
) -> AbstractAsyncContextManager[Orchestrator]:
    settings = Settings(
        guard=guard, max_in_flight=1000, routing=RoutingConfig(strategy=strategy, weights=weights or {})
    )
    sinks = () if listener is None else (listener,)
    return service.opened(backends, settings, random=random.Random(1).random, event_sinks=sinks)


def ask(tenant: str = "default") -> Request:
    return service.ask(tenant=tenant, no_cache=True)


def latencies_s(health: Health) -> dict[str, float | None]:
    return {backend.name: backend.latency_s for backend in health.backends}


async def test_submit_ordered_always_asks_the_first_and_tells_of_no_choice() -> None:
    listener = Listener()
    async with opened({"a": answering(), "b": answering()}, listener=listener) as orchestrator:
        names = {(await orchestrator.submit(ask(f"tenant {number}"))).backend for number in range(50)}

    assert names == {"a"}
    assert [event for event in listener.heard if isinstance(event, RouteChosen)] == []


async def test_submit_weighted_shares_requests_in_proportion_and_tells_of_each_choice() -> None:
    listener = Listener()
    backends = {"a": answering(), "b": answering(), "spare": answering()}
    weights = {"a": 3.0, "b": 1.0, "spare": 0.0}
    async with opened(backends, RoutingStrategy.WEIGHTED, weights=weights, listener=listener) as orchestrator:
        answered = Counter([(await orchestrator.submit(ask())).backend for _ in range(1000)])

    chosen = [event for event in listener.heard if isinstance(event, RouteChosen)]
    assert answered["a"] == pytest.approx(750, abs=50)
    assert answered["spare"] == 0
    assert Counter(event.backend for event in chosen) == answered
    assert {event.strategy for event in chosen} == {"weighted"}


async def test_submit_backend_that_weighs_nothing_is_fallen_back_to() -> None:
    listener = Listener()
    backends = {"spare": answering(), "a": answering(failing=unavailable)}
    async with opened(backends, RoutingStrategy.WEIGHTED, weights={"spare": 0.0}, listener=listener) as orchestrator:
        reply = await orchestrator.submit(ask())

    assert (reply.backend, reply.attempts) == ("spare", 2)
    assert FellBack(failed="a", following="spare", error="BackendUnavailableError") in listener.heard


async def test_submit_sticky_same_tenant_always_has_the_same_backend_and_tenants_are_shared_out() -> None:
    backends = {"a": answering(), "b": answering()}
    tenants = [f"tenant {number}" for number in range(300)]
    async with opened(backends, RoutingStrategy.STICKY, weights={"a": 9.0}) as orchestrator:
        first = [(await orchestrator.submit(ask(tenant))).backend for tenant in tenants]
        again = [(await orchestrator.submit(ask(tenant))).backend for tenant in tenants]

    assert first == again
    assert Counter(first)["b"] == pytest.approx(30, abs=15)


async def test_submit_sticky_tenants_keep_their_backend_in_another_process_and_when_a_third_one_joins() -> None:
    tenants = [f"tenant {number}" for number in range(300)]

    async def answered(*names: str) -> list[str]:
        async with opened({name: answering() for name in names}, RoutingStrategy.STICKY) as orchestrator:
            return [(await orchestrator.submit(ask(tenant))).backend for tenant in tenants]

    before, after = await answered("a", "b"), await answered("b", "a", "new")

    moved = {to for came_from, to in zip(before, after, strict=True) if came_from != to}
    assert moved == {"new"}
    assert Counter(after)["new"] == pytest.approx(100, abs=25)


async def test_submit_sticky_requests_of_one_tenant_follow_their_session() -> None:
    async with opened({"a": answering(), "b": answering()}, RoutingStrategy.STICKY) as orchestrator:
        backends: dict[str, set[str]] = {}
        for session_id in [await orchestrator.sessions.create(tenant="default") for _ in range(30)]:
            request = replace(ask(), session_id=session_id)
            backends[session_id] = {(await orchestrator.submit(request)).backend for _ in range(3)}

    assert {len(names) for names in backends.values()} == {1}
    assert set.union(*backends.values()) == {"a", "b"}


async def test_submit_fastest_prefers_the_fast_one_leaves_the_one_that_slows_down_and_comes_back() -> None:
    one, other = answering(delay_s=0.1), answering(delay_s=0.3)
    async with opened({"one": one, "other": other}, RoutingStrategy.FASTEST) as orchestrator:

        async def share_of_one(requests: int) -> float:
            before = one.calls
            for _ in range(requests):
                await orchestrator.submit(ask())
            return (one.calls - before) / requests

        at_first = await share_of_one(100)
        one.delay_s = 3.0
        slowed = await share_of_one(100)
        one.delay_s = 0.1
        await share_of_one(200)
        recovered = await share_of_one(100)

    assert at_first >= 0.95
    assert slowed <= 0.05
    assert recovered >= 0.95


async def test_submit_fastest_spreads_a_burst_over_both() -> None:
    backends = {"one": answering(delay_s=1.0), "other": answering(delay_s=1.0)}
    async with opened(backends, RoutingStrategy.FASTEST, guard=ONCE) as orchestrator:
        for _ in range(10):
            await orchestrator.submit(ask())
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(orchestrator.submit, ask())

    assert all(10 <= backend.calls <= 20 for backend in backends.values())


async def test_submit_fastest_backend_that_fails_at_once_does_not_attract_the_requests() -> None:
    backends = {"down": answering(delay_s=0.001, failing=unavailable), "up": answering(delay_s=0.5)}
    guard = ONCE.model_copy(update={"breaker": BreakerConfig(failures_in_row=None)})
    async with opened(backends, RoutingStrategy.FASTEST, guard=guard) as orchestrator:
        for _ in range(100):
            assert (await orchestrator.submit(ask())).backend == "up"
        health = orchestrator.health()

    assert backends["down"].calls <= 30
    assert latencies_s(health)["down"] == pytest.approx(latencies_s(health)["up"], rel=0.2)


async def test_submit_fastest_backend_that_hangs_until_the_deadline_is_known_as_slow() -> None:
    backends = {"hangs": answering(delay_s=1000.0), "up": answering(delay_s=0.5)}
    async with opened(backends, RoutingStrategy.FASTEST) as orchestrator:
        replies: list[Reply] = []
        for _ in range(10):
            try:
                replies.append(await orchestrator.submit(replace(ask(), timeout_s=2.0)))
            except DeadlineExceededError:
                continue
        health = orchestrator.health()

    assert len(replies) >= 9
    assert latencies_s(health)["up"] is not None


async def test_submit_fastest_cancelled_and_mistaken_requests_are_not_measured() -> None:
    mistaken = answering(failing=lambda call: BackendRequestError("too long", backend="a"))
    async with opened({"a": mistaken}, RoutingStrategy.FASTEST) as orchestrator:
        with pytest.raises(BackendRequestError):
            await orchestrator.submit(ask())
        mistaken.delay_s = 10.0
        with anyio.move_on_after(1.0):
            await orchestrator.submit(ask())
        health = orchestrator.health()

    assert latencies_s(health) == {"a": None}


async def test_health_without_fastest_tells_no_latency_and_with_it_that_of_the_answers() -> None:
    async with opened({"a": answering(delay_s=0.2)}) as orchestrator:
        await orchestrator.submit(ask())
        ordered = latencies_s(orchestrator.health())
    async with opened({"a": answering(delay_s=0.2)}, RoutingStrategy.FASTEST) as orchestrator:
        await orchestrator.submit(ask())
        fastest = latencies_s(orchestrator.health())["a"]

    assert ordered == {"a": None}
    assert fastest == pytest.approx(0.2)


@pytest.mark.parametrize("strategy", RoutingStrategy)
async def test_submit_whichever_comes_first_an_open_breaker_is_passed_over(strategy: RoutingStrategy) -> None:
    backends = {"down": answering(delay_s=0.001, failing=unavailable), "up": answering(delay_s=0.5)}
    guard = ONCE.model_copy(update={"breaker": BreakerConfig(failures_in_row=1, open_s=3600.0, max_open_s=3600.0)})
    async with opened(backends, strategy, guard=guard) as orchestrator:
        names = {(await orchestrator.submit(ask(f"tenant {number}"))).backend for number in range(50)}

    assert names == {"up"}
    assert backends["down"].calls == 1


@pytest.mark.parametrize("strategy", RoutingStrategy)
async def test_submit_not_idempotent_is_put_to_one_backend_once(strategy: RoutingStrategy) -> None:
    backends = {name: answering(failing=unavailable) for name in ("a", "b")}
    async with opened(backends, strategy, guard=GuardSettings()) as orchestrator:
        with pytest.raises(BackendUnavailableError) as caught:
            await orchestrator.submit(replace(ask(), idempotent=False))
        health = orchestrator.health()

    assert sum(backend.calls for backend in backends.values()) == 1
    assert getattr(caught.value, "__notes__", []) == []
    assert all(backend.retry_budget.asked == 0 for backend in health.backends)


async def test_submit_not_idempotent_after_a_refusal_is_put_to_the_next_backend() -> None:
    backends = {"a": answering(failing=unavailable), "b": answering()}
    guard = ONCE.model_copy(update={"breaker": BreakerConfig(failures_in_row=1)})
    async with opened(backends, guard=guard) as orchestrator:
        with pytest.raises(BackendUnavailableError):
            await orchestrator.submit(replace(ask(), idempotent=False))
        reply = await orchestrator.submit(replace(ask(), idempotent=False))

    assert (reply.backend, reply.attempts) == ("b", 1)
    assert [backend.calls for backend in backends.values()] == [1, 1]


async def test_submit_not_idempotent_refused_by_all_raises_the_refusal() -> None:
    backends = {"a": answering(failing=unavailable)}
    guard = ONCE.model_copy(update={"breaker": BreakerConfig(failures_in_row=1)})
    async with opened(backends, guard=guard) as orchestrator:
        with pytest.raises(BackendUnavailableError):
            await orchestrator.submit(replace(ask(), idempotent=False))
        with pytest.raises(BreakerOpenError):
            await orchestrator.submit(replace(ask(), idempotent=False))

    assert backends["a"].calls == 1


async def test_submit_not_idempotent_asked_twice_at_once_is_put_to_the_backend_twice() -> None:
    backend = answering()
    request = replace(ask(), no_cache=False, idempotent=False)
    async with opened({"a": backend}) as orchestrator, anyio.create_task_group() as tasks:
        tasks.start_soon(orchestrator.submit, request)
        tasks.start_soon(orchestrator.submit, request)

    assert backend.calls == 2


@pytest.mark.parametrize("strategy", RoutingStrategy)
async def test_submit_cancelled_at_every_checkpoint_is_in_flight_nowhere(strategy: RoutingStrategy) -> None:
    backends = {"a": answering(delay_s=0.2, failing=unavailable), "b": answering(delay_s=0.2)}
    async with opened(backends, strategy, guard=GuardSettings()) as orchestrator:

        async def scenario() -> None:
            await orchestrator.submit(ask())

        async def check() -> None:
            await anyio.sleep(0.001)  # the pool resets what a cancelled call had leased
            assert_nothing_is_held(orchestrator.health())

        assert await sweep_cancellation(scenario, check) >= 1


async def test_submit_fastest_after_cancellations_still_goes_by_the_latencies() -> None:
    backends = {"slow": answering(delay_s=1.0), "fast": answering(delay_s=0.1)}
    async with opened(backends, RoutingStrategy.FASTEST) as orchestrator:
        for _ in range(10):
            await orchestrator.submit(ask())
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(orchestrator.submit, ask())
            await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        before = backends["fast"].calls
        for _ in range(10):
            await orchestrator.submit(ask())

    # Had one of the fifty stayed in flight at "fast", it would cost more than "slow" by now.
    assert backends["fast"].calls - before >= 9


def write(folder: Path, toml: str) -> Path:
    (folder / "holdfast.toml").write_text(toml, encoding="utf-8")
    return folder


def test_settings_routing_and_hedge_are_read_from_a_file(tmp_path: Path) -> None:
    toml = """
        routing = {strategy = "weighted", weights = {extractive = 2}}
        guard.hedge = {percent = 90}
    """

    settings = load_settings(write(tmp_path, toml)).settings

    assert settings.routing == RoutingConfig(strategy=RoutingStrategy.WEIGHTED, weights={"extractive": 2.0})
    assert settings.guard.hedge is not None
    assert settings.guard.hedge.percent == 90


def test_settings_weights_are_read_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_ROUTING__STRATEGY", "sticky")
    monkeypatch.setenv("HOLDFAST_ROUTING__WEIGHTS__EXTRACTIVE", "0.5")

    assert load_settings(tmp_path).settings.routing.weights == {"extractive": 0.5}


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ('routing.strategy = "quickest"', r"routing\.strategy: .*'fastest'.*'quickest'"),
        ('routing = {strategy = "sticky", weights = {extractive = -1}}', r"routing\.weights: 'extractive' must weigh"),
        ("routing.weights = {extractive = 1}", r"routing\.weights: .*routing\.strategy is ordered"),
        ("routing.ewma_decay = 3", r"routing\.ewma_decay: .*'routing\.ewma_decay_s'"),
        ("guard.hedge.percentile = 95", r"guard\.hedge\.percentile: .*'guard\.hedge\.percent'"),
        ("guard.hedge.max_ratio = 2", r"guard\.hedge\.max_ratio: must be above 0 and at most 1"),
    ],
)
def test_settings_that_are_wrong_are_refused_with_their_path(toml: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_settings(write(tmp_path, toml))


async def test_open_orchestrator_weights_of_own_backends_are_those_of_their_names() -> None:
    settings = Settings(routing=RoutingConfig(strategy=RoutingStrategy.WEIGHTED, weights={"mine": 0.0}))
    async with open_orchestrator(settings, backends={"mine": answering(), "other": answering()}) as orchestrator:
        reply = await orchestrator.submit(ask())

    assert reply.backend == "other"


@pytest.mark.parametrize("weights", [{"extractive": 1.0}, {"mine": 0.0}])
async def test_open_orchestrator_weights_that_do_not_fit_own_backends_are_refused(weights: dict[str, Any]) -> None:
    settings = Settings(routing=RoutingConfig(strategy=RoutingStrategy.WEIGHTED, weights=weights))

    with pytest.raises(ConfigurationError, match=r"routing\.weights: .*backends"):
        async with open_orchestrator(settings, backends={"mine": answering()}):
            pytest.fail("it opened")


def test_answer_fingerprint_of_a_batch_changes_with_the_routing_and_not_with_hedging() -> None:
    settings = Settings()
    sticky = settings.model_copy(update={"routing": RoutingConfig(strategy=RoutingStrategy.STICKY)})
    hedged = settings.model_copy(update={"guard": GuardSettings(hedge=HedgeConfig())})

    assert answer_fingerprint(sticky) != answer_fingerprint(settings)
    assert answer_fingerprint(hedged) == answer_fingerprint(settings)
