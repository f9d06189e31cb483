"""Settings that are valid one by one and cannot hold together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from dependency_injector import providers

from holdfast.application.consistency import check_consistency
from holdfast.application.container import Container
from holdfast.application.program import Program
from holdfast.application.settings import Settings
from holdfast.application.settings_sources import LoadedSettings
from holdfast.application.wiring import open_container
from holdfast.ports.errors import ConfigurationError
from tests.fakes.refusal import refusal

SHARED = {"kind": "redis", "url": "redis://127.0.0.1"}

CONTRADICTIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"admission": {"max_bytes": 1000}, "max_request_bytes": 1001}, "admission.max_bytes", "max_request_bytes"),
    ({"sessions": {"max_bytes": 64 * 1024 * 1024}}, "admission.max_bytes", "sessions.max_bytes"),
    ({"admission": {"max_tokens": 2_000_000}}, "admission.max_tokens", "max_request_bytes"),
    ({"admission": {"max_tokens": 2_000_000}}, "admission.max_tokens", "sessions.max_bytes"),
    ({"max_memory_bytes": 1024 * 1024}, "max_memory_bytes", "max_request_bytes"),
    ({"max_memory_bytes": 512 * 1024 * 1024}, "max_memory_bytes", "sessions.max_total_bytes"),
    (
        {"identity": {"audience": "a", "key_file": "k", "trust_file": "t", "max_message_bytes": 2048}},
        "identity.max_message_bytes",
        "max_request_bytes",
    ),
    (
        {"sessions": {"database": "s.sqlite3"}, "shared": {"kind": "redis", "url": "redis://127.0.0.1"}},
        "sessions.database",
        "shared.share",
    ),
    (
        {"tenant_rate_limit": {"requests_per_minute": 1}, "shared": SHARED},
        "tenant_rate_limit.burst_requests",
        "shared.share",
    ),
    (
        {"tenants": {"a": {"rate_limit": {"requests_per_minute": 60, "burst_requests": 1.9}}}, "shared": SHARED},
        "tenants.a.rate_limit.burst_requests",
        "shared.share",
    ),
    (
        {"guard": {"rate_limit": {"requests_per_minute": 60, "burst_requests": 1}}, "shared": SHARED},
        "guard.rate_limit.burst_requests",
        "shared.share",
    ),
    (
        {
            "backends": {"own": {"kind": "extractive", "guard": {"rate_limit": {"requests_per_minute": 1}}}},
            "shared": SHARED,
        },
        "backends.own.guard.rate_limit.burst_requests",
        "shared.share",
    ),
    ({"only_backend": "b"}, "only_backend", "extractive"),
    ({"gateway": {"host": "0.0.0.0"}}, "gateway.host", "gateway.api_keys"),  # noqa: S104 - it is refused
    ({"gateway": {"host": "example.org"}}, "gateway.host", "gateway.api_keys_file"),
    ({"gateway": {"max_body_bytes": 1000}}, "gateway.max_body_bytes", "max_request_bytes"),
    ({"guard": {"hedge": {}, "pool": {"max_size": 1}}}, "guard.hedge", "guard.pool.max_size"),
    ({"guard": {"attempt_timeout_s": 56}}, "guard.breaker.probe_timeout_s", "guard.attempt_timeout_s"),
    (
        {"guard": {"attempt_timeout_s": 50, "pool": {"acquire_timeout_s": 11}}},
        "guard.breaker.probe_timeout_s",
        "guard.pool.acquire_timeout_s",
    ),
    (
        {"backends": {"own": {"kind": "claude_agent", "guard": {"breaker": {"probe_timeout_s": 60}}}}},
        "backends.own.guard.breaker.probe_timeout_s",
        "backends.own.guard.attempt_timeout_s",
    ),
    (
        {"backends": {"own": {"kind": "extractive", "guard": {"hedge": {}, "pool": {"max_size": 1}}}}},
        "backends.own.guard.hedge",
        "backends.own.guard.pool.max_size",
    ),
    (
        {"backends": {"own": {"kind": "scripted", "model_bytes": 1}}, "guard": {"attempt_timeout_s": 29.9}},
        "guard.attempt_timeout_s",
        "models.load_timeout_s",
    ),
    (
        {"backends": {"own": {"kind": "scripted", "model_bytes": 1, "guard": {}}}, "models": {"wait_timeout_s": 10.1}},
        "backends.own.guard.attempt_timeout_s",
        "models.wait_timeout_s",
    ),
    ({"routing": {"strategy": "weighted", "weights": {"extractive": 0}}}, "routing.weights", "backends"),
    ({"routing": {"strategy": "sticky", "weights": {"another": 1}}}, "routing.weights", "backends"),
    ({"backends": {"gpu": {"kind": "openai", "service": "gpu"}}}, "backends.gpu.service", "registry.kind"),
]
"""Settings, the path of the refusal, and the other path that it names."""


@pytest.mark.parametrize(("given", "path", "other"), CONTRADICTIONS)
def test_check_consistency_contradiction_is_refused_with_both_paths_named(
    given: dict[str, Any], path: str, other: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_consistency(Settings.model_validate(given))

    assert caught.value.path == path
    assert other in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"backends": {"agent": {"kind": "claude_agent"}, "model": {"kind": "llama_cpp", "path": "small.gguf"}}},
        {"guard": {"attempt_timeout_s": 55}},
    ],
    ids=["all", "backends that take their time", "an attempt as long as may be"],
)
def test_check_consistency_defaults_hold_together(given: dict[str, Any]) -> None:
    assert refusal(check_consistency, Settings.model_validate(given)) is None


def test_check_consistency_less_memory_than_all_sessions_holds_together_where_these_are_in_a_file() -> None:
    given = {"max_memory_bytes": 512 * 1024 * 1024, "sessions": {"database": "sessions.sqlite"}}

    assert refusal(check_consistency, Settings.model_validate(given)) is None


@pytest.mark.parametrize(
    "given",
    [
        {"tenant_rate_limit": {"requests_per_minute": 60, "burst_requests": 2}, "shared": SHARED},
        {"tenant_rate_limit": {"tokens_per_minute": 60}, "shared": SHARED},
        {"tenant_rate_limit": {"requests_per_minute": 1}, "shared": SHARED | {"share": ["breakers"]}},
        {"tenant_rate_limit": {"requests_per_minute": 1}, "shared": {"kind": "sqlite", "database": "shared.sqlite"}},
        {"tenant_rate_limit": {"requests_per_minute": 1}},
    ],
    ids=["a burst of two", "tokens only", "rates not shared", "a store without rates", "nothing shared"],
)
def test_check_consistency_limit_of_which_each_process_gets_one_holds_together(given: dict[str, Any]) -> None:
    assert refusal(check_consistency, Settings.model_validate(given)) is None


@pytest.mark.anyio
async def test_open_container_contradiction_is_refused_before_anything_is_opened() -> None:
    def opened() -> None:
        pytest.fail("the retriever was opened")

    settings = Settings(max_request_bytes=1000)
    container = Container(
        settings=providers.Object(settings.model_copy(update={"admission": replace(settings.admission, max_bytes=999)}))
    )
    container.retriever.override(providers.Callable(opened))

    with pytest.raises(ConfigurationError, match="max_request_bytes"):
        async with open_container(container):
            pytest.fail("it opened")


def test_program_contradiction_is_refused_before_any_command_runs() -> None:
    settings = Settings.model_validate(CONTRADICTIONS[0][0])

    with pytest.raises(ConfigurationError, match="max_request_bytes"):
        Program(LoadedSettings(settings=settings, sources={}))
