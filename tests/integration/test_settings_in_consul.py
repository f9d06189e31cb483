"""A running service whose settings are kept in a real Consul, and in a file."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from holdfast.application.orchestrator import Orchestrator
from holdfast.application.parameter_settings import ConsulParameterSettings, ParameterSettings, TomlParameterSettings
from holdfast.application.settings import Settings
from holdfast.application.wiring import open_orchestrator
from holdfast.domain.blocking_query import QueryConfig
from holdfast.ports.errors import ConfigurationError, RateLimitedError, StoreRefusedError
from holdfast.ports.events import ParametersApplied, ParametersRefused, ParameterStoreLost, ParameterStoreRejoined
from tests.fakes.consul_agent import ConsulAgent, StartConsul
from tests.fakes.service import Answering, ask_anew, told

pytestmark = [pytest.mark.anyio, pytest.mark.real_time, pytest.mark.slow]

LIMIT = "holdfast/tenant_rate_limit/requests_per_minute"
STRANGER = "99999999-2222-4333-8444-555555555555"
QUICK = QueryConfig(first_backoff_s=0.2, max_backoff_s=0.5)


@asynccontextmanager
async def following(parameters: ParameterSettings) -> AsyncGenerator[Orchestrator]:
    async with open_orchestrator(Settings(parameters=parameters), backends={"a": Answering()}) as service:
        yield service


def in_consul(agent: ConsulAgent, **more: object) -> ConsulParameterSettings:
    return ConsulParameterSettings(kind="consul", address=agent.address, query=QUICK, **more)  # type: ignore[arg-type]


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - of a server, which sets no event
            await anyio.sleep(0.02)


async def test_rate_limit_changed_in_consul_is_met_by_the_next_requests(consul_agent: ConsulAgent) -> None:
    async with following(in_consul(consul_agent)) as service:
        for _ in range(3):
            await service.submit(ask_anew())

        consul_agent.put(LIMIT, "1")
        await until(lambda: bool(told(service, ParametersApplied)))

        await service.submit(ask_anew())
        with pytest.raises(RateLimitedError):
            await service.submit(ask_anew())

        [applied] = told(service, ParametersApplied)
    assert applied == ParametersApplied(store="consul", changed="tenant_rate_limit.requests_per_minute", at_restart="")


async def test_value_that_is_broken_in_consul_changes_nothing_and_makes_one_event(consul_agent: ConsulAgent) -> None:
    consul_agent.put(LIMIT, "1")
    async with following(in_consul(consul_agent)) as service:
        consul_agent.put(LIMIT, "many")
        await until(lambda: bool(told(service, ParametersRefused)))

        await service.submit(ask_anew())
        with pytest.raises(RateLimitedError):
            await service.submit(ask_anew())
        consul_agent.put("elsewhere", "1")
        consul_agent.put(LIMIT, "5")
        await until(lambda: bool(told(service, ParametersApplied)))

        assert told(service, ParametersRefused) == [
            ParametersRefused(store="consul", path="tenant_rate_limit.requests_per_minute")
        ]


async def test_agent_killed_leaves_the_settings_in_force_and_is_followed_again_by_itself(
    start_consul: StartConsul,
) -> None:
    agent = start_consul(persistent=True)
    agent.put("holdfast/max_in_flight", "3")
    async with following(in_consul(agent)) as service:
        agent.kill()
        await until(lambda: bool(told(service, ParameterStoreLost)))
        await service.submit(ask_anew())
        assert service.health().admission.limit.limit == 3

        await anyio.to_thread.run_sync(agent.start)
        await until(lambda: bool(told(service, ParameterStoreRejoined)))
        agent.put("holdfast/max_in_flight", "4")
        await until(lambda: service.health().admission.limit.limit == 4)

        assert len(told(service, ParameterStoreLost)) == 1


async def test_agent_restarted_empty_is_believed(start_consul: StartConsul) -> None:
    agent = start_consul()
    agent.put("holdfast/max_in_flight", "3")
    async with following(in_consul(agent)) as service:
        await anyio.to_thread.run_sync(agent.restart)
        await until(lambda: service.health().admission.limit.limit == Settings().max_in_flight)

        agent.put("holdfast/max_in_flight", "5")
        await until(lambda: service.health().admission.limit.limit == 5)

        assert len(told(service, ParametersApplied)) == 2


async def test_agent_that_refuses_the_token_keeps_the_service_closed_in_one_line(start_consul: StartConsul) -> None:
    agent = start_consul(access_control=True)
    parameters = in_consul(agent, token=STRANGER)

    with pytest.raises(StoreRefusedError, match=r"consul: answered 403: .*; see to its token"):
        async with following(parameters):
            pytest.fail("it was opened")


async def test_agent_that_is_away_does_not_keep_the_service_closed(start_consul: StartConsul) -> None:
    agent = start_consul()
    agent.kill()
    async with following(in_consul(agent)) as service:
        await service.submit(ask_anew())
        await anyio.to_thread.run_sync(agent.start)
        agent.put("holdfast/max_in_flight", "5")
        await until(lambda: service.health().admission.limit.limit == 5)

        assert len(told(service, ParameterStoreRejoined)) == 1


async def test_value_that_is_broken_in_consul_at_the_start_is_told_with_its_source(consul_agent: ConsulAgent) -> None:
    consul_agent.put("holdfast/timeout_s", "soon")

    with pytest.raises(ConfigurationError, match=r"^timeout_s: .* not 'soon' \(parameters\)$"):
        async with following(in_consul(consul_agent)):
            pytest.fail("it was opened")


async def test_file_that_is_replaced_is_met_by_the_next_requests(tmp_path: Path) -> None:
    path = tmp_path / "parameters.toml"
    path.write_text("max_in_flight = 3\n")
    async with following(TomlParameterSettings(kind="toml", path=path, poll_s=0.02, query=QUICK)) as service:
        assert service.health().admission.limit.limit == 3
        path.write_text("max_in_flight = \n")
        await until(lambda: bool(told(service, ParameterStoreLost)))
        assert service.health().admission.limit.limit == 3
        path.write_text("max_in_flight = 4\n")

        await until(lambda: service.health().admission.limit.limit == 4)
        [lost] = told(service, ParameterStoreLost)
    assert lost.is_refusal
