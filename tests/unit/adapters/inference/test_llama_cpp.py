"""The adapter of llama.cpp over a stand-in for its driver, which has to be built from source and may be missing."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio.to_thread import run_sync

from holdfast.adapters.inference.llama_cpp import LlamaCppBackend, LlamaCppOptions, llama_cpp_loader, require_llama_cpp
from holdfast.ports.errors import BackendRequestError, BackendUnavailableError, ConfigurationError
from holdfast.ports.inference import (
    FinishReason,
    Message,
    Parameters,
    Prompt,
    ResponseFormat,
    Role,
    Tool,
    ToolCall,
    ToolChoice,
    Usage,
)
from holdfast.ports.model import ModelLoader
from tests.fakes.llama_cpp import ANSWER, MODEL_FILE, StandIn

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

QUESTION = Message(role=Role.USER, content="Why?")
PROMPT = Prompt(messages=(QUESTION,))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    driver = StandIn()
    monkeypatch.setitem(sys.modules, "llama_cpp", driver)
    return driver


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny-model.gguf"
    path.write_bytes(MODEL_FILE)
    return path


@pytest.fixture
def loader(driver: StandIn, path: Path) -> ModelLoader:
    return llama_cpp_loader("local", LlamaCppOptions(path=path))


async def loaded(loader: ModelLoader) -> LlamaCppBackend:
    backend = await loader.load()
    assert isinstance(backend, LlamaCppBackend)
    return backend


async def computing(driver: StandIn) -> None:
    """Wait until a token is being made."""
    while not driver.loaded[0].computing:  # noqa: ASYNC110 - a thread computes, and sets no event
        await anyio.sleep(0.001)


async def test_complete_gives_text_model_usage_and_why_it_ended(loader: ModelLoader) -> None:
    completion = await (await loaded(loader)).complete(PROMPT)

    assert (completion.text, completion.model) == (ANSWER, "tiny-model")
    assert completion.usage == Usage(input_tokens=len("Why?"), output_tokens=len(ANSWER))
    assert completion.finish_reason is FinishReason.STOP


@pytest.mark.parametrize(
    ("ending", "reason"), [("length", FinishReason.LENGTH), ("tool_calls", None), ("whatever comes", None)]
)
async def test_complete_that_ends_otherwise_says_so(
    driver: StandIn, loader: ModelLoader, ending: str, reason: FinishReason | None
) -> None:
    driver.ending = ending

    assert (await (await loaded(loader)).complete(PROMPT)).finish_reason is reason


async def test_stream_hands_over_each_token_before_the_next_is_made(driver: StandIn, loader: ModelLoader) -> None:
    backend = await loaded(loader)
    pieces: list[str] = []

    async def deliver(piece: str) -> None:
        pieces.append(piece)
        await anyio.lowlevel.checkpoint()

    completion = await backend.stream(PROMPT, deliver)

    assert pieces == list(ANSWER)
    assert completion.text == ANSWER
    assert driver.crimes == []


async def test_load_gives_the_driver_what_the_options_say(driver: StandIn, path: Path) -> None:
    options = LlamaCppOptions(path=path, n_gpu_layers=7, threads=3, context_tokens=512)
    await llama_cpp_loader("local", options).load()

    [llama] = driver.loaded
    assert llama.options == {
        "model_path": str(path),
        "n_gpu_layers": 7,
        "n_threads": 3,
        "n_threads_batch": 3,
        "n_ctx": 512,
        "verbose": False,
    }


async def test_load_of_every_layer_to_the_gpu_is_what_the_driver_calls_minus_one(driver: StandIn, path: Path) -> None:
    await llama_cpp_loader("local", LlamaCppOptions(path=path, n_gpu_layers=None)).load()

    assert driver.loaded[0].options["n_gpu_layers"] == -1


async def test_size_is_that_of_the_file_and_of_the_context(driver: StandIn, path: Path) -> None:
    loader = llama_cpp_loader("local", LlamaCppOptions(path=path, context_tokens=10))

    assert loader.size_bytes == len(MODEL_FILE) + 10 * 128 * 1024


async def test_size_that_is_given_is_taken(driver: StandIn, path: Path) -> None:
    assert llama_cpp_loader("local", LlamaCppOptions(path=path, memory_bytes=5)).size_bytes == 5


async def test_parameters_that_are_given_are_handed_on_and_no_others(driver: StandIn, loader: ModelLoader) -> None:
    backend = await loaded(loader)
    parameters = Parameters(temperature=0.0, top_p=0.5, max_tokens=9, seed=0, stop=("x", "y"))
    await backend.complete(replace(PROMPT, parameters=parameters))
    await backend.complete(PROMPT)

    told = [{"role": "user", "content": "Why?"}]
    assert driver.loaded[0].asked == [
        {"messages": told, "temperature": 0.0, "top_p": 0.5, "max_tokens": 9, "seed": 0, "stop": ["x", "y"]},
        {"messages": told},
    ]


@pytest.mark.parametrize(
    ("schema", "asked"),
    [(None, {"type": "json_object"}), ('{"type": "object"}', {"type": "json_object", "schema": {"type": "object"}})],
)
async def test_json_is_asked_for_with_its_schema_if_there_is_one(
    driver: StandIn, loader: ModelLoader, schema: str | None, asked: object
) -> None:
    parameters = Parameters(response_format=ResponseFormat.JSON, json_schema=schema)

    completion = await (await loaded(loader)).complete(replace(PROMPT, parameters=parameters))

    assert json.loads(completion.text) == {"answer": ANSWER}
    assert driver.loaded[0].asked[0]["response_format"] == asked


@pytest.mark.parametrize("schema", ["no JSON", "[" * 100_000])
async def test_schema_that_is_no_json_is_the_callers_mistake(loader: ModelLoader, schema: str) -> None:
    parameters = Parameters(response_format=ResponseFormat.JSON, json_schema=schema)

    with pytest.raises(BackendRequestError, match="no JSON"):
        await (await loaded(loader)).complete(replace(PROMPT, parameters=parameters))


async def test_instructions_from_several_places_are_told_as_one_and_in_front(
    driver: StandIn, loader: ModelLoader
) -> None:
    messages = (
        Message(role=Role.SYSTEM, content="Be brief."),
        QUESTION,
        Message(role=Role.ASSISTANT, content="Because."),
        Message(role=Role.SYSTEM, content="Be kind."),
        QUESTION,
    )
    await (await loaded(loader)).complete(Prompt(messages=messages))

    assert driver.loaded[0].asked[0]["messages"] == [
        {"role": "system", "content": "Be brief.\n\nBe kind."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Because."},
        {"role": "user", "content": "Why?"},
    ]


@pytest.mark.parametrize(
    "prompt",
    [
        replace(PROMPT, parameters=Parameters(tools=(Tool(name="f"),), tool_choice=ToolChoice.REQUIRED)),
        Prompt(messages=(QUESTION, Message(role=Role.TOOL, content="42", tool_call_id="1"))),
        Prompt(
            messages=(
                Message(role=Role.ASSISTANT, content="", tool_calls=(ToolCall(call_id="1", name="f", arguments="{}"),)),
                QUESTION,
            )
        ),
    ],
    ids=["required", "result", "call"],
)
async def test_calls_of_tools_are_the_callers_mistake(driver: StandIn, loader: ModelLoader, prompt: Prompt) -> None:
    with pytest.raises(BackendRequestError, match="calls no tools"):
        await (await loaded(loader)).complete(prompt)

    assert driver.loaded[0].asked == []


async def test_tools_that_may_be_left_alone_are_left_alone(loader: ModelLoader) -> None:
    parameters = Parameters(tools=(Tool(name="f"),), tool_choice=ToolChoice.AUTO)

    assert (await (await loaded(loader)).complete(replace(PROMPT, parameters=parameters))).text == ANSWER


async def test_prompt_that_does_not_fit_into_the_context_is_the_callers_mistake(driver: StandIn, path: Path) -> None:
    loader = llama_cpp_loader("local", LlamaCppOptions(path=path, context_tokens=3))

    with pytest.raises(BackendRequestError, match=r"'local'.*exceed context window of 3"):
        await (await loaded(loader)).complete(PROMPT)


async def test_computing_that_fails_is_a_failure_of_the_backend_and_the_next_call_begins_anew(
    driver: StandIn, loader: ModelLoader
) -> None:
    backend = await loaded(loader)
    driver.fault = RuntimeError("llama_decode returned 1")
    with pytest.raises(BackendUnavailableError, match="RuntimeError") as caught:
        await backend.complete(PROMPT)
    driver.fault = None

    assert isinstance(caught.value.__cause__, RuntimeError)
    assert driver.loaded[0].resets == 1
    assert (await backend.complete(PROMPT)).text == ANSWER


async def test_calls_at_once_are_answered_one_after_the_other(driver: StandIn, loader: ModelLoader) -> None:
    driver.pause_s = 0.001
    backend = await loaded(loader)
    answers: list[str] = []

    async def ask() -> None:
        answers.append((await backend.complete(PROMPT)).text)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)

    assert answers == [ANSWER] * 3
    assert driver.crimes == []


async def test_call_that_is_cancelled_stops_in_the_midst_of_a_token_and_forgets_what_was_computed(
    driver: StandIn, loader: ModelLoader
) -> None:
    driver.pause_s = 60.0
    backend = await loaded(loader)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(backend.complete, PROMPT)
        await computing(driver)
        tasks.cancel_scope.cancel()
    driver.pause_s = 0.0

    assert driver.loaded[0].resets == 1
    assert (await backend.complete(PROMPT)).text == ANSWER
    assert driver.crimes == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("times", [1, 3])
async def test_call_that_asyncio_cancels_stops_in_the_midst_of_a_token_and_the_next_one_is_answered(
    driver: StandIn, loader: ModelLoader, times: int
) -> None:
    driver.pause_s = 60.0
    backend = await loaded(loader)
    asked = asyncio.get_running_loop().create_task(backend.complete(PROMPT))
    await computing(driver)
    for _ in range(times):
        asked.cancel()  # as `asyncio.timeout` does
        await anyio.lowlevel.checkpoint()
    with pytest.raises(asyncio.CancelledError):
        await asked
    driver.pause_s = 0.0

    assert driver.loaded[0].resets == 1
    assert (await backend.complete(PROMPT)).text == ANSWER
    assert driver.crimes == []


async def test_call_that_is_cancelled_while_another_computes_leaves_the_line(
    driver: StandIn, loader: ModelLoader
) -> None:
    driver.pause_s = 60.0
    backend = await loaded(loader)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(backend.complete, PROMPT)
        await computing(driver)
        with anyio.move_on_after(0.02) as scope:
            await backend.complete(PROMPT)
        tasks.cancel_scope.cancel()

    assert scope.cancelled_caught
    assert len(driver.loaded[0].asked) == 1


async def test_unload_closes_the_model_and_later_calls_do_not_touch_it(driver: StandIn, loader: ModelLoader) -> None:
    backend = await loaded(loader)
    await loader.unload(backend)
    with pytest.raises(BackendUnavailableError, match="not in memory any more"):
        await backend.complete(PROMPT)

    assert driver.loaded[0].is_closed
    assert driver.crimes == []


async def test_unload_twice_closes_once(driver: StandIn, loader: ModelLoader) -> None:
    backend = await loaded(loader)
    await loader.unload(backend)
    await loader.unload(backend)

    assert driver.crimes == []


async def test_unload_while_it_computes_ends_that_first(driver: StandIn, loader: ModelLoader) -> None:
    driver.pause_s = 60.0
    backend = await loaded(loader)
    failures: list[Exception] = []

    async def ask() -> None:
        try:
            await backend.complete(PROMPT)
        except BackendUnavailableError as error:
            failures.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await computing(driver)
        await loader.unload(backend)

    assert driver.loaded[0].is_closed
    assert len(failures) == 1
    assert driver.crimes == []


async def test_unload_between_two_tokens_ends_the_stream_without_touching_the_model(
    driver: StandIn, loader: ModelLoader
) -> None:
    backend = await loaded(loader)

    async def deliver(_: str) -> None:
        await loader.unload(backend)

    with pytest.raises(BackendUnavailableError, match="not in memory any more"):
        await backend.stream(PROMPT, deliver)

    assert driver.crimes == []


async def test_close_of_a_model_that_does_not_stop_says_so_and_leaves_it(
    driver: StandIn, loader: ModelLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.adapters.inference.llama_cpp.backend._LAST_STEP_S", 0.01)
    driver.pause_s = 60.0
    backend = await loaded(loader)
    driver.loaded[0].is_unwanted = lambda: False  # as a GPU, which cannot be interrupted
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(backend.complete, PROMPT)
        await computing(driver)
        with pytest.raises(BackendUnavailableError, match="not freed"):
            await run_sync(backend.close)
        driver.pause_s = 0.0
        tasks.cancel_scope.cancel()

    assert not driver.loaded[0].is_closed


async def test_load_of_what_is_no_model_is_a_failure_of_the_backend(driver: StandIn, path: Path) -> None:
    loader = llama_cpp_loader("local", LlamaCppOptions(path=path))
    path.write_text("no model")  # noqa: ASYNC240 - a line in a test

    with pytest.raises(BackendUnavailableError, match=r"'local'.*Failed to load model"):
        await loader.load()


async def test_load_without_the_driver_names_the_extra(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)

    with pytest.raises(BackendUnavailableError, match=r"'holdfast\[llama\]'"):
        await llama_cpp_loader("local", LlamaCppOptions(path=path)).load()


def test_require_without_the_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)

    with pytest.raises(ImportError, match=r"'holdfast\[llama\]'"):
        require_llama_cpp()


def test_require_with_the_driver_is_content(driver: StandIn) -> None:
    require_llama_cpp()

    assert "llama_cpp" in sys.modules


@pytest.mark.parametrize("what", ["missing", "folder", "empty"])
def test_loader_of_no_file_is_refused_with_the_path_of_the_setting(tmp_path: Path, what: str) -> None:
    path = tmp_path / "model.gguf"
    if what == "folder":
        path.mkdir()
    elif what == "empty":
        path.touch()

    with pytest.raises(ConfigurationError, match=r"model\.gguf: is no file with a model in it") as caught:
        llama_cpp_loader("local", LlamaCppOptions(path=path))

    assert caught.value.path == "backends.local.path"


def test_loader_of_a_file_that_cannot_be_looked_at_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)

    with pytest.raises(ConfigurationError, match=r"cannot be read: Permission denied"):
        llama_cpp_loader("local", LlamaCppOptions(path=path))


@pytest.mark.parametrize(
    ("field", "value"), [("n_gpu_layers", -1), ("threads", 0), ("context_tokens", 0), ("memory_bytes", 0)]
)
def test_option_out_of_range_is_refused_with_its_name(field: str, value: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        LlamaCppOptions(path=Path("model.gguf"), **{field: value})

    assert caught.value.path == field
