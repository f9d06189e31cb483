"""Every mechanism at once, under faults, cancellations and a wall clock that is set back."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio
import pytest

from holdfast.ports.errors import BackendUnavailableError, RetrievalError
from holdfast.ports.statistics import Health
from holdfast.testing import FaultInjector, FaultPlan, VirtualClock, VirtualTimeLoop
from tests.fakes.everything import load, opened
from tests.fakes.service import assert_nothing_is_held

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

SETTLE_S = 100.0
"""Longer than whatever still runs in the background after the last caller has gone."""


@pytest.mark.parametrize("seed", range(4))
async def test_storm_of_faults_and_cancellations_every_count_comes_back(seed: int) -> None:
    clock = VirtualClock()
    backend_faults = FaultInjector(
        FaultPlan(
            seed=seed,
            error=lambda: BackendUnavailableError("lost", backend="flaky"),
            delay_ratio=0.1,
            lost_call_ratio=0.05,
            lost_reply_ratio=0.05,
            hang_ratio=0.02,
            duplicate_ratio=0.05,
            reorder_ratio=0.1,
        ),
        clock=clock,
    )
    retriever_faults = FaultInjector(
        FaultPlan(seed=seed, error=lambda: RetrievalError("is gone", path="docs"), lost_call_ratio=0.05),
        clock=clock,
    )
    async with opened(seed, wrap_backend=backend_faults.wrap, wrap_retriever=retriever_faults.wrap) as service:
        ends = await load(service, seed=seed, requests=400, cancel_ratio=0.2)
        await anyio.sleep(SETTLE_S)
        health = service.health()

    assert_nothing_is_held(health)
    assert ends["answered"] > 50, ends
    assert health.requests.cancelled > 0
    assert sum(backend_faults.injected.values()) > 0


def _step_wall_clock(monkeypatch: pytest.MonkeyPatch, step_s: float) -> None:
    wall_s, wall_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: wall_s() + step_s)
    monkeypatch.setattr(time, "time_ns", lambda: wall_ns() + int(step_s * 1e9))


async def _health_after_a_load(halfway: Callable[[], object]) -> Health:
    async with opened(11) as service:
        await load(service, seed=11, requests=300, halfway=halfway)
        await anyio.sleep(SETTLE_S)
        return service.health()


async def test_wall_clock_set_back_by_an_hour_leaves_nothing_held(monkeypatch: pytest.MonkeyPatch) -> None:
    health = await _health_after_a_load(lambda: _step_wall_clock(monkeypatch, -3600.0))

    assert_nothing_is_held(health)


def test_wall_clock_set_back_by_an_hour_changes_nothing_that_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(halfway: Callable[[], object]) -> Health:
        # Each on a loop of its own, which begins at the same moment. Not on trio: it shuffles tasks that are ready.
        options = {"loop_factory": VirtualTimeLoop}
        return anyio.run(_health_after_a_load, halfway, backend="asyncio", backend_options=options)

    undisturbed = run(lambda: None)
    stepped = run(lambda: _step_wall_clock(monkeypatch, -3600.0))

    assert stepped == undisturbed
    assert undisturbed.requests.answered > 0
