"""Personas and commands, met by requests that go through `Orchestrator.submit`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast import Message, Request, Role, Settings, open_orchestrator
from holdfast.adapters.memory.sessions import MemorySessions
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.program import answer_fingerprint
from holdfast.application.settings_sources import load_settings
from holdfast.ports.errors import ConfigurationError, RequestError
from holdfast.ports.events import PersonaChosen, RequestAnswered
from holdfast.ports.inference import Parameters, Prompt, ResponseFormat
from holdfast.ports.service import Disposition, Reply
from holdfast.testing import VirtualClock
from tests.fakes.service import Answering, Shelf, ask, opened, told

pytestmark = pytest.mark.anyio

ALLOCATOR, DATABASES = "You know allocators.", "You know databases."
SETTINGS = Settings.model_validate(
    {
        "prompts": {"allocator": ALLOCATOR, "databases": DATABASES},
        "personas": {
            "memory": {
                "prompt": "allocator",
                "triggers": ["memory", "leak"],
                "parameters": {"temperature": 0, "max_tokens": 50},
                "allowed_parameters": ["max_tokens"],
            },
            "sql": {"prompt": "databases", "triggers": ["query"]},
            "twin": {"prompt": "allocator"},
        },
    }
)


def system_messages(prompt: Prompt) -> list[str]:
    return [message.content for message in prompt.messages if message.role is Role.SYSTEM]


def chosen(orchestrator: Orchestrator) -> list[tuple[str, str]]:
    return [(event.persona, event.chosen_by) for event in told(orchestrator, PersonaChosen)]


@pytest.mark.parametrize(
    ("request_", "persona", "instructions", "chosen_by", "question"),
    [
        (ask("why?", persona="SQL"), "sql", DATABASES, "name", "why?"),
        (ask("/expert memory why a query?"), "memory", ALLOCATOR, "command", "why a query?"),
        (ask("Does this Query leak? A slow query!"), "sql", DATABASES, "text", "Does this Query leak? A slow query!"),
        (ask("/expert memory why?", persona="sql"), "sql", DATABASES, "name", "why?"),
    ],
)
async def test_submit_persona_by_name_command_or_text_instructs_the_backend(
    request_: Request, persona: str, instructions: str, chosen_by: str, question: str
) -> None:
    backend = Answering()
    async with opened({"a": backend}, SETTINGS) as orchestrator:
        reply = await orchestrator.submit(request_)
        events = chosen(orchestrator)

    [prompt] = backend.prompts
    assert prompt.messages == (
        Message(role=Role.SYSTEM, content=instructions),
        Message(role=Role.USER, content=question),
    )
    assert reply.persona == persona
    assert events == [(persona, chosen_by)]


async def test_submit_question_that_recommends_nobody_goes_on_untouched() -> None:
    backend = Answering()
    async with opened({"a": backend}, SETTINGS) as orchestrator:
        reply = await orchestrator.submit(ask("why is the sky blue?"))
        events = chosen(orchestrator)

    assert reply.persona is None
    assert system_messages(backend.prompts[0]) == []
    assert backend.prompts[0].parameters == Parameters()
    assert events == []


async def test_submit_instructions_come_before_passages_and_the_callers_own_system_message() -> None:
    backend = Answering()
    own = Message(role=Role.SYSTEM, content="Be brief.")
    question = ask("/expert memory why?")
    async with opened({"a": backend}, SETTINGS, retriever=Shelf()) as orchestrator:
        await orchestrator.submit(replace(question, messages=(own, *question.messages)))

    first, second, third = system_messages(backend.prompts[0])
    assert first == ALLOCATOR
    assert second.endswith("[a.md § A]\nwhy?")
    assert third == "Be brief."


async def test_submit_parameters_of_the_persona_stand_under_those_of_the_request() -> None:
    backend = Answering()
    async with opened({"a": backend}, SETTINGS) as orchestrator:
        await orchestrator.submit(ask(persona="memory"))
        await orchestrator.submit(replace(ask(persona="memory"), parameters=Parameters(max_tokens=9)))

    assert [prompt.parameters for prompt in backend.prompts] == [
        Parameters(temperature=0.0, max_tokens=50),
        Parameters(temperature=0.0, max_tokens=9),
    ]


async def test_submit_parameter_that_the_persona_keeps_to_itself_is_refused_naming_the_allowed_ones() -> None:
    backend = Answering()
    async with opened({"a": backend}, SETTINGS) as orchestrator:
        with pytest.raises(RequestError, match=r"^parameters\.seed: persona 'memory' .*; it allows max_tokens$"):
            await orchestrator.submit(replace(ask(persona="memory"), parameters=Parameters(seed=1)))
        health = orchestrator.health()

    assert backend.prompts == []
    assert health.admission.offered == 0
    assert health.deduplication.requests == 0


@pytest.mark.parametrize(
    "request_",
    [
        ask(persona="nobody"),
        ask("/expert nobody why?"),
        ask("/expert nobody"),
        ask("/expert status", persona="nobody"),
        ask("/expert memory why?", persona="nobody"),
    ],
)
async def test_submit_unknown_persona_is_a_value_error_naming_the_valid_ones(request_: Request) -> None:
    backend = Answering()
    async with opened({"a": backend}, SETTINGS) as orchestrator:
        with pytest.raises(ValueError, match=r"^persona: there is no 'nobody'; known: memory, sql, twin$"):
            await orchestrator.submit(request_)
        health = orchestrator.health()

    assert backend.prompts == []
    assert health.requests.invalid == 1


async def test_submit_two_personas_never_share_an_answer_and_one_persona_does_however_it_was_chosen() -> None:
    backend = Answering(text="answer {}".format)
    questions = [
        ask("a query?"),
        ask("a query?", persona="sql"),
        ask("/expert sql a query?"),
        ask("a query?", persona="memory"),
        ask("a query?", persona="twin"),
    ]
    async with opened({"a": backend}, SETTINGS) as orchestrator:
        replies = [await orchestrator.submit(question) for question in questions]

    called, cached = Disposition.CALLED, Disposition.CACHED
    assert [reply.disposition for reply in replies] == [called, cached, cached, called, called]
    assert [reply.persona for reply in replies] == ["sql", "sql", "sql", "memory", "twin"]
    assert len({reply.text for reply in replies}) == 3


async def test_submit_same_question_to_two_personas_at_once_is_called_twice() -> None:
    backend = Answering(text="answer {}".format)
    replies: list[Reply] = []
    async with opened({"a": backend}, SETTINGS) as orchestrator:

        async def submit(persona: str) -> None:
            replies.append(await orchestrator.submit(ask(persona=persona)))

        async with anyio.create_task_group() as tasks:
            for persona in ("memory", "twin", "memory", "twin"):
                tasks.start_soon(submit, persona)

    assert len(backend.prompts) == 2
    answers = {(reply.persona, reply.text) for reply in replies}
    assert len(replies) == 4
    assert len(answers) == 2
    assert {persona for persona, _ in answers} == {"memory", "twin"}


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("/expert", "There are memory, sql, twin."),
        ("/expert status", "There is no session to keep a persona."),
        ("/expert off", "No persona was kept."),
    ],
)
async def test_submit_command_is_answered_by_holdfast_itself_and_calls_nothing(command: str, text: str) -> None:
    backend = Answering()
    async with opened({"a": backend}, SETTINGS) as orchestrator:
        first = await orchestrator.submit(replace(ask(command), request_id="r-1"))
        second = await orchestrator.submit(ask(command))
        health = orchestrator.health()
        answered = told(orchestrator, RequestAnswered)

    assert first.text.startswith(text)
    assert (first.disposition, first.attempts, first.backend, first.request_id) == (
        Disposition.COMMANDED,
        0,
        "holdfast",
        "r-1",
    )
    assert second.disposition is Disposition.COMMANDED
    assert backend.prompts == []
    assert (health.admission.offered, health.deduplication.requests) == (0, 0)
    assert health.requests.answered == 2
    assert [event.disposition for event in answered] == [Disposition.COMMANDED] * 2


async def test_submit_name_alone_without_a_session_is_refused() -> None:
    async with opened({"a": Answering()}, SETTINGS) as orchestrator:
        with pytest.raises(RequestError, match=r"without a session, /expert memory holds for one question"):
            await orchestrator.submit(ask("/expert memory"))


@pytest.mark.parametrize("content", ["/help", "//expert off", "what does /expert off do?"])
async def test_submit_what_only_looks_like_a_command_is_asked(content: str) -> None:
    backend = Answering()
    async with opened({"a": backend}, SETTINGS) as orchestrator:
        reply = await orchestrator.submit(ask(content))

    assert reply.disposition is Disposition.CALLED
    assert backend.prompts[0].messages[-1].content == content.replace("//expert", "/expert")


async def test_stream_command_is_answered_by_holdfast_itself() -> None:
    backend = Answering()
    async with opened({"a": backend}, SETTINGS) as orchestrator:
        async with orchestrator.stream(replace(ask("/expert"), request_id="r-1")) as stream:
            pieces = [piece async for piece in stream]
            reply = await stream.reply()
        health = orchestrator.health()

    assert "".join(pieces) == reply.text
    assert (reply.disposition, reply.request_id) == (Disposition.COMMANDED, "r-1")
    assert backend.prompts == []
    assert (health.admission.offered, health.deduplication.requests) == (0, 0)


async def test_stream_persona_answers_and_shares_with_submit() -> None:
    backend = Answering()
    async with opened({"a": backend}, SETTINGS) as orchestrator:
        async with orchestrator.stream(ask("/expert memory why?")) as stream:
            streamed = await stream.reply()
        submitted = await orchestrator.submit(ask("why?", persona="memory"))

    assert (streamed.persona, submitted.persona) == ("memory", "memory")
    assert submitted.disposition is Disposition.CACHED


async def test_stream_wrong_persona_is_refused_on_entering() -> None:
    async with opened({"a": Answering()}, SETTINGS) as orchestrator:
        with pytest.raises(RequestError, match="there is no 'nobody'"):
            async with orchestrator.stream(ask(persona="nobody")):
                pytest.fail("entered")


async def test_submit_where_there_are_no_personas_leaves_commands_alone_and_refuses_names() -> None:
    backend = Answering()
    async with opened({"a": backend}) as orchestrator:
        await orchestrator.submit(ask("/expert off"))
        with pytest.raises(RequestError, match=r"^persona: there is no 'memory'; known: none$"):
            await orchestrator.submit(ask(persona="memory"))

    assert backend.prompts[0].messages[-1].content == "/expert off"


async def in_session(orchestrator: Orchestrator, session_id: str, question: str) -> Reply:
    return await orchestrator.submit(replace(ask(question), session_id=session_id))


async def test_session_keeps_the_persona_of_a_command_until_off() -> None:
    backend = Answering()
    async with opened({"a": backend}, SETTINGS) as orchestrator:
        session_id = await orchestrator.sessions.create(tenant="default")
        replies = [
            await in_session(orchestrator, session_id, said)
            for said in (
                "/expert status",
                "/expert Memory",
                "why?",
                "/expert sql and this one?",
                "and now?",
                "/expert status",
                "/expert off",
                "and without?",
                "/expert status",
            )
        ]
        session = await orchestrator.sessions.open(session_id, tenant="default")

    assert [reply.persona for reply in replies] == [
        None, "memory", "memory", "sql", "memory", "memory", None, None, None
    ]  # fmt: skip
    assert replies[5].text == "This session keeps memory."
    assert replies[6].text == "memory is not kept any more."
    assert len(backend.prompts) == 4
    assert [message.content for message in session.messages if message.role is Role.USER] == [
        "why?",
        "and this one?",
        "and now?",
        "and without?",
    ]


async def test_session_of_one_keeps_nothing_for_another() -> None:
    backend = Answering()
    async with opened({"a": backend}, SETTINGS) as orchestrator:
        first = await orchestrator.sessions.create(tenant="default")
        second = await orchestrator.sessions.create(tenant="default")
        await in_session(orchestrator, first, "/expert memory")
        reply = await in_session(orchestrator, second, "why?")

    assert reply.persona is None


async def test_session_that_keeps_a_persona_that_is_gone_goes_on_without_it() -> None:
    store = MemorySessions(clock=VirtualClock())
    fewer = SETTINGS.model_copy(update={"personas": {"sql": SETTINGS.personas["sql"]}})
    async with opened({"a": Answering()}, SETTINGS, session_store=nullcontext(store)) as orchestrator:
        session_id = await orchestrator.sessions.create(tenant="default")
        await in_session(orchestrator, session_id, "/expert memory")
    async with opened({"a": Answering()}, fewer, session_store=nullcontext(store)) as orchestrator:
        reply = await in_session(orchestrator, session_id, "why?")
        status = await in_session(orchestrator, session_id, "/expert status")
        off = await in_session(orchestrator, session_id, "/expert off")

    assert reply.persona is None
    assert status.text == "This session keeps memory, which is not there any more. There are sql."
    assert (off.text, off.persona) == ("memory is not kept any more.", None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"personas": {"x": {"prompt": "gone"}}, "prompts": {"a": "A.", "b": "B."}},
            r"^personas\.x\.prompt: 'gone' is none of prompts; known: a, b$",
        ),
        ({"personas": {"x": {"prompt": "gone"}}}, r"^personas\.x\.prompt: 'gone' is none of prompts; known: none$"),
        (
            {"personas": {"x": {"prompt": "a", "validators": ["v"]}}, "prompts": {"a": "A."}},
            r"^personas\.x\.validators: 'v' is none of validators; known: none$",
        ),
        ({"personas": {"off": {"prompt": "a"}}, "prompts": {"a": "A."}}, r"^personas\.off: is a command; choose"),
        ({"personas": {"Status": {"prompt": "a"}}, "prompts": {"a": "A."}}, r"^personas\.Status: is a command; choose"),
        ({"personas": {"x": {"prompt": "a"}}, "prompts": {"a": " "}}, r"^personas\.x\.prompt: must not be blank$"),
        (
            {"personas": {"x": {"prompt": "a"}, "X": {"prompt": "a"}}, "prompts": {"a": "A."}},
            r"^personas\.X: is the same name as personas\.x;",
        ),
        (
            {"personas": {"x": {"prompt": "a", "allowed_parameters": ["sed"]}}, "prompts": {"a": "A."}},
            r"^personas\.x\.allowed_parameters: sed: no such parameter; known: temperature, ",
        ),
        (
            {"personas": {"x": {"prompt": "a", "parameters": {"top_p": 2}}}, "prompts": {"a": "A."}},
            r"^personas\.x\.parameters\.top_p: must be above 0 and at most 1, not 2\.0$",
        ),
    ],
)
async def test_settings_with_a_persona_that_could_not_work_are_refused_at_start(
    arguments: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        async with open_orchestrator(Settings.model_validate(arguments)):
            pytest.fail("opened")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"personas": {"x": {"promt": "a"}}},
            r"^personas\.x\.prompt: is missing, and has no default$|did you mean 'personas\.x\.prompt'",
        ),
        (
            {"personas": {"x": {"prompt": "a", "trigger": []}}},
            r"^personas\.x\.trigger: is not a setting \(arguments\); did you mean 'personas\.x\.triggers'\?$",
        ),
        (
            {"personas": {"x": {"prompt": "a", "parameters": {"temprature": 0}}}},
            r"^personas\.x\.parameters\.temprature: is not a setting .*'personas\.x\.parameters\.temperature'",
        ),
        ({"prompts": {"a": 3}}, r"^prompts\.a: .*valid string"),
    ],
)
async def test_settings_with_a_persona_wrongly_written_are_refused_with_its_path(
    tmp_path: Path, arguments: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_settings(tmp_path, arguments)


async def test_settings_of_personas_can_come_from_toml_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "holdfast.toml").write_text(
        '[prompts]\nallocator = "You know allocators."\n[personas.memory]\nprompt = "allocator"\ntriggers = ["leak"]\n'
        'parameters = { response_format = "json", stop = ["END"] }\n'
    )
    monkeypatch.setenv("HOLDFAST_PERSONAS__MEMORY__PARAMETERS__SEED", "7")

    settings = load_settings(tmp_path).settings

    memory = settings.personas["memory"]
    assert (memory.prompt, memory.triggers) == ("allocator", ("leak",))
    assert memory.parameters == Parameters(seed=7, stop=("END",), response_format=ResponseFormat.JSON)


def test_answer_fingerprint_of_a_batch_changes_with_prompts_personas_and_validators() -> None:
    validator = {"kind": "pattern", "must_match": "§"}
    changed = [
        SETTINGS.model_copy(update={"prompts": SETTINGS.prompts | {"allocator": "You know everything."}}),
        SETTINGS.model_copy(update={"personas": dict(reversed(SETTINGS.personas.items()))}),
        Settings.model_validate(SETTINGS.model_dump() | {"validators": {"cited": validator}}),
        Settings.model_validate(SETTINGS.model_dump() | {"validators": {"cited": validator | {"action": "mark"}}}),
    ]

    fingerprints = {answer_fingerprint(settings) for settings in (SETTINGS, *changed)}

    assert len(fingerprints) == 5
    assert answer_fingerprint(SETTINGS.model_copy(update={"max_in_flight": 7})) in fingerprints
