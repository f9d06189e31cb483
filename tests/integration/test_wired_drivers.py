"""Drivers that users bring, met by a request that goes through `Orchestrator.submit`."""

from __future__ import annotations

import pybreaker
import pytest
import tenacity
from dependency_injector import providers

from holdfast.adapters.inference import Answer, Fault, ScriptedBackend, SharedBackendProvider, in_turn
from holdfast.adapters.pybreaker import PybreakerTripPolicy
from holdfast.adapters.tenacity import TenacityStrategy
from holdfast.application.container import Backend, Container
from holdfast.application.settings import GuardSettings, Settings
from holdfast.application.wiring import open_container
from holdfast.domain.retry_budget import RetryBudgetConfig
from holdfast.ports.errors import BackendUnavailableError, BreakerOpenError
from holdfast.ports.inference import Message, Role
from holdfast.ports.retry import RetryStrategy
from holdfast.ports.service import Request
from holdfast.ports.trip import TripPolicy
from holdfast.testing import VirtualClock

pytestmark = pytest.mark.anyio

DOWN = Fault(error=BackendUnavailableError("is down", backend="a"))


def ask(number: int = 0) -> Request:
    return Request(messages=(Message(role=Role.USER, content=f"question {number}"),))


def contained(backend: ScriptedBackend, guard: GuardSettings | None = None) -> Container:
    settings = Settings(guard=guard or GuardSettings())
    container = Container(settings=providers.Object(settings))
    container.clock.override(providers.Object(VirtualClock()))
    container.backends.override(
        providers.Object({"a": Backend(provider=SharedBackendProvider(backend), guard=settings.guard)})
    )
    return container


async def test_submit_with_a_tenacity_composition_is_retried_as_it_says() -> None:
    def strategy(name: str, guard: GuardSettings) -> RetryStrategy:
        return TenacityStrategy(stop=tenacity.stop_after_attempt(5), wait=tenacity.wait_fixed(7.0))

    backend = ScriptedBackend("a", in_turn(DOWN, DOWN, DOWN, DOWN, Answer(text="at last")), clock=VirtualClock())
    container = contained(backend, GuardSettings(retry_budget=RetryBudgetConfig(min_retries=4)))
    container.retry_strategy.override(providers.Callable(strategy))

    async with open_container(container) as service:
        reply = await service.submit(ask())

    assert (reply.text, reply.attempts) == ("at last", 5)
    assert reply.backend_s == pytest.approx(4 * 7.0)


async def test_submit_with_a_pybreaker_trips_when_that_says_so_and_tells_its_listeners() -> None:
    class Listener(pybreaker.CircuitBreakerListener):
        def __init__(self) -> None:
            self.states: list[str] = []

        def state_change(self, cb: object, old_state: object, new_state: pybreaker.CircuitBreakerState) -> None:
            self.states.append(new_state.name)

    listener = Listener()

    def policy(name: str, guard: GuardSettings) -> TripPolicy:
        return PybreakerTripPolicy(pybreaker.CircuitBreaker(fail_max=2, listeners=[listener]))

    backend = ScriptedBackend("a", in_turn(DOWN), clock=VirtualClock())
    container = contained(backend)
    container.trip_policy.override(providers.Callable(policy))
    container.retry_strategy.override(
        providers.Callable(
            lambda name, guard: TenacityStrategy(stop=tenacity.stop_after_attempt(1), wait=tenacity.wait_none())
        )
    )

    async with open_container(container) as service:
        for number in range(2):
            with pytest.raises(BackendUnavailableError):
                await service.submit(ask(number))
        with pytest.raises(BreakerOpenError):
            await service.submit(ask(2))

    assert backend.calls == 2
    assert listener.states == ["open"]
