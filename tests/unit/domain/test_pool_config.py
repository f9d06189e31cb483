from __future__ import annotations

import math
from typing import Any

import pytest

from holdfast.domain.pool import PoolConfig
from holdfast.ports.errors import ConfigurationError


def test_config_with_every_limit_at_its_least_is_accepted() -> None:
    config = PoolConfig(max_size=1, min_size=1, max_waiters=1, max_creating=1, max_uses=1, validate_after_idle_s=0)

    assert config.min_size == config.max_size


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_size", 0),
        ("min_size", -1),
        ("min_size", 11),
        ("max_waiters", 0),
        ("max_creating", 0),
        ("max_uses", 0),
        ("max_lifetime_s", 0.0),
        ("max_idle_s", 0.0),
        ("validate_after_idle_s", -0.1),
        ("acquire_timeout_s", 0.0),
        ("acquire_timeout_s", math.inf),
        ("create_timeout_s", 0.0),
        ("upkeep_timeout_s", math.nan),
        ("creation_backoff_s", 0.0),
        ("max_creation_backoff_s", 0.24),
        ("leak_warning_s", -1.0),
        ("close_timeout_s", 0.0),
    ],
)
def test_config_with_a_value_that_makes_no_pool_is_refused_by_name(field: str, value: float) -> None:
    fields: dict[str, Any] = {field: value}

    with pytest.raises(ConfigurationError) as caught:
        PoolConfig(**fields)

    assert caught.value.path == f"pool.{field}"
    assert repr(value) in str(caught.value)
