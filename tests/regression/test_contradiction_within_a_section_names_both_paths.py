"""Settings of one section that contradict each other were refused with one path, or with half of the other one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdfast.application.settings_sources import load_settings
from holdfast.ports.errors import ConfigurationError

CONTRADICTIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"guard": {"pool": {"min_size": 11}}}, "guard.pool.min_size", "guard.pool.max_size, 10,"),
    ({"guard": {"retry": {"base_delay_s": 21}}}, "guard.retry.base_delay_s", "guard.retry.max_delay_s, 20.0,"),
    ({"guard": {"breaker": {"window_calls": 19}}}, "guard.breaker.window_calls", "guard.breaker.min_calls, 20,"),
    ({"guard": {"breaker": {"max_open_s": 4}}}, "guard.breaker.max_open_s", "guard.breaker.open_s, 5.0,"),
    ({"guard": {"breaker": {"probe_calls": 2}}}, "guard.breaker.probe_calls", "guard.breaker.probe_successes, 3,"),
    ({"guard": {"breaker": {"slow_ratio": 0.5}}}, "guard.breaker.slow_ratio", "guard.breaker.slow_after_s"),
    ({"guard": {"hedge": {"max_samples": 99}}}, "guard.hedge.max_samples", "guard.hedge.min_samples, 100,"),
    (
        {"tenants": {"a": {"rate_limit": {"requests_per_minute": 1, "burst_tokens": 2}}}},
        "tenants.a.rate_limit.burst_tokens",
        "tenants.a.rate_limit.tokens_per_minute",
    ),
    (
        {"backends": {"b": {"kind": "scripted", "guard": {"rate_limit": {}}}}},
        "backends.b.guard.rate_limit.requests_per_minute",
        "backends.b.guard.rate_limit.tokens_per_minute",
    ),
    ({"adaptive_limit": {"min_limit": 21}}, "adaptive_limit.initial_limit", "adaptive_limit.min_limit, 21,"),
    ({"adaptive_limit": {"max_limit": 19}}, "adaptive_limit.max_limit", "adaptive_limit.initial_limit, 20,"),
    ({"streaming": {"max_answer_bytes": 1}}, "streaming.max_answer_bytes", "streaming.max_ahead_bytes, 4096,"),
    ({"sessions": {"max_total_bytes": 5000}}, "sessions.max_bytes", "sessions.max_total_bytes, 5000;"),
    ({"routing": {"weights": {"extractive": 1}}}, "routing.weights", "routing.strategy"),
]


@pytest.mark.parametrize(("given", "path", "other"), CONTRADICTIONS)
def test_load_settings_contradiction_within_a_section_names_both_paths_in_full(
    given: dict[str, Any], path: str, other: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(tmp_path, given)

    assert refused.value.path == path
    assert f" {other}" in str(refused.value)
