"""Backends over HTTP, chosen by settings and asked through `Orchestrator.submit`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from anyio.abc import SocketStream
from dependency_injector import providers

from holdfast import Settings
from holdfast.adapters.inference.http import HttpBackendProvider
from holdfast.application.container import Container
from holdfast.application.http_settings import OpenAISettings, make_http_provider
from holdfast.application.program import answer_fingerprint
from holdfast.application.settings_sources import load_settings
from holdfast.application.wiring import open_orchestrator
from holdfast.ports.errors import (
    BackendAuthenticationError,
    BackendRequestError,
    BackendTimeoutError,
    ConfigurationError,
)
from holdfast.ports.events import CredentialsRefused, FellBack
from tests.fakes.chat_server import TEXT, answer_in_kind
from tests.fakes.http_server import Asked, json_answer, serving
from tests.fakes.service import ask, assert_nothing_is_held, told

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

KEY = "sk-very-secret"
ADDRESS = "http://127.0.0.1:8080/v1"


def loaded(folder: Path, **backend: Any) -> Settings:  # noqa: ANN401 - settings are JSON
    return load_settings(folder, {"backends": {"b": {"kind": "openai", "base_url": ADDRESS} | backend}}).settings


def settings_of(url: str, **more: Any) -> Settings:  # noqa: ANN401 - as above
    once = {"retry": {"max_attempts": 1}}
    return Settings.model_validate({"backends": {"b": {"kind": "openai", "base_url": url} | more}, "guard": once})


@pytest.mark.parametrize(
    ("kind", "more", "path", "key_header"),
    [
        ("openai", {}, "/v1/chat/completions", ("authorization", f"Bearer {KEY}")),
        ("anthropic", {"model": "claude"}, "/v1/messages", ("x-api-key", KEY)),
    ],
)
async def test_submit_asks_the_server_that_is_set_with_its_key(
    kind: str, more: Mapping[str, str], path: str, key_header: tuple[str, str]
) -> None:
    async with serving(answer_in_kind) as server:
        settings = settings_of(server.url, kind=kind, api_key=KEY, **more)
        async with open_orchestrator(settings) as service:
            reply = await service.submit(ask())
            health = service.health()

    header, value = key_header
    assert (reply.text, reply.model, reply.backend) == (TEXT, "fake-1", "b")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (7, 3)
    assert [asked.path for asked in server.asked] == [path]
    assert server.asked[0].headers[header] == value
    assert server.asked[0].headers["idempotency-key"]
    assert_nothing_is_held(health)


async def test_stream_comes_through_the_whole_path_and_the_connection_is_kept() -> None:
    async with serving(answer_in_kind) as server, open_orchestrator(settings_of(server.url)) as service:
        for number in range(3):
            async with service.stream(ask(f"question {number}")) as stream:
                pieces = [piece async for piece in stream]
            assert "".join(pieces) == TEXT
            assert (await stream.reply()).usage.output_tokens == 3

        assert server.connections == 1


async def test_open_connections_are_closed_with_the_service() -> None:
    async with serving(answer_in_kind) as server:
        async with open_orchestrator(settings_of(server.url)) as service:
            await service.submit(ask())
            assert server.open_connections == 1
        await server.wait_left()


async def test_submit_key_that_is_refused_fails_at_once_and_rings_the_alarm() -> None:
    async def refuse(_: Asked, stream: SocketStream) -> None:
        await stream.send(json_answer({"error": {"message": f"bad key {KEY}"}}, 401))

    async with serving(refuse) as server:
        settings = Settings.model_validate({"backends": {"b": {"kind": "openai", "base_url": server.url}}})
        async with open_orchestrator(settings) as service:
            with pytest.raises(BackendAuthenticationError) as caught:
                await service.submit(ask())
            alarms = told(service, CredentialsRefused)

    assert len(server.asked) == 1
    assert alarms == [CredentialsRefused(backend="b")]
    assert KEY not in str(caught.value)


async def test_submit_mistakes_of_callers_never_open_the_breaker() -> None:
    async def refuse(_: Asked, stream: SocketStream) -> None:
        await stream.send(json_answer({"error": {"type": "invalid_request_error"}}, 400))

    async with serving(refuse) as server, open_orchestrator(settings_of(server.url)) as service:
        for number in range(30):
            with pytest.raises(BackendRequestError):
                await service.submit(ask(f"question {number}"))
        breaker = service.health().backends[0].breaker

    assert (breaker.failed, breaker.ignored) == (0, 30)
    assert len(server.asked) == 30


async def test_submit_to_a_server_that_is_gone_falls_back_to_the_next() -> None:
    async with serving(answer_in_kind) as server:
        backends = {
            "gone": {"kind": "openai", "base_url": "http://127.0.0.1:1/v1"},
            "there": {"kind": "openai", "base_url": server.url},
        }
        async with open_orchestrator(Settings.model_validate({"backends": backends})) as service:
            reply = await service.submit(ask())
            events = told(service, FellBack)

    assert reply.backend == "there"
    assert events == [FellBack(failed="gone", following="there", error="BackendUnavailableError")]


async def test_submit_time_that_the_server_may_take_is_as_set() -> None:
    async def never(_: Asked, __: SocketStream) -> None:
        return

    times = {"connect_timeout_s": 0.05, "first_byte_timeout_s": 0.05}
    async with serving(never) as server, open_orchestrator(settings_of(server.url, http=times)) as service:
        with pytest.raises(BackendTimeoutError) as caught:
            await service.submit(ask())

    assert (caught.value.phase, caught.value.timeout_s) == ("first byte", 0.05)


@pytest.mark.parametrize("always_streams", [True, False])
async def test_submit_has_its_answer_streamed_unless_that_is_turned_off(always_streams: bool) -> None:
    async with serving(answer_in_kind) as server:
        async with open_orchestrator(settings_of(server.url, always_streams=always_streams)) as service:
            reply = await service.submit(ask())

        assert ("stream" in server.asked[0].document) is always_streams
    assert (reply.text, reply.usage.output_tokens) == (TEXT, 3)


async def test_only_backend_is_used_as_if_there_were_no_others() -> None:
    async with serving(answer_in_kind) as server:
        backends = {"a": {"kind": "scripted"}, "b": {"kind": "openai", "base_url": server.url}}
        settings = Settings.model_validate({"backends": backends, "only_backend": "b"})
        async with open_orchestrator(settings) as service:
            reply = await service.submit(ask())
            names = [backend.name for backend in service.health().backends]

    assert reply.backend == "b"
    assert names == ["b"]


async def test_only_backend_that_there_is_not_is_refused() -> None:
    settings = Settings(only_backend="opena")

    said = r"^only_backend: 'opena' is none of the backends: extractive; choose one of these, or say in backends\.opena"
    with pytest.raises(ConfigurationError, match=said):
        async with open_orchestrator(settings):
            pass


@pytest.mark.parametrize(
    ("backend", "problem"),
    [
        ({"base_url": "ftp://host"}, "backends.b.base_url: must be like http://"),
        ({"base_url": "http://me:hunter2@host"}, "backends.b.base_url: must hold no name and no password"),
        ({"api_key": ""}, "backends.b.api_key: is no key"),
        ({"api_key": KEY, "api_key_file": "x"}, "backends.b.api_key_file: is given besides api_key"),
        ({"http": {"idle_timeout_s": 0}}, "backends.b.http.idle_timeout_s: must be a finite number above 0"),
        (
            {"http": {"connect_timeout_s": 90}},
            "backends.b.http.connect_timeout_s: must be at most backends.b.http.first_byte_timeout_s, 60.0",
        ),
        ({"http": {"idle": 1}}, "did you mean 'backends.b.http.idle_timeout_s'"),
        ({"modell": "m"}, "did you mean 'backends.b.model'"),
        ({"max_tokens": 0}, "backends.b.max_tokens: "),
        ({"model": ""}, "backends.b.model: "),
        ({"kind": "anthropic"}, "backends.b.model: is missing, and has no default"),
        ({"kind": "opena"}, "backends.b.kind: must be 'extractive' or "),
    ],
)
def test_setting_that_is_wrong_is_refused_in_one_line(tmp_path: Path, backend: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, **backend)

    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", [12345678, ["12345678"], {"12345678": 1}, "12345678\n"])
def test_key_that_is_none_is_refused_without_being_shown(tmp_path: Path, key: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^backends\.b\.api_key") as caught:
        loaded(tmp_path, api_key=key)

    assert "12345678" not in str(caught.value)


def test_key_is_in_no_text_of_the_settings_and_of_what_is_made_of_them(tmp_path: Path) -> None:
    settings = loaded(tmp_path, api_key=KEY)
    container = Container(settings=providers.Object(settings))

    texts = [
        repr(settings),
        str(settings),
        json.dumps(settings.model_dump(mode="json")),
        answer_fingerprint(settings),
        repr(container.backends()),
        repr(vars(settings.backends["b"])),
    ]

    assert [text for text in texts if KEY in text] == []


def test_key_file_that_others_may_read_is_refused_with_the_path_of_the_setting(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o644)
    settings = loaded(tmp_path, api_key_file=str(file))

    with pytest.raises(ConfigurationError, match=r"^backends\.b\.api_key_file: .*chmod 600") as caught:
        Container(settings=providers.Object(settings)).backends()

    assert KEY not in str(caught.value)


async def test_key_file_is_read_when_the_service_is_opened(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    file.chmod(0o600)
    async with (
        serving(answer_in_kind) as server,
        open_orchestrator(settings_of(server.url, api_key_file=file)) as service,
    ):
        await service.submit(ask())

    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"


def test_answers_depend_on_server_and_model_and_not_on_keys_and_times(tmp_path: Path) -> None:
    plain = answer_fingerprint(loaded(tmp_path))

    assert answer_fingerprint(loaded(tmp_path, api_key=KEY, http={"idle_timeout_s": 1}, always_streams=False)) == plain
    assert answer_fingerprint(loaded(tmp_path, model="m")) != plain
    assert answer_fingerprint(loaded(tmp_path, base_url="http://other")) != plain


def test_backend_without_a_driver_is_refused_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.setitem(sys.modules, "httpx2", None)

    with pytest.raises(ConfigurationError, match=r"^backends\.b\.kind: .*pip install 'holdfast\[openai\]'"):
        make_http_provider("b", OpenAISettings(kind="openai", base_url=ADDRESS))


def test_backend_with_one_of_the_drivers_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)

    assert isinstance(make_http_provider("b", OpenAISettings(kind="openai", base_url=ADDRESS)), HttpBackendProvider)
