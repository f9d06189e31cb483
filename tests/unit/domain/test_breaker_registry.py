from __future__ import annotations

import pytest

from holdfast.domain.breaker_config import BreakerConfig, BreakerMode
from holdfast.domain.breaker_registry import BreakerRegistry
from holdfast.domain.circuit_breaker import CircuitBreaker
from holdfast.ports.errors import ConfigurationError, RefusedError
from holdfast.ports.outcome import Outcome, Verdict
from holdfast.testing import ManualClock

FAILED = Verdict(outcome=Outcome.FAILURE)


def make_registry(max_breakers: int = 2) -> BreakerRegistry:
    clock = ManualClock()
    config = BreakerConfig(failures_in_row=1)
    return BreakerRegistry(
        lambda name: CircuitBreaker(name, config, clock=clock, random=lambda: 1.0), max_breakers=max_breakers
    )


def names(registry: BreakerRegistry) -> list[str]:
    return [statistics.name for statistics in registry.statistics()]


def test_get_same_name_returns_the_same_breaker() -> None:
    registry = make_registry()

    assert registry.get("a") is registry.get("a")
    assert registry.get("a") is not registry.get("b")


def test_get_at_the_bound_drops_the_least_recently_used_idle_breaker() -> None:
    registry = make_registry(max_breakers=2)
    registry.get("a")
    registry.get("b")
    registry.get("a")

    registry.get("c")

    assert names(registry) == ["a", "c"]


def test_get_at_the_bound_keeps_what_is_open_or_in_use() -> None:
    registry = make_registry(max_breakers=3)
    opened = registry.get("open")
    opened.settle(opened.acquire(), FAILED)
    registry.get("in use").acquire()
    registry.get("idle")

    registry.get("new")

    assert names(registry) == ["open", "in use", "new"]


@pytest.mark.parametrize("mode", [BreakerMode.FORCED_OPEN, BreakerMode.DISABLED, BreakerMode.METRICS_ONLY])
def test_get_at_the_bound_keeps_what_an_operator_has_switched(mode: BreakerMode) -> None:
    registry = make_registry(max_breakers=1)
    registry.get("switched").switch_to(mode)

    with pytest.raises(RefusedError):
        registry.get("new")

    assert names(registry) == ["switched"]


def test_get_nothing_can_be_dropped_refuses_and_names_the_remedy() -> None:
    registry = make_registry(max_breakers=1)
    permit = registry.get("a").acquire()

    with pytest.raises(RefusedError, match=r"'b'.*raise breaker.max_breakers"):
        registry.get("b")

    registry.get("a").settle(permit, Verdict(outcome=Outcome.SUCCESS))
    assert registry.get("b").name == "b"


def test_get_known_name_at_the_bound_is_always_served() -> None:
    registry = make_registry(max_breakers=1)
    registry.get("a").acquire()

    assert registry.get("a").statistics().in_flight == 1


def test_get_factory_raises_leaves_the_registry_as_it_was() -> None:
    def broken(name: str) -> CircuitBreaker:
        raise OSError(name)

    registry = BreakerRegistry(broken)

    with pytest.raises(OSError, match="a"):
        registry.get("a")

    assert registry.statistics() == ()


@pytest.mark.parametrize("max_breakers", [0, -1])
def test_registry_without_room_for_one_is_refused(max_breakers: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_registry(max_breakers=max_breakers)

    assert caught.value.path == "breaker.max_breakers"


def test_forget_drops_a_breaker_in_whatever_state_so_that_peers_that_are_gone_take_no_room() -> None:
    registry = make_registry(max_breakers=2)
    for number in range(100):
        breaker = registry.get(f"peer {number}")
        breaker.settle(breaker.acquire(), FAILED)
        registry.forget(f"peer {number}")

    assert names(registry) == []


def test_forget_of_a_name_that_is_not_there_does_nothing() -> None:
    registry = make_registry()
    registry.get("a")

    registry.forget("b")

    assert names(registry) == ["a"]


def test_get_after_forget_makes_a_new_breaker() -> None:
    registry = make_registry()
    before = registry.get("a")
    registry.forget("a")

    assert registry.get("a") is not before
