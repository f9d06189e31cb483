"""``HOLDFAST_ADMISSION__WEIGHTS='{"a": 2}'`` was taken for text: JSON was read for whole sections only."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.application.settings_sources import load_settings
from holdfast.ports.errors import ConfigurationError


def test_load_settings_weights_of_tenants_as_json_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_ADMISSION__WEIGHTS", '{"Big": 2}')

    loaded = load_settings(tmp_path)

    assert loaded.settings.admission.weights == {"Big": 2.0}
    assert loaded.sources == {"admission.weights.Big": "environment"}


def test_load_settings_weights_of_backends_as_json_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_ROUTING__STRATEGY", "sticky")
    monkeypatch.setenv("HOLDFAST_ROUTING__WEIGHTS", '{"extractive": 3}')

    assert load_settings(tmp_path).settings.routing.weights == {"extractive": 3.0}


def test_load_settings_section_that_is_off_by_default_is_read_by_its_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_GUARD__RATE_LIMIT__REQUESTS_PER_MINUTE", "30")

    rate_limit = load_settings(tmp_path).settings.guard.rate_limit

    assert rate_limit is not None
    assert rate_limit.requests_per_minute == 30.0


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_load_settings_weights_that_are_no_mapping_are_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_ADMISSION__WEIGHTS", text)

    with pytest.raises(ConfigurationError, match=r"^admission\.weights: .*\(environment\)$"):
        load_settings(tmp_path)
