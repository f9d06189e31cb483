from __future__ import annotations

import math
from typing import Any

import pytest

from holdfast.application.batch_config import BatchConfig
from holdfast.domain.breaker_config import BreakerConfig
from holdfast.ports.errors import ConfigurationError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("concurrency", 0),
        ("concurrency", -1),
        ("concurrency", 10_001),
        ("max_line_bytes", 0),
        ("max_line_bytes", 2**30 + 1),
        ("max_crashes", 0),
        ("stop_grace_s", -0.1),
        ("stop_grace_s", math.nan),
        ("stop_grace_s", math.inf),
        ("max_refused_wait_s", -0.1),
        ("max_refused_wait_s", math.nan),
        ("max_refused_wait_s", math.inf),
    ],
)
def test_config_with_a_value_that_cannot_work_is_refused_by_its_path(field: str, value: float) -> None:
    wrong: dict[str, Any] = {field: value}

    with pytest.raises(ConfigurationError) as caught:
        BatchConfig(**wrong)

    assert caught.value.path == f"batch.{field}"


def test_config_at_its_lower_bounds_is_taken() -> None:
    config = BatchConfig(concurrency=1, max_line_bytes=1, max_crashes=1, stop_grace_s=0.0, max_refused_wait_s=0.0)

    assert (config.stop_grace_s, config.max_refused_wait_s) == (0.0, 0.0)


def test_default_wait_for_a_refused_item_is_the_longest_opening_of_a_breaker() -> None:
    assert BatchConfig().max_refused_wait_s == BreakerConfig().max_open_s
