from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise

import anyio
import pytest
from anyio.lowlevel import checkpoint

from holdfast.domain.registration import Registration, RegistrationConfig
from holdfast.ports.errors import ConfigurationError, StoreRefusedError
from holdfast.ports.events import (
    DeregistrationFailed,
    Event,
    RegistrationForgotten,
    RegistryLost,
    RegistryRejoined,
)
from holdfast.ports.statistics import RegistrationStatistics
from holdfast.testing import VirtualClock, sweep_cancellation
from tests.fakes.events import Listener
from tests.fakes.registry import FlakyRegistry, instance

pytestmark = pytest.mark.anyio

ONE = instance(1)
USUAL = RegistrationConfig()


def registration(
    registry: FlakyRegistry,
    config: RegistrationConfig = USUAL,
    events: Listener | None = None,
    reachable: Callable[[], Awaitable[None]] = checkpoint,
) -> Registration:
    return Registration(
        registry, ONE, config, reachable=reachable, clock=VirtualClock(), random=lambda: 0.0, events=events
    )


def assert_adds_up(counts: RegistrationStatistics) -> None:
    done = counts.registered + counts.refreshed + counts.forgotten + counts.deregistered
    assert counts.called == counts.calling + done + counts.failed + counts.cancelled


async def test_open_registers_at_once_and_leaving_the_block_deregisters() -> None:
    registry = FlakyRegistry()

    async with registration(registry) as opened:
        await anyio.sleep(0.1)
        during = await registry.listed()
        counts = opened.statistics()

    assert during == ["asks-1"]
    assert (counts.listed, counts.registered) == (True, 1)
    assert await registry.listed() == []
    assert not opened.statistics().listed


async def test_open_registers_once_it_can_be_reached_and_not_before() -> None:
    registry, listening = FlakyRegistry(), anyio.Event()

    async with registration(registry, reachable=listening.wait):
        await anyio.sleep(100.0)
        before = list(registry.calls)
        listening.set()
        await anyio.sleep(0.1)
        after = await registry.listed()

    assert before == []
    assert after == ["asks-1"]


async def test_leave_before_it_can_be_reached_asks_the_registry_nothing() -> None:
    registry = FlakyRegistry()
    listening, listener = anyio.Event(), Listener()

    async with registration(registry, reachable=listening.wait, events=listener) as opened:
        await opened.leave()
        listening.set()
        await anyio.sleep(100.0)

    assert (registry.calls, listener.heard) == ([], [])


async def test_block_that_is_cancelled_before_it_can_be_reached_asks_the_registry_nothing() -> None:
    registry = FlakyRegistry()

    with anyio.move_on_after(1.0) as scope:
        async with registration(registry, reachable=anyio.Event().wait):
            await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert registry.calls == []


async def test_open_does_not_wait_for_a_registry_that_hangs() -> None:
    registry = FlakyRegistry()
    registry.delay_s = 1000.0
    began_s = anyio.current_time()

    async with registration(registry):
        assert anyio.current_time() == began_s


async def test_heartbeats_come_at_least_three_times_within_the_time_to_live() -> None:
    registry = FlakyRegistry()

    async with registration(registry, RegistrationConfig(ttl_s=15.0)):
        for _ in range(100):
            await anyio.sleep(1.0)
            assert await registry.listed() == ["asks-1"]

    gaps_s = [after - before for before, after in pairwise(registry.named("heartbeat"))]
    assert gaps_s == pytest.approx([5.0] * len(gaps_s))


async def test_heartbeats_that_take_long_come_as_often() -> None:
    registry = FlakyRegistry()
    registry.delay_s = 3.0

    async with registration(registry, RegistrationConfig(ttl_s=15.0)):
        await anyio.sleep(60.0)

    gaps_s = [after - before for before, after in pairwise(registry.named("heartbeat"))]
    assert gaps_s == pytest.approx([5.0] * len(gaps_s))
    assert len(gaps_s) >= 9


async def test_registry_that_forgot_is_told_again_within_a_third_of_the_time_to_live() -> None:
    registry, listener = FlakyRegistry(), Listener()

    async with registration(registry, RegistrationConfig(ttl_s=15.0), listener) as opened:
        await anyio.sleep(1.0)
        registry.clear()
        await anyio.sleep(5.0)
        listed = await registry.listed()
        counts = opened.statistics()

    assert listed == ["asks-1"]
    assert (counts.registered, counts.forgotten) == (2, 1)
    assert listener.heard == [RegistrationForgotten(service="asks", instance="asks-1")]


