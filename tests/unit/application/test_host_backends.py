"""The Claude agent and models of llama.cpp, chosen by settings and asked along the wired path."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.application.consistency import check_consistency
from holdfast.application.container import Backend, Model
from holdfast.application.diagnosis import diagnose
from holdfast.application.host_settings import ClaudeAgentSettings, LlamaCppSettings
from holdfast.application.settings import Settings
from holdfast.application.settings_sources import LoadedSettings, load_settings
from holdfast.application.wiring import make_container, open_orchestrator
from holdfast.ports.errors import BackendUnavailableError, ConfigurationError, HostMemoryError
from holdfast.ports.events import FellBack, ModelLoaded, ModelUnloaded
from holdfast.ports.inference import Parameters, ResponseFormat
from tests.fakes.claude_cli import StubAgent, install, result, started
from tests.fakes.llama_cpp import ANSWER, MODEL_FILE, StandIn
from tests.fakes.service import ask, ask_anew, assert_nothing_is_held, told

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

ONCE = {"retry": {"max_attempts": 1}}


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    driver = StandIn()
    monkeypatch.setitem(sys.modules, "llama_cpp", driver)
    return driver


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.gguf"
    path.write_bytes(MODEL_FILE)
    return path


def settings_of(**backends: Any) -> Settings:  # noqa: ANN401 - sections as TOML has them
    return Settings.model_validate({"backends": backends})


def agent_of(agent: StubAgent, **more: object) -> dict[str, object]:
    return {"kind": "claude_agent", "cli_path": str(agent.path)} | more


async def test_agent_answers_a_request(tmp_path: Path) -> None:
    agent = install(tmp_path)
    async with open_orchestrator(settings_of(agent=agent_of(agent, model="m"))) as service:
        reply = await service.submit(ask(model=None))
        assert_nothing_is_held(service.health())

    assert (reply.text, reply.backend, reply.model) == ("Because.", "agent", "claude-test-1")
    assert reply.usage.output_tokens == 7
    assert "--model=m" in agent.runs()[0]["argv"]


async def test_agent_that_is_missing_is_a_backend_that_is_down_and_the_next_one_answers(tmp_path: Path) -> None:
    settings = settings_of(
        agent=agent_of(StubAgent(tmp_path / "nowhere"), guard=ONCE), canned={"kind": "scripted", "reply": "canned"}
    )
    async with open_orchestrator(settings) as service:
        reply = await service.submit(ask())
        fallbacks = told(service, FellBack)

    assert (reply.text, reply.backend) == ("canned", "canned")
    assert [(event.failed, event.following) for event in fallbacks] == [("agent", "canned")]


async def test_agent_that_is_missing_and_alone_is_told_as_it_is(tmp_path: Path) -> None:
    async with open_orchestrator(settings_of(agent=agent_of(StubAgent(tmp_path), guard=ONCE))) as service:
        with pytest.raises(BackendUnavailableError, match=r"cli_path: .* is no program"):
            await service.submit(ask())


@pytest.mark.parametrize("is_there", [False, True])
async def test_doctor_says_whether_the_agent_is_there(tmp_path: Path, is_there: bool) -> None:
    agent = install(tmp_path) if is_there else StubAgent(tmp_path)
    settings = settings_of(agent=agent_of(agent))
    diagnosis = await diagnose(LoadedSettings(settings=settings, sources={}), make_container(settings))

    [check] = [check for check in diagnosis.checks if check.name == "backend agent"]
    assert check.passed is is_there
    assert ("cli_path" in check.detail) is not is_there


async def test_agent_is_given_two_minutes_whatever_the_common_guard_says() -> None:
    settings = Settings.model_validate(
        {"guard": {"attempt_timeout_s": 5.0}, "backends": {"agent": {"kind": "claude_agent"}}}
    )
    backend = make_container(settings).backends()["agent"]

    assert isinstance(backend, Backend)
    assert backend.guard.attempt_timeout_s == 120.0


def test_guard_of_ones_own_keeps_the_two_minutes_that_it_does_not_name() -> None:
    settings = settings_of(agent={"kind": "claude_agent", "guard": ONCE})
    chosen = settings.backends["agent"]

    assert isinstance(chosen, ClaudeAgentSettings)
    assert (chosen.guard.attempt_timeout_s, chosen.guard.retry.max_attempts) == (120.0, 1)


async def test_model_is_loaded_when_it_is_asked_and_answers(driver: StandIn, model: Path) -> None:
    settings = settings_of(
        local={"kind": "llama_cpp", "path": str(model), "n_gpu_layers": -1, "threads": 2, "context_tokens": 100}
    )
    async with open_orchestrator(settings) as service:
        loaded_before = len(driver.loaded)
        reply = await service.submit(ask())
        loads = told(service, ModelLoaded)
        assert_nothing_is_held(service.health())

    assert loaded_before == 0
    assert (reply.text, reply.backend, reply.model) == (ANSWER, "local", "small")
    assert [(event.model, event.size_bytes) for event in loads] == [("local", len(MODEL_FILE) + 100 * 128 * 1024)]
    assert (driver.loaded[0].options["n_gpu_layers"], driver.loaded[0].options["n_threads"]) == (-1, 2)


async def test_model_streams_token_by_token(driver: StandIn, model: Path) -> None:
    async with (
        open_orchestrator(settings_of(local={"kind": "llama_cpp", "path": str(model)})) as service,
        service.stream(ask()) as stream,
    ):
        text = "".join([piece async for piece in stream])

    assert text == ANSWER
    assert driver.crimes == []


@pytest.mark.slow
async def test_one_of_two_models_makes_room_for_the_other(driver: StandIn, model: Path) -> None:
    local = {"kind": "llama_cpp", "path": str(model)}
    settings = Settings.model_validate(
        {
            "backends": {"one": local, "other": local},
            "routing": {"strategy": "weighted"},
            "models": {"max_loaded": 1, "settle_timeout_s": 0},  # the stand-in takes no memory that could come back
        }
    )
    async with open_orchestrator(settings) as service:
        for _ in range(30):
            await service.submit(ask_anew())
        swapped = len(told(service, ModelUnloaded))
        health = service.health()

    assert swapped > 0
    assert health.models.loaded == 1
    assert sum(not llama.is_closed for llama in driver.loaded) == 0
    assert driver.crimes == []


async def test_model_that_does_not_fit_into_memory_is_refused_with_the_numbers(driver: StandIn, model: Path) -> None:
    huge = 10**15
    async with open_orchestrator(
        settings_of(local={"kind": "llama_cpp", "path": str(model), "memory_bytes": huge})
    ) as service:
        with pytest.raises(HostMemoryError) as caught:
            await service.submit(ask())

    assert caught.value.needed_bytes >= huge
    assert driver.loaded == []


def test_model_whose_driver_is_missing_is_refused_in_one_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)

    with pytest.raises(ConfigurationError, match=r"^backends\.local\.kind: .*'holdfast\[llama\]'$"):
        make_container(settings_of(local={"kind": "llama_cpp", "path": str(model)})).backends()


def test_model_whose_file_is_missing_is_refused_with_its_setting(driver: StandIn, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^backends\.local\.path: .*is no file with a model in it$"):
        make_container(settings_of(local={"kind": "llama_cpp", "path": str(tmp_path / "none.gguf")})).backends()


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_gpu_layers", -2), ("threads", 0), ("context_tokens", 0), ("memory_bytes", 0), ("modell", "x")],
)
def test_setting_of_a_model_that_is_wrong_is_refused_with_its_path(tmp_path: Path, field: str, value: object) -> None:
    section = {"kind": "llama_cpp", "path": "small.gguf", field: value}

    with pytest.raises(ConfigurationError) as caught:
        load_settings(tmp_path, {"backends": {"local": section}})

    assert caught.value.path == f"backends.local.{field}"


def test_model_that_cannot_be_loaded_within_one_attempt_is_a_contradiction() -> None:
    section = {"kind": "llama_cpp", "path": "small.gguf", "guard": {"attempt_timeout_s": 1.0}}

    with pytest.raises(ConfigurationError, match=r"models\.load_timeout_s") as caught:
        check_consistency(settings_of(local=section))

    assert caught.value.path == "backends.local.guard.attempt_timeout_s"


def test_every_setting_of_a_model_reaches_its_loader(driver: StandIn, model: Path) -> None:
    chosen = LlamaCppSettings(kind="llama_cpp", path=model, memory_bytes=12_345)
    backend = make_container(Settings(backends={"local": chosen})).backends()["local"]

    assert isinstance(backend, Model)
    assert (backend.loader.name, backend.loader.size_bytes) == ("local", 12_345)
    assert backend.guard is chosen.guard


async def test_json_of_the_agent_goes_out_without_its_fences(tmp_path: Path) -> None:
    agent = install(tmp_path, started(), result('```json\n{"answer": 42}\n```'))
    async with open_orchestrator(settings_of(agent=agent_of(agent))) as service:
        reply = await service.submit(ask(parameters=Parameters(response_format=ResponseFormat.JSON)))

    assert reply.text == '{"answer": 42}'
