"""The section ``registry``: what it makes, and what is wrong with it, in one line."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
from dependency_injector import providers

from holdfast.adapters.consul import ConsulRegistry
from holdfast.adapters.files import FileRegistry
from holdfast.application.container import Container, Discovered, Registry
from holdfast.application.diagnosis import diagnose
from holdfast.application.registry_settings import ConsulRegistrySettings, RegistrationSettings
from holdfast.application.settings import Settings
from holdfast.application.settings_sources import LoadedSettings, load_settings
from holdfast.ports.errors import ConfigurationError, StoreRefusedError
from holdfast.ports.registry import ServiceInstance

OWN: dict[str, Any] = {"service": "asks", "host": "10.0.0.7", "port": 8080}
TOKEN = "very-secret-0123"  # noqa: S105 - of nobody


def load(tmp_path: Path, registry: dict[str, Any]) -> LoadedSettings:
    return load_settings(tmp_path, {"registry": registry})


def container_of(settings: Settings) -> Container:
    return Container(settings=providers.Object(settings))


def registry_of(settings: Settings) -> Registry:
    registry: Registry | None = container_of(settings).registry()
    assert registry is not None
    return registry


def test_registry_by_default_is_none(tmp_path: Path) -> None:
    settings = load_settings(tmp_path).settings

    assert settings.registry is None
    assert container_of(settings).registry() is None


def test_registry_of_files_follows_the_folder_that_is_set_and_registers_as_it_is_told(tmp_path: Path) -> None:
    own = {**OWN, "tags": ["eu"], "metadata": {"model": "tiny"}, "ttl_s": 30.0, "forget_after_s": 90.0}
    settings = load(
        tmp_path,
        {"kind": "file", "path": str(tmp_path), "discovery": {"max_instances": 7}, "registration": own},
    ).settings

    registry = registry_of(settings)

    assert isinstance(registry.services, FileRegistry)
    assert registry.discovery.max_instances == 7
    assert (registry.registration.ttl_s, registry.registration.forget_after_s) == (30.0, 90.0)
    assert registry.instance == ServiceInstance(
        service="asks",
        instance_id="asks-10.0.0.7-8080",
        host="10.0.0.7",
        port=8080,
        tags=("eu",),
        metadata={"model": "tiny"},
    )


def test_registry_of_consul_is_the_agent_of_this_machine_unless_another_is_set(tmp_path: Path) -> None:
    settings = load(tmp_path, {"kind": "consul"}).settings

    assert isinstance(settings.registry, ConsulRegistrySettings)
    assert settings.registry.address == "http://127.0.0.1:8500"
    registry = registry_of(settings)
    assert isinstance(registry.services, ConsulRegistry)
    assert registry.instance is None


def test_registry_token_from_the_environment_is_shown_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_REGISTRY__KIND", "consul")
    monkeypatch.setenv("HOLDFAST_REGISTRY__TOKEN", TOKEN)

    loaded = load_settings(tmp_path)

    assert isinstance(loaded.settings.registry, ConsulRegistrySettings)
    assert loaded.settings.registry.token is not None
    assert loaded.settings.registry.token.get_secret_value() == TOKEN
    assert TOKEN not in f"{loaded}{loaded.settings.model_dump()}{loaded.settings.model_dump_json()}"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown kind": ({"kind": "zookeeper"}, "registry.kind: must be 'file' or 'consul'"),
    "no kind": ({"path": "x"}, "registry.kind: is missing; set it to 'file' or 'consul'"),
    "no path": ({"kind": "file"}, "registry.path: is missing"),
    "unknown key": ({"kind": "consul", "adress": "x"}, "registry.adress: .*did you mean 'registry.address'"),
    "key of the other kind": ({"kind": "file", "path": "x", "poll": 1}, "did you mean 'registry.poll_s'"),
    "unknown key below": (
        {"kind": "consul", "discovery": {"max_instance": 1}},
        "registry.discovery.max_instance: .*did you mean 'registry.discovery.max_instances'",
    ),
    "unknown key of the registration": (
        {"kind": "consul", "registration": {**OWN, "ttl": 1}},
        "registry.registration.ttl: .*did you mean 'registry.registration.ttl_s'",
    ),
    "no port": (
        {"kind": "consul", "registration": {"service": "asks", "host": "h"}},
        "registry.registration.port: is missing",
    ),
    "port out of range": (
        {"kind": "consul", "registration": {**OWN, "port": 65536}},
        "registry.registration.port: must be from 1 to 65535, not 65536",
    ),
    "blank service": (
        {"kind": "consul", "registration": {**OWN, "service": " "}},
        "registry.registration.service: must not be blank",
    ),
    "address that nobody reaches": (
        {"kind": "consul", "registration": {**OWN, "host": "0.0.0.0"}},  # noqa: S104 - refused
        "registry.registration.host: .*others reach this machine",
    ),
    "empty id": (
        {"kind": "consul", "registration": {**OWN, "instance_id": ""}},
        "registry.registration.instance_id: must not be empty",
    ),
    "forgotten before it is dead": (
        {"kind": "consul", "registration": {**OWN, "ttl_s": 90}},
        "registry.registration.forget_after_s: must be at least registry.registration.ttl_s, 90",
    ),
    "no wait": ({"kind": "consul", "discovery": {"wait_s": 0}}, "registry.discovery.wait_s: must be a finite number"),
    "polls without a pause": ({"kind": "file", "path": "x", "poll_s": 0}, "registry.poll_s: "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_registry_that_is_wrong_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    given, said = REFUSED[case]

    with pytest.raises(ConfigurationError, match=said) as caught:
        load(tmp_path, given)

    assert "\n" not in str(caught.value)


def test_registry_token_that_is_wrong_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^registry\.token: ") as caught:
        load(tmp_path, {"kind": "consul", "token": [TOKEN]})

    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"address": "nonsense"}, "registry.address: must be http"),
        ({"address": "ftp://127.0.0.1"}, "registry.address: must be http"),
        ({"address": "http://127.0.0.1:99999"}, "registry.address: must be http"),
        ({"address": f"http://:{TOKEN}@127.0.0.1"}, "registry.address: must be http"),
        ({"token": f"two {TOKEN}"}, "registry.token: must be one word of ASCII"),
        ({"token": TOKEN, "token_file": "b"}, r"registry.token_file: is given beside registry\.token;"),
        ({"ca_file": "ca.pem"}, r"registry.ca_file: checks no certificate where registry\.address begins with http://"),
    ],
)
def test_registry_that_no_client_can_be_made_of_is_refused_as_the_settings_are_loaded(
    given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=f"^{said}") as caught:
        load(tmp_path, {"kind": "consul", **given})

    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_registry_whose_certificates_cannot_be_read_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    given = {"kind": "consul", "address": "https://127.0.0.1", "ca_file": "missing.pem"}
    container = container_of(load(tmp_path, given).settings)

    with pytest.raises(ConfigurationError, match=r"^registry\.ca_file: 'missing\.pem' cannot be used"):
        container.registry()


@pytest.mark.anyio
@pytest.mark.real_time
@pytest.mark.parametrize(
    ("mode", "complaint"), [(0o644, "is open to others"), (0o620, "is open to others"), (None, "No such file")]
)
async def test_token_file_that_is_open_to_others_or_missing_is_refused_before_anything_is_asked(
    mode: int | None, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    if mode is not None:
        path.write_text(TOKEN)
        path.chmod(mode)
    settings = load(tmp_path, {"kind": "consul", "address": "http://127.0.0.1:1", "token_file": str(path)}).settings

    with pytest.raises(StoreRefusedError, match=rf"^consul: registry\.token_file: .*token: {complaint}") as caught:
        await registry_of(settings).services.instances("asks", index=0, wait_s=0.0)

    assert TOKEN not in str(caught.value)


def test_registry_of_consul_without_its_extra_names_the_setting_and_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sys  # noqa: PLC0415 - only here

    for name in [loaded for loaded in sys.modules if loaded.startswith("holdfast.adapters.consul")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "consul", None)
    container = container_of(load(tmp_path, {"kind": "consul", "address": "unchecked"}).settings)

    with pytest.raises(ConfigurationError, match=r"^registry\.kind: .*holdfast\[consul\]"):
        container.registry()


def test_registration_with_an_id_of_its_own_is_found_by_that() -> None:
    assert RegistrationSettings(**OWN, instance_id="blue").instance().instance_id == "blue"


@pytest.mark.anyio
@pytest.mark.real_time
async def test_doctor_says_that_the_registry_answers(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"kind": "file", "path": str(tmp_path / "registry")})

    diagnosis = await diagnose(loaded, container_of(loaded.settings))

    [check] = [check for check in diagnosis.checks if check.name == "registry"]
    assert (check.passed, check.detail) == (True, "ready")


@pytest.mark.anyio
@pytest.mark.real_time
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"address": "http://127.0.0.1:1"}, "consul: does not answer"),
        (
            {"address": "https://127.0.0.1:1", "ca_file": "missing.pem"},
            "registry.ca_file: 'missing.pem' cannot be used",
        ),
    ],
)
async def test_doctor_says_why_the_registry_cannot_be_asked(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    loaded = load(tmp_path, {"kind": "consul", **given})

    diagnosis = await diagnose(loaded, container_of(loaded.settings))

    [check] = [check for check in diagnosis.checks if check.name == "registry"]
    assert not check.passed
    assert check.detail.startswith(said)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "backends.gpu.base_url: is missing, and so is service"),
        ({"base_url": "http://h/v1", "service": "gpu"}, "backends.gpu.service: is given besides base_url"),
        ({"service": ""}, "backends.gpu.service: "),
        ({"service": "gpu", "service_url": "http://h/v1"}, r"backends.gpu.service_url: must have {address} in it"),
        ({"service": "gpu", "service_url": "ftp://{address}"}, "backends.gpu.service_url: must be like http"),
        ({"service": "gpu", "service_url": "http://me:hunter2@h/v1"}, r"must have {address} in it"),
        ({"service": "gpu", "service_url": "http://{address}:hunter2"}, "backends.gpu.service_url: must be like http"),
        ({"service": "gpu", "servce_url": "x"}, "did you mean 'backends.gpu.service_url'"),
    ],
)
def test_backend_that_is_not_to_be_found_is_refused_in_one_line(
    given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        load_settings(tmp_path, {"backends": {"gpu": {"kind": "openai", **given}}})

    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_backend_of_a_service_is_asked_as_its_url_says_with_the_address_of_the_instance(tmp_path: Path) -> None:
    backends = {"gpu": {"kind": "openai", "service": "llm", "service_url": "https://{address}/api"}}
    settings = load_settings(tmp_path, {"backends": backends, "registry": {"kind": "consul"}}).settings

    discovered = container_of(settings).backends()["gpu"]
    assert isinstance(discovered, Discovered)
    backend = discovered.make(ServiceInstance(service="llm", instance_id="a", host="gpu-1.example", port=9000))

    assert discovered.service == "llm"
    assert backend.guard == settings.guard


@pytest.mark.anyio
@pytest.mark.real_time
async def test_doctor_says_where_a_discovered_backend_is_found_or_that_it_is_nowhere(tmp_path: Path) -> None:
    registry = {"kind": "file", "path": str(tmp_path)}
    backends = {"gpu": {"kind": "openai", "service": "llm"}}
    loaded = load_settings(tmp_path, {"registry": registry, "backends": backends})
    found = ServiceInstance(service="llm", instance_id="a", host="127.0.0.1", port=9000)
    checks = []

    for _ in range(2):
        diagnosis = await diagnose(loaded, container_of(loaded.settings))
        checks.append(next(check for check in diagnosis.checks if check.name == "backend gpu"))
        await registry_of(loaded.settings).services.register(found, ttl_s=30.0, forget_after_s=60.0)

    assert [check.passed for check in checks] == [False, True]
    assert checks[0].detail.startswith("no instance of 'gpu' is known")
    assert checks[1].detail == "service 'llm' at 127.0.0.1:9000"