async def test_registry_that_forgets_at_once_each_time_is_not_stormed() -> None:
    class Forgetful(FlakyRegistry):
        async def heartbeat(self, instance: object) -> bool:
            await self._meet("heartbeat")
            return False

    registry = Forgetful()

    async with registration(registry, RegistrationConfig(ttl_s=15.0)):
        await anyio.sleep(60.0)

    assert len(registry.calls) < 30


async def test_registry_away_is_told_of_once_and_so_is_its_return() -> None:
    registry, listener = FlakyRegistry(), Listener()

    async with registration(registry, RegistrationConfig(ttl_s=15.0), listener) as opened:
        await anyio.sleep(1.0)
        registry.go_away()
        await anyio.sleep(59.0)
        during = opened.statistics()
        registry.come_back()
        await anyio.sleep(5.0)
        after = opened.statistics()

    assert during.failed > 3
    assert (after.listed, after.registered) == (True, 1 + after.forgotten)
    lost, *others = listener.heard
    assert lost == RegistryLost(service="asks", role="registration", error="StoreUnavailableError", is_refusal=False)
    [rejoined] = [event for event in others if not isinstance(event, RegistrationForgotten)]
    assert isinstance(rejoined, RegistryRejoined)
    assert rejoined.away_s == pytest.approx(55.0, abs=5.0)


async def test_registry_away_from_the_start_is_registered_with_once_it_is_there() -> None:
    registry, listener = FlakyRegistry(), Listener()
    registry.go_away()

    async with registration(registry, events=listener):
        await anyio.sleep(30.0)
        registry.come_back()
        await anyio.sleep(5.0)
        listed = await registry.listed()

    assert listed == ["asks-1"]
    assert [type(event) for event in listener.heard] == [RegistryLost, RegistryRejoined]


async def test_failures_are_asked_again_with_a_pause_that_grows_to_a_third_of_the_time_to_live() -> None:
    registry = FlakyRegistry()
    registry.go_away()

    async with registration(registry, RegistrationConfig(ttl_s=30.0)):
        await anyio.sleep(60.0)

    gaps_s = [after - before for before, after in pairwise(registry.named("register"))]
    assert gaps_s[:6] == pytest.approx([0.5, 1.0, 2.0, 4.0, 5.0, 5.0])


async def test_refusal_says_that_somebody_must_act_and_is_not_hurried() -> None:
    registry, listener = FlakyRegistry(), Listener()
    registry.error = StoreRefusedError("permission denied", store="test")

    async with registration(registry, RegistrationConfig(ttl_s=30.0), listener):
        await anyio.sleep(60.0)
        heard: list[Event] = list(listener.heard)

    assert heard == [RegistryLost(service="asks", role="registration", error="StoreRefusedError", is_refusal=True)]
    assert len(registry.named("register")) <= 13


async def test_call_that_hangs_is_given_up_and_made_again() -> None:
    registry = FlakyRegistry()
    registry.delay_s = 1000.0

    async with registration(registry, RegistrationConfig(call_timeout_s=2.0, leave_timeout_s=1.0)) as opened:
        await anyio.sleep(10.0)
        counts = opened.statistics()

    assert counts.failed >= 2
    assert_adds_up(opened.statistics())


async def test_leave_deregisters_and_no_heartbeat_brings_it_back() -> None:
    registry = FlakyRegistry()

    async with registration(registry) as opened:
        await anyio.sleep(1.0)
        await opened.leave()
        listed = await registry.listed()
        await anyio.sleep(60.0)

        assert listed == await registry.listed() == []
    assert len(registry.named("deregister")) == 1


async def test_leave_while_registering_waits_for_that_and_then_takes_it_back() -> None:
    registry = FlakyRegistry()
    registry.delay_s = 1.0

    async with registration(registry) as opened:
        await anyio.sleep(0.5)
        await opened.leave()

    assert [name for _, name in registry.calls] == ["register", "deregister"]
    assert await registry.listed() == []


async def test_leave_before_anything_was_registered_calls_nothing() -> None:
    registry = FlakyRegistry()
    opened = registration(registry)

    async with opened:
        await opened.leave()

    assert registry.calls == []


