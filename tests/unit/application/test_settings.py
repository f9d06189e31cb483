from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from holdfast.application.settings import ExtractiveSettings, ScriptedSettings, Settings
from holdfast.application.settings_sources import load_settings
from holdfast.ports.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("HOLDFAST_"):
            monkeypatch.delenv(name)


def test_load_settings_without_any_source_gives_the_defaults(tmp_path: Path) -> None:
    loaded = load_settings(tmp_path)

    assert loaded.settings == Settings()
    assert loaded.sources == {}
    assert loaded.settings.backends == {"extractive": ExtractiveSettings()}


def test_load_settings_each_source_wins_over_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.holdfast]\ntimeout_s = 1\nmax_in_flight = 1\nmax_request_bytes = 1\n"
        "[tool.holdfast.retrieval]\nlimit = 1\n"
    )
    (tmp_path / "holdfast.toml").write_text("max_in_flight = 2\nmax_request_bytes = 2\n[retrieval]\nlimit = 2\n")
    monkeypatch.setenv("HOLDFAST_MAX_REQUEST_BYTES", "3")
    monkeypatch.setenv("HOLDFAST_RETRIEVAL__LIMIT", "3")

    loaded = load_settings(tmp_path, {"retrieval": {"limit": 4}})

    settings = loaded.settings
    assert (settings.timeout_s, settings.max_in_flight, settings.max_request_bytes) == (1.0, 2, 3)
    assert settings.retrieval.limit == 4
    assert loaded.sources == {
        "timeout_s": "pyproject.toml",
        "max_in_flight": "holdfast.toml",
        "max_request_bytes": "environment",
        "retrieval.limit": "arguments",
    }


def test_load_settings_one_key_of_a_mechanism_leaves_the_others_at_their_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_GUARD__BREAKER__FAILURE_RATIO", "0.3")

    breaker = load_settings(tmp_path).settings.guard.breaker

    assert breaker.failure_ratio == 0.3
    assert breaker.min_calls == Settings().guard.breaker.min_calls


