"""The adaptive limit, met by requests that go through `Orchestrator.submit`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import GuardSettings, Settings
from holdfast.application.settings_sources import load_settings
from holdfast.domain.adaptive_limit import AdaptiveLimitConfig
from holdfast.domain.circuit_breaker import BreakerConfig
from holdfast.domain.pool import PoolConfig
from holdfast.domain.retry_policy import RetryPolicy
from holdfast.ports.errors import (
    BackendThrottledError,
    BackendUnavailableError,
    ConfigurationError,
    DeadlineExceededError,
)
from holdfast.testing import sweep_cancellation
from tests.fakes.service import Answering, ask_anew, assert_nothing_is_held, opened, unavailable

pytestmark = pytest.mark.anyio

GUARD = GuardSettings(
    retry=RetryPolicy(max_attempts=1), pool=PoolConfig(max_size=100), breaker=BreakerConfig(failures_in_row=1000)
)
SETTINGS = Settings(adaptive_limit=AdaptiveLimitConfig(max_limit=40), guard=GUARD)


def pushing_back(_: int) -> Exception:
    return BackendThrottledError(backend="a", retry_after_s=None)


@asynccontextmanager
async def constant_load(orchestrator: Orchestrator, callers: int) -> AsyncGenerator[None]:
    """Keep `callers` asking one question after the other, until the body ends."""

    async def ask_forever() -> None:
        while True:
            await orchestrator.submit(ask_anew(timeout_s=500.0))

    async with anyio.create_task_group() as tasks:
        for _ in range(callers):
            tasks.start_soon(ask_forever)
        yield
        tasks.cancel_scope.cancel()


def limit_of(orchestrator: Orchestrator) -> int:
    return orchestrator.health().admission.limit.limit


async def test_submit_latency_steps_up_tenfold_the_limit_shrinks_within_5_s_and_recovers_with_it() -> None:
    backend = Answering(delay_s=0.1)
    async with opened({"a": backend}, SETTINGS) as orchestrator, constant_load(orchestrator, callers=40):
        await anyio.sleep(20.0)
        before = limit_of(orchestrator)
        backend.delay_s = 1.0
        await anyio.sleep(5.0)
        under_load = orchestrator.health().admission.limit
        backend.delay_s = 0.1
        await anyio.sleep(20.0)
        after = limit_of(orchestrator)

    assert (before, after) == (40, 40)
    assert under_load.limit <= 10
    assert under_load.baseline_s == pytest.approx(0.1)
    assert under_load.recent_s == pytest.approx(1.0)


async def test_submit_storm_of_cancelled_callers_changes_the_limit_by_nothing() -> None:
    backend = Answering(delay_s=0.1)
    async with opened({"a": backend}, SETTINGS) as orchestrator:
        async with constant_load(orchestrator, callers=40):
            await anyio.sleep(20.0)
        before = orchestrator.health().admission.limit
        backend.delay_s = float("inf")
        for _ in range(50):
            with anyio.move_on_after(0.9):
                async with constant_load(orchestrator, callers=60):
                    await anyio.sleep_forever()
        await anyio.sleep(1.0)
        after = orchestrator.health().admission.limit

    assert before.limit == 40
    assert after == replace(before, in_flight=0)


async def test_submit_backend_that_pushes_back_shrinks_the_limit_by_a_tenth() -> None:
    backend = Answering(delay_s=1.0, failing=pushing_back)
    async with opened({"a": backend}, SETTINGS) as orchestrator:
        with pytest.raises(BackendThrottledError):
            await orchestrator.submit(ask_anew(timeout_s=500.0))

        assert limit_of(orchestrator) == 18


async def test_submit_backend_that_hangs_until_the_deadline_shrinks_the_limit_by_a_tenth() -> None:
    async with opened({"a": Answering(delay_s=float("inf"))}, SETTINGS) as orchestrator:
        with pytest.raises(DeadlineExceededError):
            await orchestrator.submit(ask_anew(timeout_s=2.0))
        await anyio.sleep(1.0)

        assert limit_of(orchestrator) == 18


async def test_submit_backend_that_fails_for_reasons_of_its_own_leaves_the_limit() -> None:
    backend = Answering(delay_s=1.0, failing=unavailable)
    async with opened({"a": backend}, SETTINGS) as orchestrator:
        for _ in range(20):
            with suppress(BackendUnavailableError):
                await orchestrator.submit(ask_anew(timeout_s=500.0))

        assert limit_of(orchestrator) == 20


async def test_submit_without_an_adaptive_limit_keeps_the_fixed_one_whatever_happens() -> None:
    backend = Answering(delay_s=1.0, failing=pushing_back)
    async with opened({"a": backend}, Settings(max_in_flight=7, guard=GUARD)) as orchestrator:
        for _ in range(20):
            with suppress(BackendThrottledError):
                await orchestrator.submit(ask_anew(timeout_s=500.0))
        limit = orchestrator.health().admission.limit

    assert (limit.limit, limit.baseline_s, limit.recent_s) == (7, None, None)


async def test_submit_of_requests_cancelled_at_every_checkpoint_leaves_the_limit_and_its_slots() -> None:
    backend = Answering(delay_s=1.0, failing=unavailable)
    settings = SETTINGS.model_copy(update={"adaptive_limit": AdaptiveLimitConfig(initial_limit=1)})
    async with opened({"a": backend}, settings) as orchestrator:

        async def submit() -> None:
            with suppress(BackendUnavailableError):
                await orchestrator.submit(ask_anew(timeout_s=500.0))

        async def scenario() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(submit)
                tasks.start_soon(submit)

        async def check() -> None:
            await anyio.sleep(5.0)
            assert limit_of(orchestrator) == 1
            assert_nothing_is_held(orchestrator.health())

        assert await sweep_cancellation(scenario, check) >= 1


def test_setting_one_key_turns_the_adaptive_limit_on_and_leaves_the_others_at_their_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_ADAPTIVE_LIMIT__MAX_LIMIT", "50")

    assert load_settings(tmp_path).settings.adaptive_limit == AdaptiveLimitConfig(max_limit=50)


def test_setting_an_empty_section_turns_the_adaptive_limit_on(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text("[adaptive_limit]\n")

    assert load_settings(tmp_path).settings.adaptive_limit == AdaptiveLimitConfig()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"min_limit": 30},
            r"^adaptive_limit\.initial_limit: must be at least adaptive_limit\.min_limit, 30, not 20$",
        ),
        ({"max_limt": 30}, r"^adaptive_limit\.max_limt: is not a setting .*did you mean 'adaptive_limit\.max_limit'"),
    ],
)
def test_setting_what_cannot_be_is_refused_with_its_path(
    tmp_path: Path, arguments: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_settings(tmp_path, {"adaptive_limit": arguments})
