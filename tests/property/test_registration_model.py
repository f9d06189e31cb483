"""A registration beside any history of a registry that is away, forgets, hangs and comes back."""

from __future__ import annotations

import random

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.domain.registration import Registration, RegistrationConfig
from holdfast.ports.errors import StoreRefusedError
from holdfast.ports.events import DeregistrationFailed, Event, RegistryLost, RegistryRejoined
from holdfast.testing import VirtualClock, virtual_backend
from tests.fakes.events import Listener
from tests.fakes.registry import FlakyRegistry, instance

CONFIG = RegistrationConfig(ttl_s=9.0, forget_after_s=60.0, call_timeout_s=2.0, leave_timeout_s=3.0)
HISTORY = st.lists(
    st.tuples(st.sampled_from(["away", "refuses", "back", "forgets", "slow", "hangs", "quick"]), st.floats(0.0, 30.0)),
    max_size=12,
)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(history=HISTORY, seed=st.integers(0, 2**32 - 1), leaves=st.booleans())
@settings(max_examples=60)
def test_any_history_of_the_registry_ends_registered_or_gone_with_every_call_counted(
    backend: str, history: list[tuple[str, float]], seed: int, leaves: bool
) -> None:
    name, options = virtual_backend(backend)
    listed, heard = anyio.run(_stay_listed, history, seed, leaves, backend=name, backend_options=options)
    told = [type(event) for event in heard]

    assert listed == []
    assert told.count(RegistryLost) == told.count(RegistryRejoined)
    assert DeregistrationFailed not in told


async def _stay_listed(history: list[tuple[str, float]], seed: int, leaves: bool) -> tuple[list[str], list[Event]]:
    registry, listener = FlakyRegistry(), Listener()
    registration = Registration(
        registry, instance(1), CONFIG, clock=VirtualClock(), random=random.Random(seed).random, events=listener
    )

    async with registration:
        for what, seconds in history:
            _befall(registry, what)
            await anyio.sleep(seconds)
            _assert_adds_up(registration)
        registry.come_back()
        registry.delay_s = 0.0
        await anyio.sleep(CONFIG.call_timeout_s + 2 * CONFIG.heartbeat_s + 0.1)
        assert await registry.listed() == ["asks-1"]
        assert registration.statistics().listed
        if leaves:
            await registration.leave()
            assert await registry.listed() == []
            await anyio.sleep(100.0)

    _assert_adds_up(registration)
    gaps_s = [later - earlier for (earlier, _), (later, _) in zip(registry.calls, registry.calls[2:], strict=False)]
    assert all(gap_s > 0 for gap_s in gaps_s)  # a registry that forgets is told at once, and nothing else comes at once
    return await registry.listed(), listener.heard


def _befall(registry: FlakyRegistry, what: str) -> None:
    match what:
        case "away":
            registry.go_away()
        case "refuses":
            registry.error = StoreRefusedError("permission denied", store="test")
        case "back":
            registry.come_back()
        case "forgets":
            registry.clear()
        case "slow":
            registry.delay_s = 1.0
        case "hangs":
            registry.delay_s = 1000.0
        case _:
            registry.delay_s = 0.0


def _assert_adds_up(registration: Registration) -> None:
    counts = registration.statistics()
    done = counts.registered + counts.refreshed + counts.forgotten + counts.deregistered
    assert counts.called == counts.calling + done + counts.failed + counts.cancelled
