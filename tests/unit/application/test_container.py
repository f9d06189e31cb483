from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest
from dependency_injector import providers

from holdfast.adapters.memory import MemoryRetriever
from holdfast.application.container import Container
from holdfast.application.settings import (
    ExtractiveSettings,
    GuardSettings,
    RetrievalSettings,
    ScriptedSettings,
    Settings,
)
from holdfast.application.wiring import open_container, open_orchestrator
from holdfast.domain.pool import PoolConfig
from holdfast.domain.retry_policy import RetryPolicy
from holdfast.ports.errors import (
    AttemptTimeoutError,
    BackendAuthenticationError,
    BackendProtocolError,
    BackendRequestError,
    BackendThrottledError,
    BackendUnavailableError,
    ConfigurationError,
    RetrievalError,
)
from holdfast.ports.inference import Completion, Prompt
from holdfast.ports.retrieval import Passage
from holdfast.testing import VirtualClock
from tests.fakes.service import ask

pytestmark = pytest.mark.anyio


class Echo:
    async def complete(self, prompt: Prompt) -> Completion:
        return Completion(text=prompt.messages[-1].content, model="echo-1")


def contained(settings: Settings) -> Container:
    container = Container(settings=providers.Object(settings))
    container.clock.override(providers.Object(VirtualClock()))
    return container


async def test_open_container_default_settings_answer_from_a_retriever_put_in_by_one_line() -> None:
    shelf = MemoryRetriever([Passage(source="tea.md", heading="Steeping", text="Steep tea for ten hours.", score=1.0)])
    container = contained(Settings())
    container.retriever.override(providers.Object(nullcontext(shelf)))

    async with open_container(container) as service:
        reply = await service.submit(ask("How long shall I steep tea?"))

    assert reply.backend == "extractive"
    assert "ten hours" in reply.text
    assert [citation.source for citation in reply.citations] == ["tea.md"]


async def test_open_container_asks_each_provider_while_opening_and_never_after() -> None:
    asked: Counter[str] = Counter()
    container = contained(Settings(backends={"canned": ScriptedSettings(kind="scripted")}))
    for name in ("retriever", "backends"):
        provider = getattr(container, name)
        original = provider()

        def ask_for(name: str = name, original: object = original) -> object:
            asked[name] += 1
            return original

        provider.override(providers.Callable(ask_for))

    async with open_container(container) as service:
        opened = Counter(asked)
        for number in range(3):
            await service.submit(ask(f"question {number}"))

    assert opened == {"retriever": 1, "backends": 1}
    assert asked == opened


async def test_open_container_scripted_backend_replies_after_its_delay() -> None:
    settings = Settings(backends={"canned": ScriptedSettings(kind="scripted", reply="hello", delay_s=3.0)})

    async with open_container(contained(settings)) as service:
        reply = await service.submit(ask("anybody there?"))

    assert (reply.text, reply.backend) == ("hello", "canned")
    assert reply.backend_s == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("unavailable", BackendUnavailableError),
        ("throttled", BackendThrottledError),
        ("protocol", BackendProtocolError),
        ("request", BackendRequestError),
        ("authentication", BackendAuthenticationError),
        ("hang", AttemptTimeoutError),
    ],
)
async def test_open_container_scripted_fault_surfaces_as_the_error_of_its_kind(
    fault: str, error: type[Exception]
) -> None:
    backend = ScriptedSettings.model_validate({"kind": "scripted", "fault": fault})
    guard = GuardSettings(retry=RetryPolicy(max_attempts=1))

    async with open_container(contained(Settings(backends={"drill": backend}, guard=guard))) as service:
        with pytest.raises(error):
            await service.submit(ask("anybody there?"))


async def test_open_container_guard_of_a_backend_replaces_the_common_one() -> None:
    settings = Settings(
        backends={
            "own": ExtractiveSettings(guard=GuardSettings(pool=PoolConfig(max_size=3))),
            "common": ExtractiveSettings(),
        }
    )

    async with open_container(contained(settings)) as service:
        backends = service.health().backends

    assert [(backend.name, backend.pool.max_size) for backend in backends] == [("own", 3), ("common", 10)]


async def test_open_orchestrator_own_backends_take_the_place_of_those_in_the_settings() -> None:
    async with open_orchestrator(Settings(), backends={"echo": Echo()}) as service:
        reply = await service.submit(ask("hello"))
        names = [backend.name for backend in service.health().backends]

    assert (reply.text, names) == ("hello", ["echo"])


async def test_open_orchestrator_without_settings_reads_the_usual_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "holdfast.toml").write_text('[backends.canned]\nkind = "scripted"\nreply = "from the file"\n')
    monkeypatch.chdir(tmp_path)

    async with open_orchestrator() as service:
        assert (await service.submit(ask("hello"))).text == "from the file"


async def test_open_orchestrator_without_any_backend_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"backends: .*at least one"):
        async with open_orchestrator(Settings(), backends={}):
            pytest.fail("opened")


@pytest.mark.real_time
async def test_open_orchestrator_with_a_folder_answers_from_its_documents(tmp_path: Path) -> None:
    (tmp_path / "tea.md").write_text("# Tea\n\n## Steeping\n\nSteep green tea for two minutes.\n")

    async with open_orchestrator(Settings(retrieval=RetrievalSettings(folder=tmp_path))) as service:
        reply = await service.submit(ask("How long to steep green tea?"))

    assert "two minutes" in reply.text
    assert reply.citations[0].source == "tea.md"


@pytest.mark.real_time
async def test_open_orchestrator_with_a_folder_that_is_missing_names_it(tmp_path: Path) -> None:
    settings = Settings(retrieval=RetrievalSettings(folder=tmp_path / "nowhere"))

    with pytest.raises(RetrievalError, match="nowhere"):
        async with open_orchestrator(settings):
            pytest.fail("opened")


async def test_open_container_body_that_raises_surfaces_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_container(contained(Settings())):
            raise KeyError("mine")
