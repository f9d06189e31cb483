"""How the gateway is told whom to let in."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from holdfast.application.gateway_settings import GatewaySettings, gateway_options
from holdfast.application.program import Program
from holdfast.application.settings import Settings
from holdfast.application.settings_sources import LoadedSettings, load_settings
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.gateway import ApiKey, GatewayOptions, is_loopback

LONG = "long-enough-to-be-a-key"


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def options_of(given: Mapping[str, Any]) -> GatewayOptions:
    return gateway_options(GatewaySettings.model_validate(given), max_request_bytes=1000, personas=("critic",))


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "keys"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_options_by_default_are_those_of_the_server_for_this_machine_only() -> None:
    assert options_of({}) == GatewayOptions(personas=("critic",), max_body_bytes=4000)


def test_options_take_what_is_set() -> None:
    given: dict[str, Any] = {
        "port": 0,
        "max_body_bytes": 7,
        "max_body_values": 9,
        "drain_timeout_s": 0,
        "keep_alive_s": 1.5,
    }
    options = options_of(given)

    assert options == GatewayOptions(**given, personas=("critic",))


def test_options_keep_the_digest_of_a_key_and_nothing_else() -> None:
    options = options_of({"api_keys": {"acme": LONG}})

    assert options.keys == (ApiKey(tenant="acme", sha256=digest(LONG)),)
    assert LONG not in repr(options)


def test_options_read_several_keys_of_a_tenant_and_digests_from_a_file(tmp_path: Path) -> None:
    text = f"# rotated in May\n\nacme {LONG}\nacme  {LONG}2\nother sha256:{digest('a').hex()}\n"

    options = options_of({"api_keys_file": key_file(tmp_path, text)})

    assert [(key.tenant, key.sha256) for key in options.keys] == [
        ("acme", digest(LONG)),
        ("acme", digest(f"{LONG}2")),
        ("other", digest("a")),
    ]


@pytest.mark.parametrize("key", [LONG, f"sha256:{digest(LONG).hex()}"])
def test_key_of_two_tenants_is_refused_without_showing_it(key: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'acme' and 'other' have the same key") as refused:
        options_of({"api_keys": {"acme": LONG}, "api_keys_file": key_file(tmp_path, f"other {key}\n")})

    assert refused.value.path == "gateway.api_keys_file"
    assert LONG not in str(refused.value)


@pytest.mark.parametrize("mode", [0o604, 0o606, 0o620, 0o601])
def test_key_file_that_is_open_to_others_is_refused(mode: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is open to others") as caught:
        options_of({"api_keys_file": key_file(tmp_path, f"acme {LONG}", mode)})

    assert caught.value.path == "gateway.api_keys_file"
    assert LONG not in str(caught.value)


def test_key_file_that_a_group_may_read_is_taken_as_orchestrators_mount_it(tmp_path: Path) -> None:
    assert len(options_of({"api_keys_file": key_file(tmp_path, f"acme {LONG}", 0o440)}).keys) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("# none yet\n", "holds no key"),
        ("acme\n", "line 1 must be a tenant and its key"),
        (f"acme {LONG}\nacme two words\n", "line 2 must be a tenant and its key"),
        ("acme short", "must be at least 16 characters"),
        (f"acme sha256:{'0' * 63}", "64 hexadecimal digits"),
        (f"{'a' * 257} {LONG}", "1 to 256 characters"),
        (f"acme {'x' * 1024 * 1024}", "is longer than"),
    ],
)
def test_key_file_that_is_not_understood_is_refused_without_showing_a_key(
    text: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        options_of({"api_keys_file": key_file(tmp_path, text)})

    assert LONG not in str(caught.value)
    assert "short" not in str(caught.value)


def test_key_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = key_file(tmp_path, "")
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigurationError, match="is not UTF-8"):
        options_of({"api_keys_file": path})


def test_key_file_that_is_a_folder_a_fifo_or_missing_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(ConfigurationError, match="no regular file"):
        options_of({"api_keys_file": tmp_path})
    with pytest.raises(ConfigurationError, match="no regular file"):
        options_of({"api_keys_file": tmp_path / "fifo"})
    with pytest.raises(ConfigurationError, match="No such file"):
        options_of({"api_keys_file": tmp_path / "missing"})


def test_key_in_the_settings_that_is_too_short_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError, match="'acme' must be at least 16") as caught:
        options_of({"api_keys": {"acme": "tooshort"}})

    assert caught.value.path == "gateway.api_keys"
    assert "tooshort" not in str(caught.value)


def test_key_in_the_environment_is_shown_by_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_GATEWAY__API_KEYS__ACME", LONG)

    loaded = load_settings(tmp_path)

    assert options_of(loaded.settings.gateway.model_dump()).keys[0].sha256 == digest(LONG)
    assert LONG not in repr(loaded) + str(loaded.settings) + loaded.settings.model_dump_json()


def test_key_of_the_wrong_type_is_refused_without_showing_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(tmp_path, {"gateway": {"api_keys": {"acme": 1234567890123456789}}})

    assert caught.value.path == "gateway.api_keys.acme"
    assert "1234567890" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LocalHost"])
def test_loopback_is_this_machine_only(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org", "localhost.example.org"])  # noqa: S104
def test_loopback_is_nothing_that_others_reach(host: str) -> None:
    assert not is_loopback(host)


def test_program_tells_the_gateway_of_its_personas() -> None:
    given = {"prompts": {"p": "Be brief."}, "personas": {"critic": {"prompt": "p"}}}
    program = Program(LoadedSettings(settings=Settings.model_validate(given), sources={}))

    assert program.gateway_options().personas == ("critic",)