def test_load_settings_backend_by_name_from_the_environment_is_merged_key_by_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "holdfast.toml").write_text('[backends.slow]\nkind = "scripted"\nreply = "ok"\n')
    monkeypatch.setenv("HOLDFAST_BACKENDS__SLOW__DELAY_S", "0.5")

    backends = load_settings(tmp_path).settings.backends

    assert backends == {"slow": ScriptedSettings(kind="scripted", reply="ok", delay_s=0.5)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timeuot_s": 1}, r"^timeuot_s: is not a setting \(arguments\); did you mean 'timeout_s'\?$"),
        (
            {"guard": {"breaker": {"failure_rate": 0.5}}},
            r"^guard\.breaker\.failure_rate: is not a setting .*did you mean 'guard\.breaker\.failure_ratio'",
        ),
        (
            {"backends": {"a": {"kind": "scripted", "delay": 1}}},
            r"^backends\.a\.delay: is not a setting .*did you mean 'backends\.a\.delay_s'",
        ),
        (
            {"backends": {"a": {"kind": "scripted", "guard": {"poll": {}}}}},
            r"^backends\.a\.guard\.poll: is not a setting.*did you mean 'backends\.a\.guard\.pool'",
        ),
        (
            {"guard": {"rate_limit": {"request_per_minute": 1}}},
            r"^guard\.rate_limit\.request_per_minute: is not .*did you mean 'guard\.rate_limit\.requests_per_minute'",
        ),
        (
            {"tenants": {"a": {"rate_limits": {}}}},
            r"^tenants\.a\.rate_limits: is not .*did you mean 'tenants\.a\.rate_limit'",
        ),
        (
            {"tenants": {"a": {"rate_limit": {"tokens_per_min": 1}}}},
            r"^tenants\.a\.rate_limit\.tokens_per_min: is not .*did you mean '.*\.tokens_per_minute'",
        ),
        (
            {"tenant_rate_limit": {}},
            r"^tenant_rate_limit\.requests_per_minute: set this or tenant_rate_limit\.tokens_per_min",
        ),
        (
            {"tenant_rate_limit": {"tokens_per_minute": 5, "burst_requests": 5}},
            r"^tenant_rate_limit\.burst_requests: limits nothing without tenant_rate_limit\.requests_per_minute",
        ),
        ({"timeout_s": 0}, r"^timeout_s: input should be greater than 0, not 0 \(arguments\)$"),
        ({"timeout_s": -1}, r"^timeout_s: .*not -1"),
        ({"timeout_s": math.nan}, r"^timeout_s: .*finite number, not nan"),
        ({"max_in_flight": "many"}, r"^max_in_flight: .*valid integer.*not 'many'"),
        ({"guard": {"breaker": {"failure_ratio": 2}}}, r"^guard\.breaker\.failure_ratio: .*not 2"),
        ({"guard": {"retry_budget": {"token_ratio": 2}}}, r"^guard\.retry_budget\.token_ratio: .*not 2"),
        ({"guard": {"pool": {"min_size": 5, "max_size": 2}}}, r"^guard\.pool\.(min|max)_size: .*"),
        ({"backends": {}}, r"^backends: .*at least 1"),
        ({"backends": {"a": 3}}, r"^backends\.a: input should be an object, not 3 \(arguments\)$"),
        (
            {"backends": {"a": {"kind": "oracle"}}},
            r"^backends\.a\.kind: must be 'extractive' or 'scripted'( or '\w+')+ \(arguments\)$",
        ),
        (
            {"backends": {"a": {"kinds": "scripted"}}},
            r"^backends\.a\.kind: is missing; set it to 'extractive' or 'scripted'( or '\w+')+$",
        ),
        ({"timeout_s": True}, r"^timeout_s: must be a number, not True \(arguments\)$"),
        ({"guard": {"pool": {"max_size": True}}}, r"^guard\.pool\.max_size: must be a number, not True"),
    ],
)
def test_load_settings_wrong_value_is_refused_with_its_path(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_settings(tmp_path, arguments)


def test_load_settings_several_wrong_values_are_all_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^timeout_s") as caught:
        load_settings(tmp_path, {"timeout_s": 0, "max_in_flight": 0})

    assert any("max_in_flight" in note for note in caught.value.__notes__)


def test_load_settings_unknown_variable_is_refused_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_TIMEOUT", "3")

    with pytest.raises(ConfigurationError, match=r"^HOLDFAST_TIMEOUT: .*did you mean 'HOLDFAST_TIMEOUT_S'\?"):
        load_settings(tmp_path)


def test_load_settings_variable_that_is_not_json_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_BACKENDS", "{oops")

    with pytest.raises(ConfigurationError, match=r"^HOLDFAST_BACKENDS: is no JSON; mend it, or give one variable"):
        load_settings(tmp_path)


def test_load_settings_value_that_is_refused_is_not_shown_at_length(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^timeout_s: .*, not 'x+… \(arguments\)$") as raised:
        load_settings(tmp_path, {"timeout_s": "x" * 100_000})

    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("content", ["timeout_s = = 1", f"timeout_s = {'1' * 5000}", f"timeout_s = {'[' * 100_000}"])
def test_load_settings_file_that_is_not_toml_is_refused_by_name(content: str, tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text(content)

    with pytest.raises(ConfigurationError, match=r"holdfast\.toml: is not valid TOML"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("project", "message"),
    [
        ("tool = 3", r"^tool: must be a table, not 3 \(pyproject\.toml\)$"),
        ("[tool]\nholdfast = 3", r"^tool\.holdfast: must be a table, not 3"),
    ],
)
def test_load_settings_project_whose_section_is_no_table_is_refused(tmp_path: Path, project: str, message: str) -> None:
    (tmp_path / "pyproject.toml").write_text(project)

    with pytest.raises(ConfigurationError, match=message):
        load_settings(tmp_path)


def test_load_settings_file_that_is_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").mkdir()

    with pytest.raises(ConfigurationError, match=r"holdfast\.toml: cannot be read"):
        load_settings(tmp_path)


def test_settings_made_in_code_ignore_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_TIMEOUT_S", "3")

    assert Settings().timeout_s == 60.0


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().timeout_s = 1.0
