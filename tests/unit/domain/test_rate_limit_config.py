from __future__ import annotations

import math
from typing import Any

import pytest

from holdfast.domain.rate_limit_config import RateLimitConfig
from holdfast.ports.errors import ConfigurationError


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("rate_limit.requests_per_minute", {}),
        ("rate_limit.requests_per_minute", {"requests_per_minute": 0.0}),
        ("rate_limit.requests_per_minute", {"requests_per_minute": math.inf}),
        ("rate_limit.tokens_per_minute", {"tokens_per_minute": -1.0}),
        ("rate_limit.tokens_per_minute", {"tokens_per_minute": math.nan}),
        ("rate_limit.burst_requests", {"requests_per_minute": 5.0, "burst_requests": 0.5}),
        ("rate_limit.burst_tokens", {"tokens_per_minute": 5.0, "burst_tokens": math.nan}),
        ("rate_limit.max_pause_s", {"requests_per_minute": 5.0, "max_pause_s": -1.0}),
        ("rate_limit.max_pause_s", {"requests_per_minute": 5.0, "max_pause_s": math.inf}),
        ("rate_limit.max_debt_s", {"requests_per_minute": 5.0, "max_debt_s": -1.0}),
    ],
)
def test_config_value_out_of_range_names_its_path(path: str, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RateLimitConfig(**values)

    assert caught.value.path == path


@pytest.mark.parametrize(
    ("path", "other", "values"),
    [
        ("rate_limit.requests_per_minute", "rate_limit.tokens_per_minute", {}),
        (
            "rate_limit.burst_requests",
            "rate_limit.requests_per_minute",
            {"tokens_per_minute": 5.0, "burst_requests": 5.0},
        ),
        (
            "rate_limit.burst_tokens",
            "rate_limit.tokens_per_minute",
            {"requests_per_minute": 5.0, "burst_tokens": 5.0},
        ),
    ],
)
def test_config_that_contradicts_itself_names_both_paths(path: str, other: str, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=other) as caught:
        RateLimitConfig(**values)

    assert caught.value.path == path


def test_config_every_rule_at_its_edge_is_accepted() -> None:
    config = RateLimitConfig(requests_per_minute=0.001, burst_requests=1.0, max_pause_s=0.0, max_debt_s=0.0)

    assert config.tokens_per_minute is None