async def test_leave_after_a_registration_whose_answer_was_lost_takes_it_back() -> None:
    registry = FlakyRegistry()
    registry.go_away()

    async with registration(registry):
        await anyio.sleep(0.1)
        registry.come_back()

    assert [name for _, name in registry.calls] == ["register", "deregister"]


async def test_leave_that_hangs_is_bounded_and_told_once() -> None:
    registry, listener = FlakyRegistry(), Listener()

    async with registration(registry, RegistrationConfig(leave_timeout_s=3.0), listener) as opened:
        await anyio.sleep(1.0)
        registry.delay_s = 1000.0
        began_s = anyio.current_time()
        await opened.leave()
        took_s = anyio.current_time() - began_s
        await opened.leave()
    closed_s = anyio.current_time() - began_s

    assert took_s == closed_s == pytest.approx(3.0)
    assert listener.heard == [DeregistrationFailed(service="asks", instance="asks-1", error="TimeoutError")]
    assert_adds_up(opened.statistics())


async def test_leave_that_fails_is_told_once_and_raises_nothing() -> None:
    registry, listener = FlakyRegistry(), Listener()

    async with registration(registry, events=listener) as opened:
        await anyio.sleep(1.0)
        registry.go_away()
        await opened.leave()

    assert listener.heard == [DeregistrationFailed(service="asks", instance="asks-1", error="StoreUnavailableError")]


async def test_leave_by_two_at_once_deregisters_once_and_both_wait_for_it() -> None:
    registry = FlakyRegistry()
    registry.delay_s = 0.5

    async with registration(registry) as opened:
        await anyio.sleep(1.0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(opened.leave)
            tasks.start_soon(opened.leave)

        assert await registry.listed() == []
    assert len(registry.named("deregister")) == 1


async def test_leave_that_is_cancelled_leaves_all_the_same() -> None:
    registry = FlakyRegistry()

    async with registration(registry) as opened:
        await anyio.sleep(1.0)
        registry.delay_s = 1.0
        with anyio.move_on_after(0.1):
            await opened.leave()
        await anyio.sleep(2.0)

        assert await registry.listed() == []


async def test_block_that_is_cancelled_deregisters_on_its_way_out() -> None:
    registry = FlakyRegistry()

    with anyio.move_on_after(1.0):
        async with registration(registry):
            await anyio.sleep_forever()

    assert await registry.listed() == []


async def test_error_of_the_block_passes_through_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with registration(FlakyRegistry()):
            raise ZeroDivisionError


async def test_clock_that_is_set_back_by_an_hour_stops_no_heartbeat() -> None:
    class Shifted(VirtualClock):
        shift_s = 0.0

        def monotonic_s(self) -> float:
            return super().monotonic_s() + self.shift_s

    registry, clock = FlakyRegistry(), Shifted()

    async with Registration(registry, ONE, clock=clock, random=lambda: 0.0):
        await anyio.sleep(7.0)
        clock.shift_s = -3600.0
        await anyio.sleep(60.0)
        listed = await registry.listed()

    assert listed == ["asks-1"]
    assert len(registry.named("heartbeat")) >= 12


async def test_registration_cancelled_at_every_checkpoint_is_listed_no_more_and_adds_up() -> None:
    made: list[tuple[FlakyRegistry, Registration]] = []

    async def scenario() -> None:
        registry = FlakyRegistry()
        made.append((registry, registration(registry, RegistrationConfig(ttl_s=3.0))))
        async with made[-1][1] as opened:
            await anyio.sleep(2.0)
            registry.clear()
            await anyio.sleep(2.0)
            await opened.leave()

    async def check() -> None:
        registry, opened = made[-1]
        assert await registry.listed() == []
        assert opened.statistics().calling == 0
        assert_adds_up(opened.statistics())

    assert await sweep_cancellation(scenario, check) >= 3


@pytest.mark.parametrize("field", ["ttl_s", "call_timeout_s", "leave_timeout_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_config_value_out_of_its_range_is_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"registration.{field}"):
        RegistrationConfig(**{field: value})


def test_config_forgotten_before_it_is_dead_is_refused_with_both_named() -> None:
    with pytest.raises(ConfigurationError, match=r"registration\.forget_after_s: .* registration\.ttl_s"):
        RegistrationConfig(ttl_s=30.0, forget_after_s=20.0)
