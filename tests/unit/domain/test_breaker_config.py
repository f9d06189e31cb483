from __future__ import annotations

import math
from typing import Any

import pytest

from holdfast.domain.breaker_config import BreakerConfig
from holdfast.ports.errors import ConfigurationError


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("breaker.window_s", {"window_s": 0.0}),
        ("breaker.window_s", {"window_s": math.nan}),
        ("breaker.window_buckets", {"window_buckets": 0}),
        ("breaker.window_buckets", {"window_buckets": 1001}),
        ("breaker.window_calls", {"window_calls": 19}),
        ("breaker.min_calls", {"min_calls": 0}),
        ("breaker.failure_ratio", {"failure_ratio": 0.0}),
        ("breaker.failure_ratio", {"failure_ratio": 1.01}),
        ("breaker.failures_in_row", {"failures_in_row": 0}),
        ("breaker.slow_ratio", {"slow_ratio": 0.0, "slow_after_s": 1.0}),
        ("breaker.slow_ratio", {"slow_ratio": 0.5}),
        ("breaker.slow_after_s", {"slow_after_s": 0.0}),
        ("breaker.open_s", {"open_s": 0.0}),
        ("breaker.max_open_s", {"max_open_s": 4.9}),
        ("breaker.max_open_s", {"max_open_s": math.inf}),
        ("breaker.forget_opening_s", {"forget_opening_s": 0.0}),
        ("breaker.probe_successes", {"probe_successes": 0}),
        ("breaker.probe_calls", {"probe_calls": 2}),
        ("breaker.probe_timeout_s", {"probe_timeout_s": math.inf}),
    ],
)
def test_config_value_out_of_range_names_its_path(path: str, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        BreakerConfig(**values)

    assert caught.value.path == path


def test_config_every_rule_at_its_edge_is_accepted() -> None:
    config = BreakerConfig(
        window_buckets=1,
        window_calls=1,
        min_calls=1,
        failure_ratio=1.0,
        failures_in_row=1,
        slow_ratio=1.0,
        slow_after_s=0.001,
        open_s=5.0,
        max_open_s=5.0,
        probe_calls=1,
        probe_successes=1,
    )

    assert config.max_open_s == config.open_s
