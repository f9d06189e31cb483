from __future__ import annotations

import math
from typing import Any

import pytest

from holdfast.domain.model_slot_config import ModelSlotConfig
from holdfast.ports.errors import ConfigurationError


@pytest.mark.parametrize("name", ["max_loaded", "max_waiters"])
@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_config_with_a_count_below_one_is_refused_with_its_path(name: str, value: float) -> None:
    wrong: dict[str, Any] = {name: value}

    with pytest.raises(ConfigurationError) as caught:
        ModelSlotConfig(**wrong)

    assert caught.value.path == f"models.{name}"


@pytest.mark.parametrize(
    "name", ["max_idle_s", "wait_timeout_s", "load_timeout_s", "unload_timeout_s", "close_timeout_s"]
)
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_config_with_a_time_that_is_none_is_refused_with_its_path(name: str, value: float) -> None:
    wrong: dict[str, Any] = {name: value}

    with pytest.raises(ConfigurationError) as caught:
        ModelSlotConfig(**wrong)

    assert caught.value.path == f"models.{name}"


@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_config_with_a_settling_time_that_is_none_is_refused_with_its_path(value: float) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ModelSlotConfig(settle_timeout_s=value)

    assert caught.value.path == "models.settle_timeout_s"


def test_config_may_settle_for_no_time_at_all() -> None:
    assert ModelSlotConfig(settle_timeout_s=0.0).settle_timeout_s == 0.0


def test_config_by_default_waits_and_loads_within_one_attempt_of_30_s() -> None:
    config = ModelSlotConfig()

    assert (config.max_loaded, config.max_idle_s) == (1, None)
    assert config.wait_timeout_s + config.load_timeout_s == 30.0
