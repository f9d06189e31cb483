from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import pytest
from dependency_injector import providers

from holdfast.adapters.memory.host_memory import FixedHostMemory
from holdfast.adapters.sqlite.sessions import SqliteSessions
from holdfast.adapters.system.clock import SystemClock
from holdfast.application.container import Backend, Container, Discovered, Model, Registry
from holdfast.application.diagnosis import diagnose
from holdfast.application.registry_settings import FileRegistrySettings
from holdfast.application.settings import RetrievalSettings, SessionSettings, Settings
from holdfast.application.settings_sources import LoadedSettings
from holdfast.application.shared_settings import RedisSettings, SqliteSharedSettings
from holdfast.domain.host_guard import HostGuardConfig
from holdfast.ports.application import Check
from holdfast.ports.errors import BackendUnavailableError, StoreRefusedError
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.registry import ServiceInstance
from tests.fakes.model import FakeLoader
from tests.fakes.registry import FlakyRegistry, instance

pytestmark = pytest.mark.anyio


class Unreachable:
    """A provider whose backend cannot be made."""

    resettable = False

    async def create(self) -> InferenceBackend:
        raise BackendUnavailableError("no route to host", backend="far")

    async def validate(self, resource: InferenceBackend) -> bool:
        return False

    async def reset(self, resource: InferenceBackend) -> None: ...

    async def close(self, resource: InferenceBackend) -> None: ...


class PermittedRegistry(FlakyRegistry):
    """A registry that lets this process read one service only."""

    def __init__(self, permitted: str) -> None:
        super().__init__()
        self._permitted = permitted

    async def instances(
        self, service: str, *, index: int, wait_s: float
    ) -> tuple[int | None, tuple[ServiceInstance, ...]]:
        if service != self._permitted:
            raise StoreRefusedError("may not be read", store="test")
        return await super().instances(service, index=index, wait_s=wait_s)


KEY = "0123456789abcdef0"


def unused(_: ServiceInstance) -> Backend:
    raise AssertionError("the doctor opens no instance")


def loaded(settings: Settings, sources: dict[str, str] | None = None) -> tuple[LoadedSettings, Container]:
    return LoadedSettings(settings=settings, sources=sources or {}), Container(settings=providers.Object(settings))


async def test_diagnose_tells_each_setting_with_its_source() -> None:
    diagnosis = await diagnose(*loaded(Settings(timeout_s=7.0), {"timeout_s": "environment"}))

    told = {setting.path: (setting.value, setting.source) for setting in diagnosis.settings}
    assert told["timeout_s"] == ("7.0", "environment")
    assert told["guard.breaker.failure_ratio"] == ("0.5", "default")
    assert list(told) == sorted(told)


async def test_diagnose_defaults_pass_and_say_what_is_left_out() -> None:
    diagnosis = await diagnose(*loaded(Settings()))

    assert [(check.name, check.passed) for check in diagnosis.checks] == [
        ("backend extractive", True),
        ("retriever", True),
        ("sessions", True),
    ]
    assert "retrieval.folder is not set" in diagnosis.checks[1].detail
    assert diagnosis.checks[2].detail == "ready: 0 in memory"


async def test_diagnose_backend_is_not_asked_and_not_said_to_be_ready() -> None:
    nobody = {"x": {"kind": "openai", "base_url": "http://127.0.0.1:1/v1"}}

    diagnosis = await diagnose(*loaded(Settings.model_validate({"backends": nobody})))

    assert (diagnosis.checks[0].passed, diagnosis.checks[0].detail) == (True, "set up; not asked, which may cost")


async def test_diagnose_backend_out_of_reach_is_told_and_the_others_are_still_tried() -> None:
    settings, container = loaded(Settings())
    guard = settings.settings.guard
    container.backends.override(providers.Object({"extractive": Backend(provider=Unreachable(), guard=guard)}))

    diagnosis = await diagnose(settings, container)

    assert [(check.name, check.passed) for check in diagnosis.checks] == [
        ("backend extractive", False),
        ("retriever", True),
        ("sessions", True),
    ]
    assert "no route to host" in diagnosis.checks[0].detail


