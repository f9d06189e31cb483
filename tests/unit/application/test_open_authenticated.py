"""The authenticated service as it is opened from settings, with real keys and files."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from dependency_injector import providers

from holdfast.adapters.identity import Ed25519Signer, Ed25519Verifier, FileTrustList, create_key_file
from holdfast.adapters.memory.trust import MemoryTrustList
from holdfast.adapters.system import SystemClock
from holdfast.application.authenticated_client import AuthenticatedClient
from holdfast.application.authenticated_service import Identity
from holdfast.application.diagnosis import diagnose
from holdfast.application.open_authenticated import open_authenticated_container, open_authenticated_service
from holdfast.application.parameter_settings import TomlParameterSettings
from holdfast.application.settings import BackendSettings, IdentitySettings, ScriptedSettings, Settings
from holdfast.application.settings_sources import LoadedSettings, load_settings
from holdfast.application.wiring import make_container
from holdfast.domain.trust import revoke_trust
from holdfast.ports.application import Check
from holdfast.ports.authentication import Disbelief
from holdfast.ports.did import Did
from holdfast.ports.errors import AuthenticationError, ConfigurationError, KeyFileError, TrustStoreError
from holdfast.ports.events import EnvelopeRefused, HandshakeCompleted
from tests.fakes.events import Listener
from tests.fakes.identity import BODY, STRANGER, Wall, trusted

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

CANNED: dict[str, BackendSettings] = {"canned": ScriptedSettings(kind="scripted", reply="forty-two")}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    create_key_file(tmp_path / "service.key")
    identity = IdentitySettings(
        audience="holdfast.example",
        key_file=tmp_path / "service.key",
        trust_file=tmp_path / "trust.json",
    )
    return Settings(backends=CANNED, identity=identity)


def client_of(
    settings: Settings,
    signer: Ed25519Signer,
    service: Did,
    send: Callable[[bytes], Awaitable[bytes]],
    unix_s: Callable[[], float] = time.time,
) -> AuthenticatedClient:
    assert settings.identity is not None
    trust = MemoryTrustList([trusted(service, "answers")])
    return AuthenticatedClient(
        Identity(signer=signer, verifier=Ed25519Verifier(), trust=trust),
        replace(settings.identity, roles=("answers",)),
        service=service,
        send=send,
        clock=SystemClock(),
        unix_s=unix_s,
        make_bytes=secrets.token_bytes,
    )


async def test_open_authenticated_service_answers_who_is_trusted_until_they_are_revoked(
    settings: Settings, tmp_path: Path
) -> None:
    alice, stranger = Ed25519Signer.generate(), Ed25519Signer.generate()
    trust = FileTrustList(tmp_path / "trust.json")
    await trust.change(lambda _: [trusted(alice.did, "asks")])
    listener = Listener()
    wall = Wall()
    container = make_container(settings, event_sinks=[listener])
    container.unix_s.override(providers.Object(wall.unix_s))
    async with open_authenticated_container(container) as service:
        wall.advance(60.0)
        client = client_of(settings, alice, service.did, service.handle, wall.unix_s)
        answer = await client.ask(BODY)
        session = await client.connect()
        within = await session.ask(BODY)
        with pytest.raises(AuthenticationError):
            await client_of(settings, stranger, service.did, service.handle, wall.unix_s).ask(BODY)
        await trust.change(revoke_trust(alice.did))
        with pytest.raises(AuthenticationError):
            await session.ask(BODY)
        statistics, health = service.statistics(), service.service.health()

    assert (answer.body["text"], within.body["text"]) == ("forty-two", "forty-two")
    assert (health.requests.received, health.requests.answered) == (2, 2)
    assert (statistics.challenged, statistics.begun, statistics.taken) == (1, 1, 2)
    assert statistics.refused[Disbelief.TRUST] == 2
    assert health.events.counts[EnvelopeRefused.name] == 2
    assert HandshakeCompleted(peer=alice.did) in listener.heard


async def test_open_authenticated_service_takes_a_session_at_once_after_the_start(
    settings: Settings, tmp_path: Path
) -> None:
    alice = Ed25519Signer.generate()
    await FileTrustList(tmp_path / "trust.json").change(lambda _: [trusted(alice.did, "asks")])
    async with open_authenticated_service(settings) as service:
        client = client_of(settings, alice, service.did, service.handle)
        with pytest.raises(AuthenticationError):  # it could have been taken before a restart
            await client.ask(BODY)
        answer = await (await client.connect()).ask(BODY)

    assert answer.body["text"] == "forty-two"


async def test_open_authenticated_service_without_a_trust_file_answers_nobody(settings: Settings) -> None:
    async with open_authenticated_service(settings) as service:
        client = client_of(settings, Ed25519Signer.generate(), service.did, service.handle)
        for attempt in (client.ask(BODY), client.connect()):
            with pytest.raises(TrustStoreError):
                await attempt
        assert service.service.health().requests.received == 0


async def test_open_authenticated_service_goes_by_the_telemetry_that_parameters_turn_on(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "parameters.toml").write_text('log_events = true\n[telemetry]\njson_logs = true\nlog_level = "debug"\n')
    parameters = TomlParameterSettings(kind="toml", path=tmp_path / "parameters.toml")
    alice = Ed25519Signer.generate()
    await FileTrustList(tmp_path / "trust.json").change(lambda _: [trusted(alice.did, "asks")])

    async with open_authenticated_service(settings.model_copy(update={"parameters": parameters})) as service:
        client = client_of(settings, alice, service.did, service.handle)
        await (await client.connect()).ask(BODY)

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert any("request_id" in line for line in lines)


async def test_open_authenticated_service_without_identity_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="identity: is not set"):
        async with open_authenticated_service(Settings(backends=CANNED)):
            pytest.fail("it opened")


async def test_open_authenticated_service_key_that_others_can_read_is_refused(settings: Settings) -> None:
    assert settings.identity is not None
    settings.identity.key_file.chmod(0o644)

    with pytest.raises(KeyFileError):
        async with open_authenticated_service(settings):
            pytest.fail("it opened")


def test_load_settings_identity_is_read_and_refused_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text(
        '[identity]\naudience = "a"\nkey_file = "k"\ntrust_file = "t"\nroles = ["asks", "admin"]\n'
    )
    loaded = load_settings(tmp_path).settings.identity

    assert loaded == IdentitySettings(audience="a", key_file=Path("k"), trust_file=Path("t"), roles=("asks", "admin"))
    for wrong, path, nearest in (
        ({"max_skew": 1}, "identity.max_skew", "identity.max_skew_s"),
        ({"session_s": 1}, "identity.session_s", None),
        ({"audience": ""}, "identity.audience", None),
    ):
        with pytest.raises(ConfigurationError) as caught:
            load_settings(tmp_path, {"identity": wrong})
        assert (caught.value.path, caught.value.nearest) == (path, nearest)


async def test_diagnose_identity_that_can_be_used_is_named_and_one_that_cannot_says_why(
    settings: Settings, tmp_path: Path
) -> None:
    async def identity_check() -> Check:
        diagnosis = await diagnose(LoadedSettings(settings=settings, sources={}), make_container(settings))
        (check,) = (check for check in diagnosis.checks if check.name == "identity")
        return check

    without_list = await identity_check()
    await FileTrustList(tmp_path / "trust.json").change(lambda _: [trusted(STRANGER.did, "asks")])
    ready = await identity_check()
    (tmp_path / "service.key").unlink()
    without_key = await identity_check()

    assert (without_list.passed, ready.passed, without_key.passed) == (False, True, False)
    assert "trust.json" in without_list.detail
    assert ready.detail.startswith("did:key:z6Mk")
    assert "service.key" in without_key.detail
