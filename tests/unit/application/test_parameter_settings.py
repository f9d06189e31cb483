"""The section ``parameters``, its layer among the others, and which settings are live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dependency_injector import providers

from holdfast.adapters.consul import ConsulParameters
from holdfast.adapters.files import FileParameters
from holdfast.adapters.memory import MemoryParameters
from holdfast.application.container import Container
from holdfast.application.diagnosis import diagnose
from holdfast.application.guard_settings import GuardSettings
from holdfast.application.live_settings import LiveSettings, is_live
from holdfast.application.parameter_settings import ConsulParameterSettings
from holdfast.application.settings import ExtractiveSettings, Settings
from holdfast.application.settings_sources import LoadedSettings, load_settings
from holdfast.ports.application import Diagnosis
from holdfast.ports.errors import ConfigurationError, HoldfastError, StoreUnavailableError

TOKEN = "very-secret-0123"  # noqa: S105 - of nobody


def load(folder: Path, parameters: dict[str, Any] | None = None, **others: Any) -> LoadedSettings:  # noqa: ANN401 - any setting
    return load_settings(folder, others if parameters is None else {"parameters": parameters, **others})


def store_of(loaded: LoadedSettings) -> object:
    return Container(settings=providers.Object(loaded.settings)).parameter_store()


def test_parameters_by_default_are_none(tmp_path: Path) -> None:
    assert load(tmp_path).settings.parameters is None
    assert store_of(load(tmp_path)) is None


def test_kind_chooses_the_store(tmp_path: Path) -> None:
    assert isinstance(store_of(load(tmp_path, {"kind": "toml", "path": "p.toml"})), FileParameters)
    assert isinstance(store_of(load(tmp_path, {"kind": "consul"})), ConsulParameters)


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"kind": "etcd"}, r"^parameters\.kind: must be 'toml' or 'consul' \(arguments\)$"),
        ({"path": "p.toml"}, r"^parameters\.kind: is missing; set it to 'toml' or 'consul'"),
        ({"kind": "toml"}, r"^parameters\.path: is missing, and has no default"),
        ({"kind": "toml", "path": "p", "pol_s": 1}, r"^parameters\.pol_s: is not a setting .*parameters\.poll_s"),
        ({"kind": "toml", "path": "p", "poll_s": 0}, r"^parameters\.poll_s: input should be greater than 0"),
        ({"kind": "consul", "prefix": "/"}, r"^parameters\.prefix: string should match pattern"),
        ({"kind": "consul", "query": {"wait_s": 0}}, r"^parameters\.query\.wait_s: must be a finite number above 0"),
        ({"kind": "consul", "token": ["x"]}, r"^parameters\.token: input should be a valid string \(arguments\)$"),
    ],
)
def test_section_that_is_wrong_is_refused_in_one_line(
    tmp_path: Path, parameters: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        load(tmp_path, parameters)


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"kind": "consul", "address": "nowhere"}, r"^parameters\.address: must be http://HOST:PORT"),
        ({"kind": "consul", "token": "two words"}, r"^parameters\.token: must be one word of ASCII"),
        (
            {"kind": "consul", "token": TOKEN, "token_file": "f"},
            r"^parameters\.token_file: is given beside parameters\.token;",
        ),
    ],
)
def test_address_or_token_that_cannot_be_used_is_refused_as_the_settings_are_loaded(
    tmp_path: Path, parameters: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        load(tmp_path, parameters)


def test_token_is_in_no_text_of_the_settings(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"kind": "consul", "token": TOKEN})

    assert isinstance(loaded.settings.parameters, ConsulParameterSettings)
    assert TOKEN not in repr(loaded.settings)
    assert TOKEN not in loaded.settings.model_dump_json()


def test_parameters_win_over_files_and_yield_to_environment_and_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "holdfast.toml").write_text("timeout_s = 1\nmax_in_flight = 1\nmax_request_bytes = 1000\n")
    monkeypatch.setenv("HOLDFAST_MAX_IN_FLIGHT", "3")
    loaded = load(tmp_path, guard={"retry": {"max_attempts": 4}})

    with_parameters = loaded.with_parameters(
        {"timeout_s": "2", "max_in_flight": "2", "guard": {"retry": {"max_attempts": "2"}, "attempt_timeout_s": "9"}}
    )

    settings = with_parameters.settings
    assert (settings.timeout_s, settings.max_in_flight, settings.max_request_bytes) == (2.0, 3, 1000)
    assert (settings.guard.retry.max_attempts, settings.guard.attempt_timeout_s) == (4, 9.0)
    assert with_parameters.sources["timeout_s"] == "parameters"
    assert with_parameters.sources["max_in_flight"] == "environment"
    assert with_parameters.paths_changed_since(loaded) == ["guard.attempt_timeout_s", "timeout_s"]


def test_parameters_that_change_take_the_place_of_those_before(tmp_path: Path) -> None:
    loaded = load(tmp_path).with_parameters({"timeout_s": "2", "max_in_flight": "5"})

    again = loaded.with_parameters({"timeout_s": "3"})

    assert (again.settings.timeout_s, again.settings.max_in_flight) == (3.0, Settings().max_in_flight)
    assert again.paths_changed_since(loaded) == ["max_in_flight", "timeout_s"]


def test_parameter_that_is_refused_is_told_with_its_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^timeout_s: .* not '-1' \(parameters\)$"):
        load(tmp_path).with_parameters({"timeout_s": "-1"})


@pytest.mark.parametrize("section", ["parameters", "identity"])
def test_section_that_is_read_before_the_parameters_cannot_be_one_of_them(section: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{section}: .*, and cannot be one of them \(parameters\)$"):
        load(tmp_path).with_parameters({section: {"kind": "toml"}})


def test_sections_made_in_code_win_over_parameters() -> None:
    loaded = LoadedSettings(settings=Settings(guard=GuardSettings(attempt_timeout_s=7.0)), sources={})

    settings = loaded.with_parameters({"guard": {"attempt_timeout_s": "1"}, "timeout_s": "5"}).settings

    assert (settings.guard.attempt_timeout_s, settings.timeout_s) == (7.0, 5.0)


@pytest.mark.parametrize(
    "path",
    [
        "timeout_s",
        "admission.weights.a",
        "tenants.a.rate_limit.requests_per_minute",
        "guard.breaker",
        "guard.retry.max_attempts",
        "backends.a.guard.breaker.open_s",
        "log_events",
        "retrieval.limit",
    ],
)
def test_is_live_what_takes_effect_at_once(path: str) -> None:
    assert is_live(path)


@pytest.mark.parametrize(
    "path",
    [
        "retrieval.folder",
        "guard.pool.max_size",
        "guard.hedge",
        "backends.a.kind",
        "backends.guard.kind",
        "backends",
        "backends.a.guard",
        "max_memory_bytes",
        "timeout_seconds",
    ],
)
def test_is_live_not_what_needs_a_restart(path: str) -> None:
    assert not is_live(path)


def test_guard_of_a_backend_is_its_own_where_it_has_one_and_the_common_one_otherwise() -> None:
    common, own, foreign = GuardSettings(), GuardSettings(attempt_timeout_s=2.0), GuardSettings(attempt_timeout_s=3.0)
    opened = Settings(guard=common, backends={"a": ExtractiveSettings(guard=own), "b": ExtractiveSettings()})
    live = LiveSettings(opened, without_parameters=opened)
    new_common, new_own = GuardSettings(attempt_timeout_s=20.0), GuardSettings(attempt_timeout_s=21.0)

    live.change_to(
        Settings(guard=new_common, backends={"a": ExtractiveSettings(), "b": ExtractiveSettings(guard=new_own)})
    )

    assert live.guard_of("a", own) is new_common
    assert live.guard_of("b", common) is new_own
    assert live.guard_of("mine", common) is new_common
    assert live.guard_of("a", foreign) is foreign


def test_guard_of_a_backend_that_is_in_the_settings_no_more_stays() -> None:
    own = GuardSettings(attempt_timeout_s=2.0)
    opened = Settings(backends={"a": ExtractiveSettings(guard=own)})
    live = LiveSettings(opened, without_parameters=opened)

    live.change_to(Settings())

    assert live.guard_of("a", own) is own


def test_follower_hears_of_changes_only_while_it_follows() -> None:
    live, heard = LiveSettings(Settings(), without_parameters=Settings()), list[float]()
    with live.followed_by(lambda settings: heard.append(settings.timeout_s)):
        live.change_to(Settings(timeout_s=1.0))
    live.change_to(Settings(timeout_s=2.0))

    assert heard == [1.0]
    assert live.settings.timeout_s == 2.0


async def _diagnosed(tmp_path: Path, values: dict[str, object], error: HoldfastError | None = None) -> Diagnosis:
    class Store(MemoryParameters):
        async def parameters(self, *, index: int, wait_s: float) -> Any:  # noqa: ANN401 - as overridden
            if error is not None:
                raise error
            return await super().parameters(index=index, wait_s=wait_s)

    loaded = load(tmp_path)
    container = Container(settings=providers.Object(loaded.settings))
    container.parameter_store.override(providers.Object(Store(values)))
    diagnosis = await diagnose(loaded, container)
    assert container.settings() is loaded.settings
    return diagnosis


@pytest.mark.anyio
async def test_diagnose_tells_which_settings_come_from_parameters_and_which_need_a_restart(tmp_path: Path) -> None:
    diagnosis = await _diagnosed(tmp_path, {"timeout_s": "5", "guard": {"pool": {"max_size": "3"}}})

    told = {setting.path: (setting.value, setting.source) for setting in diagnosis.settings}
    assert told["timeout_s"] == ("5.0", "parameters")
    assert told["guard.pool.max_size"] == ("3", "parameters")
    assert (diagnosis.checks[0].name, diagnosis.checks[0].passed) == ("parameters", True)
    assert diagnosis.checks[0].detail == (
        "ready: 2 settings in memory; a running service takes these at its next start: guard.pool.max_size"
    )


@pytest.mark.anyio
async def test_diagnose_tries_the_backends_that_parameters_bring(tmp_path: Path) -> None:
    diagnosis = await _diagnosed(tmp_path, {"backends": {"drill": {"kind": "scripted"}}})

    assert "backend drill" in [check.name for check in diagnosis.checks]
    assert diagnosis.checks[0].detail.startswith("ready: 1 settings in memory")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("values", "error", "detail"),
    [
        ({"timeout_s": "-1"}, None, "timeout_s: input should be greater than 0, not '-1' (parameters)"),
        ({"max_memory_bytes": "1048576"}, None, "max_memory_bytes: 1048576 bytes have no room"),
        ({}, StoreUnavailableError("is down", store="memory"), "memory: is down"),
    ],
)
async def test_diagnose_parameters_that_cannot_be_used_are_told_and_the_others_are_still_tried(
    tmp_path: Path, values: dict[str, object], error: HoldfastError | None, detail: str
) -> None:
    diagnosis = await _diagnosed(tmp_path, values, error)

    assert (diagnosis.checks[0].name, diagnosis.checks[0].passed) == ("parameters", False)
    assert diagnosis.checks[0].detail.startswith(detail)
    assert len(diagnosis.checks) == 4
