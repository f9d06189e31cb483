"""Settings that are kept in a store of parameters, met by requests that go through `Orchestrator.submit`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from dependency_injector import providers

from holdfast.adapters.memory import MemoryParameters
from holdfast.application.container import Container
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.parameter_settings import TomlParameterSettings
from holdfast.application.settings import GuardSettings, Settings
from holdfast.application.wiring import make_container, open_container
from holdfast.domain.blocking_query import QueryConfig
from holdfast.domain.rate_limit_config import RateLimitConfig
from holdfast.ports.errors import (
    AttemptTimeoutError,
    BackendUnavailableError,
    BackpressureError,
    BreakerOpenError,
    ConfigurationError,
    DeadlineExceededError,
    HoldfastError,
    RateLimitedError,
    RequestError,
    StoreRefusedError,
    StoreUnavailableError,
)
from holdfast.ports.events import (
    ParametersApplied,
    ParametersRefused,
    ParameterStoreLost,
    ParameterStoreRejoined,
)
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.statistics import BreakerState, ParameterStatistics
from holdfast.testing import sweep_cancellation
from tests.fakes.events import Listener
from tests.fakes.model import FakeLoader
from tests.fakes.service import Answering, Shelf, ask, ask_anew, assert_nothing_is_held, opened, told, unavailable

pytestmark = pytest.mark.anyio

QUICK = QueryConfig(wait_s=10.0, max_per_s=1000.0, burst=1000, first_backoff_s=0.1, max_backoff_s=0.1)


class Failing(MemoryParameters):
    """Raises `error` for as long as there is one."""

    def __init__(self, values: Mapping[str, object] | None = None, error: HoldfastError | None = None) -> None:
        super().__init__(values)
        self.error = error

    async def parameters(self, *, index: int, wait_s: float) -> tuple[int | None, Mapping[str, object]]:
        if self.error is not None:
            await anyio.lowlevel.checkpoint()
            raise self.error
        return await super().parameters(index=index, wait_s=min(wait_s, 1.0))


@asynccontextmanager
async def following(
    store: MemoryParameters,
    backend: InferenceBackend | None = None,
    *,
    required: bool = False,
    **settings: Any,  # noqa: ANN401 - any of them
) -> AsyncGenerator[Orchestrator]:
    where = TomlParameterSettings(kind="toml", path=Path("unused"), query=QUICK, required=required)
    chosen = Settings(parameters=where, **settings)
    async with opened({"a": backend or Answering()}, chosen, parameter_store=store) as service:
        await anyio.sleep(1)
        yield service


async def changed(store: MemoryParameters, values: Mapping[str, object]) -> None:
    store.replace(values)
    await anyio.sleep(1)


def counted(service: Orchestrator) -> ParameterStatistics:
    parameters = service.health().parameters
    assert parameters is not None
    return parameters


async def test_parameters_are_met_by_the_first_request() -> None:
    async with following(MemoryParameters({"tenant_rate_limit": {"requests_per_minute": "1"}})) as service:
        await service.submit(ask_anew())
        with pytest.raises(RateLimitedError):
            await service.submit(ask_anew())

        assert told(service, ParametersApplied) == []


async def test_rate_limit_that_changes_is_met_by_the_next_requests() -> None:
    store = MemoryParameters({})
    async with following(store) as service:
        for _ in range(5):
            await service.submit(ask_anew())
        await changed(store, {"tenant_rate_limit": {"requests_per_minute": "1"}})
        await service.submit(ask_anew())
        with pytest.raises(RateLimitedError):
            await service.submit(ask_anew())
        await changed(store, {})
        await service.submit(ask_anew())
        health = service.health()

        applied = told(service, ParametersApplied)

    assert [event.changed for event in applied] == ["tenant_rate_limit.requests_per_minute"] * 2
    assert [event.at_restart for event in applied] == ["", ""]
    assert health.parameters is not None
    assert (health.parameters.applied, health.parameters.refused) == (2, 0)
    assert_nothing_is_held(health)


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"timeout_s": "-1"}, "timeout_s"),
        ({"timeout_s": "soon"}, "timeout_s"),
        ({"guard": {"retry": {"max_attempts": "0"}}}, "guard.retry.max_attempts"),
        ({"guard": {"braker": {}}}, "guard.braker"),
        ({"no_such_setting": "1"}, "no_such_setting"),
        ({"max_memory_bytes": "1048576"}, "max_memory_bytes"),
        ({"parameters": {"kind": "toml"}}, "parameters"),
        ({"timeout_s": True}, "timeout_s"),
        ({"guard": "none"}, "guard"),
        ({"admission": {"max_bytes": 10**400}}, "admission.max_bytes"),
    ],
)
async def test_value_that_is_broken_changes_nothing_and_makes_one_event(
    values: Mapping[str, object], path: str
) -> None:
    store = MemoryParameters({"tenant_rate_limit": {"requests_per_minute": "1"}})
    async with following(store) as service:
        await changed(store, {"tenant_rate_limit": {"requests_per_minute": "100"}, **values})
        await service.submit(ask_anew())
        with pytest.raises(RateLimitedError):
            await service.submit(ask_anew())
        await anyio.sleep(100)

        assert told(service, ParametersRefused) == [ParametersRefused(store="memory", path=path)]
        assert told(service, ParametersApplied, ParameterStoreLost) == []
        assert counted(service).refused == 1


async def test_value_that_is_mended_is_applied() -> None:
    store = MemoryParameters({})
    async with following(store) as service:
        await changed(store, {"max_in_flight": "none"})
        await changed(store, {"max_in_flight": "3"})

        assert service.health().admission.limit.limit == 3
        assert [event.changed for event in told(service, ParametersApplied)] == ["max_in_flight"]


async def test_max_in_flight_raised_lets_those_who_wait_in() -> None:
    store, backend = MemoryParameters({"max_in_flight": "1"}), Answering(delay_s=10.0)
    async with following(store, backend) as service, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(service.submit, ask_anew())
        await anyio.sleep(0.1)
        assert backend.running == 1
        await changed(store, {"max_in_flight": "3"})
        assert backend.running == 3


async def test_timeout_changed_is_that_of_the_next_request_and_not_of_those_inside() -> None:
    store, backend = MemoryParameters({}), Answering(delay_s=20.0)
    async with following(store, backend) as service, anyio.create_task_group() as tasks:
        tasks.start_soon(service.submit, ask_anew())
        await anyio.sleep(0.1)
        await changed(store, {"timeout_s": "3"})
        with pytest.raises(DeadlineExceededError) as passed:
            await service.submit(ask_anew())

    assert passed.value.timeout_s == 3.0
    assert service.health().requests.answered == 1


async def test_largest_request_changed_is_that_of_the_next() -> None:
    store = MemoryParameters({})
    async with following(store) as service:
        await service.submit(ask("x" * 200))
        await changed(store, {"max_request_bytes": "100"})
        with pytest.raises(RequestError):
            await service.submit(ask("x" * 201))


async def test_passages_changed_are_so_many_for_the_next_request() -> None:
    store, shelf = MemoryParameters({}), Shelf()
    backend = Answering()
    where = TomlParameterSettings(kind="toml", path=Path("unused"), query=QUICK)
    async with opened({"a": backend}, Settings(parameters=where), parameter_store=store, retriever=shelf) as service:
        await service.submit(ask_anew())
        await changed(store, {"retrieval": {"limit": "1"}})
        await service.submit(ask_anew())

        assert [event.changed for event in told(service, ParametersApplied)] == ["retrieval.limit"]


async def test_queue_changed_refuses_what_is_too_much_for_it_now() -> None:
    store, backend = MemoryParameters({"max_in_flight": "1"}), Answering(delay_s=10.0)
    async with following(store, backend) as service, anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(service.submit, ask_anew())
        await anyio.sleep(0.1)
        await changed(store, {"max_in_flight": "1", "admission": {"max_waiting": "1"}})
        with pytest.raises(BackpressureError):
            await service.submit(ask_anew())


async def test_retries_changed_are_so_many_from_the_next_failure_on() -> None:
    store, backend = MemoryParameters({"guard": {"retry": {"max_attempts": "1"}}}), Answering(failing=unavailable)
    async with following(store, backend) as service:
        with pytest.raises(BackendUnavailableError):
            await service.submit(ask_anew())
        await changed(store, {"guard": {"retry": {"max_attempts": "3"}}})
        with pytest.raises(BackendUnavailableError):
            await service.submit(ask_anew())

    assert backend.calls == 4


async def test_attempt_timeout_changed_ends_the_next_attempt() -> None:
    store, backend = MemoryParameters({"guard": {"retry": {"max_attempts": "1"}}}), Answering(delay_s=5.0)
    async with following(store, backend) as service:
        await service.submit(ask_anew())
        await changed(store, {"guard": {"retry": {"max_attempts": "1"}, "attempt_timeout_s": "2"}})
        with pytest.raises(AttemptTimeoutError) as ended:
            await service.submit(ask_anew())

    assert ended.value.timeout_s == 2.0


async def test_breaker_changed_opens_by_the_new_numbers_and_keeps_its_counts() -> None:
    once = {"retry": {"max_attempts": "1"}}
    store, backend = MemoryParameters({"guard": once}), Answering(failing=unavailable)
    async with following(store, backend) as service:
        with pytest.raises(BackendUnavailableError):
            await service.submit(ask_anew())
        await changed(store, {"guard": {**once, "breaker": {"failures_in_row": "1"}}})
        with pytest.raises(BackendUnavailableError):
            await service.submit(ask_anew())
        with pytest.raises(BreakerOpenError):
            await service.submit(ask_anew())
        breaker = service.health().backends[0].breaker

    assert (breaker.state, breaker.failed, breaker.opened) == (BreakerState.OPEN, 2, 1)


async def test_breaker_is_left_alone_by_a_change_elsewhere() -> None:
    once = {"retry": {"max_attempts": "1"}, "breaker": {"failures_in_row": "2"}}
    store, backend = MemoryParameters({"guard": once}), Answering(failing=unavailable)
    async with following(store, backend) as service:
        with pytest.raises(BackendUnavailableError):
            await service.submit(ask_anew())
        await changed(store, {"guard": {**once, "attempt_timeout_s": "7"}})
        with pytest.raises(BackendUnavailableError):
            await service.submit(ask_anew())

        assert service.health().backends[0].breaker.state is BreakerState.OPEN


async def test_rate_limit_of_a_backend_comes_changes_and_goes() -> None:
    store = MemoryParameters({})
    async with following(store) as service:
        await changed(store, {"guard": {"rate_limit": {"requests_per_minute": "1"}}})
        await service.submit(ask_anew())
        with pytest.raises(RateLimitedError):
            await service.submit(ask_anew())
        await changed(store, {"guard": {"rate_limit": {"requests_per_minute": "1", "burst_requests": "2"}}})
        await service.submit(ask_anew())
        with pytest.raises(RateLimitedError):
            await service.submit(ask_anew())
        limited = service.health().backends[0].rate_limit
        await changed(store, {"guard": {"rate_limit": None}})
        for _ in range(3):
            await service.submit(ask_anew())

        assert limited is not None
        assert (limited.settled, limited.refused) == (2, 2)
        assert service.health().backends[0].rate_limit is None


async def test_guard_that_was_made_in_code_wins_over_parameters() -> None:
    store = MemoryParameters({})
    own = GuardSettings(rate_limit=RateLimitConfig(requests_per_minute=100))
    async with following(store, guard=own) as service:
        await changed(store, {"guard": {"rate_limit": {"requests_per_minute": "1"}}})
        for _ in range(3):
            await service.submit(ask_anew())

        assert told(service, ParametersApplied) == []
        assert counted(service).unused == 2  # nothing at all, and then nothing that counts


async def test_setting_that_needs_a_restart_is_told_and_changes_nothing() -> None:
    store = MemoryParameters({})
    async with following(store) as service:
        await changed(store, {"guard": {"pool": {"max_size": "1"}}, "timeout_s": "5", "events": {"max_items": "7"}})

        [applied] = told(service, ParametersApplied)
    assert applied.changed == "timeout_s"
    assert applied.at_restart == "events.max_items guard.pool.max_size"


async def test_events_are_logged_from_when_that_is_said_until_it_is_taken_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "holdfast.events")
    store = MemoryParameters({})
    async with following(store) as service:
        await service.submit(ask_anew())
        assert not caplog.records
        await changed(store, {"log_events": "true"})
        await service.submit(ask_anew())
        lines = len(caplog.records)
        await changed(store, {})
        told_of_the_end = len(caplog.records)
        await service.submit(ask_anew())

    assert lines >= 2
    assert len(caplog.records) == told_of_the_end


async def test_events_are_logged_from_the_start_beside_a_sink_of_ones_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "holdfast.events")
    own = Listener()
    container = make_container(Settings(), backends={"a": Answering()}, event_sinks=[own])
    container.parameter_store.override(providers.Object(MemoryParameters({"log_events": "true"})))

    async with open_container(container) as service:
        await service.submit(ask_anew())

    names = [record.getMessage().split()[0] for record in caplog.records]
    assert names.count("request_answered") == 1
    assert [event.name for event in own.heard].count("request_answered") == 1


async def test_model_of_ones_own_is_held_to_the_time_that_parameters_leave_it() -> None:
    container = make_container(Settings(), models={"m": FakeLoader("m")})
    container.parameter_store.override(providers.Object(MemoryParameters({"guard": {"attempt_timeout_s": "1"}})))

    with pytest.raises(ConfigurationError, match=r"^guard\.attempt_timeout_s: 1 s end an attempt before"):
        async with open_container(container):
            pytest.fail("it was opened")


async def test_store_that_is_away_leaves_the_last_settings_in_force_with_one_event() -> None:
    store = Failing({"max_in_flight": "3"})
    async with following(store) as service:
        store.error = StoreUnavailableError("is down", store="memory")
        await anyio.sleep(60)
        assert service.health().admission.limit.limit == 3
        assert not counted(service).query.joined
        store.error = None
        await changed(store, {"max_in_flight": "4"})

        assert service.health().admission.limit.limit == 4
        assert told(service, ParameterStoreLost) == [
            ParameterStoreLost(store="memory", error="StoreUnavailableError", is_refusal=False)
        ]
        [rejoined] = told(service, ParameterStoreRejoined)
        assert rejoined.away_s > 50


async def test_store_that_is_away_at_the_start_is_followed_once_it_is_there() -> None:
    store = Failing({"max_in_flight": "3"}, StoreUnavailableError("is down", store="memory"))
    async with following(store) as service:
        assert service.health().admission.limit.limit == Settings().max_in_flight
        store.error = None
        await anyio.sleep(5)

        assert service.health().admission.limit.limit == 3
        assert [type(event) for event in told(service, ParameterStoreLost, ParameterStoreRejoined)] == [
            ParameterStoreLost,
            ParameterStoreRejoined,
        ]


async def test_store_that_is_away_at_the_start_and_required_keeps_the_service_closed() -> None:
    store = Failing({}, StoreUnavailableError("is down", store="memory"))

    with pytest.raises(StoreUnavailableError, match="memory: is down"):
        async with following(store, required=True):
            pytest.fail("it was opened")


async def test_store_that_hangs_at_the_start_holds_it_up_no_longer_than_a_question() -> None:
    class Hanging(MemoryParameters):
        async def parameters(self, *, index: int, wait_s: float) -> tuple[int | None, Mapping[str, object]]:
            await anyio.sleep_forever()
            raise AssertionError

    before_s = anyio.current_time()
    async with following(Hanging()):
        assert anyio.current_time() - before_s == pytest.approx(QUICK.slack_s + 1)


@pytest.mark.parametrize("required", [True, False])
async def test_store_that_refuses_at_the_start_keeps_the_service_closed(required: bool) -> None:
    store = Failing({}, StoreRefusedError("wrong token", store="memory"))

    with pytest.raises(StoreRefusedError, match="memory: wrong token"):
        async with following(store, required=required):
            pytest.fail("it was opened")


async def test_value_that_is_broken_at_the_start_keeps_the_service_closed_and_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^timeout_s: .* \(parameters\)$"):
        async with following(MemoryParameters({"timeout_s": "-1"})):
            pytest.fail("it was opened")


async def test_following_ends_with_the_service() -> None:
    store = MemoryParameters({})
    async with following(store) as service:
        pass

    await changed(store, {"timeout_s": "5"})
    assert told(service, ParametersApplied) == []


async def test_opening_cancelled_at_any_checkpoint_leaves_the_store_usable_and_the_settings_as_they_were() -> None:
    store = MemoryParameters({"max_in_flight": "3"})

    async def open_and_ask() -> None:
        async with following(store) as service:
            await service.submit(ask_anew())

    async def check() -> None:
        assert (await store.parameters(index=0, wait_s=0.0))[1] == {"max_in_flight": "3"}

    assert await sweep_cancellation(open_and_ask, check) > 3


async def test_container_opened_with_parameters_is_as_before_when_it_is_closed() -> None:
    settings = Settings(parameters=TomlParameterSettings(kind="toml", path=Path("unused"), query=QUICK))
    container = Container(settings=providers.Object(settings))
    container.parameter_store.override(providers.Object(MemoryParameters({"max_in_flight": "3"})))

    async with open_container(container) as service:
        assert service.health().admission.limit.limit == 3
        assert container.settings().max_in_flight == 3

    assert container.settings() is settings
    assert container.loaded().settings is settings


async def test_service_without_a_store_counts_nothing_of_it() -> None:
    async with opened({"a": Answering()}) as service:
        assert service.health().parameters is None