@pytest.mark.real_time
async def test_diagnose_documents_that_can_be_read_are_ready(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Title\n\nHoldfast holds fast.\n")

    diagnosis = await diagnose(*loaded(Settings(retrieval=RetrievalSettings(folder=tmp_path))))

    assert (diagnosis.checks[1].passed, diagnosis.checks[1].detail) == (True, "ready")


@pytest.mark.real_time
async def test_diagnose_documents_out_of_reach_are_told_with_their_path(tmp_path: Path) -> None:
    settings = Settings(retrieval=RetrievalSettings(folder=tmp_path / "nowhere"))

    diagnosis = await diagnose(*loaded(settings))

    assert not diagnosis.checks[1].passed
    assert "nowhere" in diagnosis.checks[1].detail


@pytest.mark.real_time
async def test_diagnose_database_of_sessions_is_opened_or_told_with_its_path(tmp_path: Path) -> None:
    async with SqliteSessions(tmp_path / "sessions.sqlite", clock=SystemClock()):
        pass
    (tmp_path / "notes.txt").write_text("not a database\n" * 100)
    ready = Settings(sessions=SessionSettings(database=tmp_path / "sessions.sqlite"))
    wrong = Settings(sessions=SessionSettings(database=tmp_path / "notes.txt"))

    checks = [(await diagnose(*loaded(settings))).checks[2] for settings in (ready, wrong)]

    assert [check.passed for check in checks] == [True, False]
    assert checks[0].detail == "ready: 0 in a database"
    assert "notes.txt" in checks[1].detail


def with_files_in(folder: Path, documents: Path) -> Settings:
    return Settings(
        sessions=SessionSettings(database=folder / "sessions.sqlite"),
        shared=SqliteSharedSettings(kind="sqlite", database=folder / "shared.sqlite"),
        retrieval=RetrievalSettings(folder=documents, index=folder / "index.sqlite"),
        registry=FileRegistrySettings(kind="file", path=folder / "registry"),
    )


def names_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.real_time
async def test_diagnose_files_that_are_missing_are_told_and_not_made(tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "a.md").write_text("# Title\n\nHoldfast holds fast.\n")
    folder = tmp_path / "new" / "folder"

    diagnosis = await diagnose(*loaded(with_files_in(folder, documents)))

    details = {check.name: check.detail for check in diagnosis.checks if check.passed}
    assert details["sessions"] == f"{folder / 'sessions.sqlite'} will be made when it is needed"
    assert details["shared"] == f"{folder / 'shared.sqlite'} will be made when it is needed"
    assert details["retriever"] == f"ready; {folder / 'index.sqlite'} will be made when it is needed"
    assert details["registry"] == "ready"
    assert names_below(tmp_path) == ["a.md", "documents"]


@pytest.mark.real_time
async def test_diagnose_files_that_could_not_be_made_are_told_with_their_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder")

    diagnosis = await diagnose(*loaded(with_files_in(tmp_path / "file" / "folder", tmp_path)))

    failed = {check.name: check.detail for check in diagnosis.checks if not check.passed}
    assert {name: detail.partition(":")[0] for name, detail in failed.items()} == {
        "retriever": "retrieval.index",
        "sessions": "sessions.database",
        "shared": "shared.database",
        "registry": "file registry",
    }
    assert failed["sessions"].endswith(
        f"cannot be made: {str(tmp_path / 'file')!r} is no folder that may be written to"
    )


@pytest.mark.real_time
async def test_diagnose_file_in_a_folder_that_may_not_be_written_to_is_told_with_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # whoever runs the tests may be allowed everything
    settings = Settings(sessions=SessionSettings(database=tmp_path / "sessions.sqlite"))

    check = (await diagnose(*loaded(settings))).checks[2]

    assert not check.passed
    assert check.detail.startswith("sessions.database: ")
    assert check.detail.endswith(f"cannot be made: {str(tmp_path)!r} is no folder that may be written to")


@pytest.mark.real_time
async def test_diagnose_file_that_cannot_be_looked_at_is_told_with_its_setting(tmp_path: Path) -> None:
    settings = Settings(sessions=SessionSettings(database=tmp_path / ("x" * 300)))

    check = (await diagnose(*loaded(settings))).checks[2]

    assert not check.passed
    assert check.detail.startswith("sessions.database: ")
    assert check.detail.endswith("cannot be looked at: File name too long")


@pytest.mark.parametrize(
    ("share", "detail"),
    [(("sessions",), "kept in the store that is shared; see there"), (("breakers",), "ready: 0 in memory")],
)
async def test_diagnose_sessions_that_processes_share_are_not_said_to_be_in_memory(
    share: tuple[Literal["sessions", "breakers"], ...], detail: str
) -> None:
    settings, container = loaded(
        Settings(shared=RedisSettings(kind="redis", url="redis://127.0.0.1:6379", share=share))
    )
    container.shared_stores.override(providers.Object(nullcontext()))

    diagnosis = await diagnose(settings, container)

    assert [check.detail for check in diagnosis.checks if check.name == "sessions"] == [detail]


@pytest.mark.parametrize(
    ("free_bytes", "passed", "detail"),
    [
        (100, True, "not loaded: a model of 100 bytes, which fits"),
        (99, False, "model 'local' needs 100 bytes and 99 are free"),
        (None, True, "not loaded: a model of 100 bytes, and nothing tells whether they fit"),
    ],
)
async def test_diagnose_backend_that_has_to_be_loaded_tells_whether_it_fits_and_loads_nothing(
    free_bytes: int | None, passed: bool, detail: str
) -> None:
    settings, container = loaded(Settings(host_guard=HostGuardConfig(reserve_bytes=0)))
    loader = FakeLoader("local", size_bytes=100)
    container.backends.override(providers.Object({"extractive": Model(loader=loader, guard=settings.settings.guard)}))
    container.host_memory.override(providers.Object(FixedHostMemory(free_bytes)))

    diagnosis = await diagnose(settings, container)

    assert diagnosis.checks[0].passed is passed
    assert detail in diagnosis.checks[0].detail
    assert diagnosis.available_memory_bytes == free_bytes
    assert loader.attempts == 0


@pytest.mark.parametrize("own", [None, instance(1, service="own")])
@pytest.mark.parametrize("follows", [True, False])
async def test_diagnose_asks_the_registry_only_for_a_service_that_this_process_has_to_do_with(
    own: ServiceInstance | None, *, follows: bool
) -> None:
    used = "asks" if follows else "holdfast" if own is None else own.service
    registry = PermittedRegistry(used)
    await registry.register(instance(1), ttl_s=60.0, forget_after_s=60.0)
    diagnosed, container = loaded(Settings.model_validate({"registry": {"kind": "file", "path": "unused"}}))
    container.registry.override(providers.Object(Registry(services=registry, instance=own)))
    if follows:
        backends = {"extractive": Discovered(service="asks", make=unused)}
        container.backends.override(providers.Object(backends))

    diagnosis = await diagnose(diagnosed, container)

    assert [check.passed for check in diagnosis.checks if check.name in {"registry", "backend extractive"}] == [
        True
    ] * 2


async def test_diagnose_keys_of_the_gateway_are_read_and_not_shown_or_told_with_their_setting(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"acme {KEY}\n")
    keys.chmod(0o600)

    good = await diagnose(*loaded(Settings.model_validate({"gateway": {"api_keys_file": keys}})))
    missing = await diagnose(*loaded(Settings.model_validate({"gateway": {"api_keys_file": tmp_path / "none"}})))
    short = await diagnose(*loaded(Settings.model_validate({"gateway": {"api_keys": {"acme": "short"}}})))

    assert good.checks[-1] == Check(name="gateway", passed=True, detail="set up; not started; keys: 1")
    assert KEY not in str(good)
    assert not missing.checks[-1].passed
    assert missing.checks[-1].detail.startswith("gateway.api_keys_file: ")
    assert not short.checks[-1].passed
    assert short.checks[-1].detail.startswith("gateway.api_keys: ")
