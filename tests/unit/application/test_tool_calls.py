"""Calls of tools, handed through `Orchestrator.submit` in both directions."""

from __future__ import annotations

import itertools

import pytest

from holdfast import Settings
from holdfast.application.orchestrator import reply_size_bytes
from holdfast.ports.errors import RequestError
from holdfast.ports.inference import (
    Completion,
    FinishReason,
    Message,
    Parameters,
    Prompt,
    ResponseFormat,
    Role,
    Tool,
    ToolCall,
)
from holdfast.ports.service import Disposition, Reply
from tests.fakes.service import Answering, ask, assert_nothing_is_held, opened

pytestmark = pytest.mark.anyio

CLOCK = Tool(name="clock", description="Tells the time.", json_schema='{"type": "object"}')
CALL = ToolCall(call_id="c1", name="clock", arguments='{"zone": "UTC"}')
WITH_CLOCK = Parameters(tools=(CLOCK,))
CALLED = (
    Message(role=Role.USER, content="/expert scholar what time is it?"),
    Message(role=Role.ASSISTANT, content="", tool_calls=(CALL,)),
    Message(role=Role.TOOL, content="noon", tool_call_id="c1"),
)


class Caller:
    """Answers with a call of a tool until a tool has answered."""

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []

    async def complete(self, prompt: Prompt) -> Completion:
        self.prompts.append(prompt)
        if prompt.messages[-1].role is Role.TOOL:
            return Completion(text="It is noon.", model="caller-1", finish_reason=FinishReason.STOP)
        return Completion(text="", model="caller-1", tool_calls=(CALL,), finish_reason=FinishReason.TOOL_CALLS)


async def test_submit_with_tools_hands_them_on_and_the_call_back() -> None:
    backend = Caller()
    async with opened({"a": backend}) as service:
        reply = await service.submit(ask(parameters=WITH_CLOCK))

    assert backend.prompts[0].parameters.tools == (CLOCK,)
    assert (reply.text, reply.tool_calls, reply.finish_reason) == ("", (CALL,), FinishReason.TOOL_CALLS)


async def test_stream_with_tools_gives_the_call_at_the_end() -> None:
    async with opened({"a": Caller()}) as service:
        async with service.stream(ask(parameters=WITH_CLOCK)) as stream:
            pieces = [piece async for piece in stream]
        reply = await stream.reply()
        health = service.health()

    assert pieces == []
    assert reply.tool_calls == (CALL,)
    assert_nothing_is_held(health)


async def test_submit_what_a_tool_gave_back_is_answered_as_a_conversation() -> None:
    backend = Caller()
    async with opened({"a": backend}) as service:
        reply = await service.submit(ask(messages=CALLED, parameters=WITH_CLOCK))

    assert reply.text == "It is noon."
    assert reply.finish_reason is FinishReason.STOP
    assert backend.prompts[0].messages == CALLED


async def test_submit_what_a_tool_gave_back_is_answered_by_the_persona_that_was_asked() -> None:
    backend = Caller()
    settings = Settings.model_validate(
        {"prompts": {"p": "You are a scholar."}, "personas": {"scholar": {"prompt": "p"}}}
    )
    async with opened({"a": backend}, settings) as service:
        reply = await service.submit(ask(messages=CALLED, parameters=WITH_CLOCK))

    instructions, question, *rest = backend.prompts[0].messages
    assert reply.persona == "scholar"
    assert instructions.content == "You are a scholar."
    assert question.content == "what time is it?"
    assert tuple(rest) == CALLED[1:]


async def test_submit_identical_requests_with_tools_share_one_call_and_other_tools_do_not() -> None:
    backend = Caller()
    other = Parameters(tools=(Tool(name="dice"),))
    async with opened({"a": backend}) as service:
        replies = [await service.submit(ask(parameters=chosen)) for chosen in (WITH_CLOCK, WITH_CLOCK, other)]

    assert [reply.disposition for reply in replies] == [Disposition.CALLED, Disposition.CACHED, Disposition.CALLED]
    assert replies[1].tool_calls == (CALL,)


async def test_submit_call_of_a_tool_is_no_answer_that_validators_could_reject() -> None:
    settings = Settings.model_validate(
        {"validators": {"v": {"kind": "pattern", "must_match": "noon", "action": "reject"}}}
    )
    async with opened({"a": Caller()}, settings) as service:
        reply = await service.submit(ask(parameters=WITH_CLOCK))

    assert reply.tool_calls == (CALL,)


async def test_submit_json_schema_reaches_the_backend() -> None:
    backend = Answering(text='{"a": 1}')
    parameters = Parameters(response_format=ResponseFormat.JSON, json_schema='{"required": ["a"]}')
    async with opened({"a": backend}) as service:
        await service.submit(ask(parameters=parameters))

    assert backend.prompts[0].parameters == parameters


async def test_submit_tools_in_a_session_is_refused_before_a_backend_is_asked() -> None:
    backend = Caller()
    async with opened({"a": backend}) as service:
        session_id = await service.sessions.create(tenant="default")
        with pytest.raises(RequestError, match="session_id: a session keeps no calls of tools"):
            await service.submit(ask(parameters=WITH_CLOCK, session_id=session_id))

    assert backend.prompts == []


@pytest.mark.parametrize("idempotent", [True, False])
async def test_submit_tells_the_backend_whether_asking_twice_does_harm(idempotent: bool) -> None:
    backend = Answering()
    async with opened({"a": backend}) as service:
        await service.submit(ask(idempotent=idempotent))

    assert backend.prompts[0].idempotent is idempotent


def test_size_of_a_reply_counts_every_text_of_its_calls() -> None:
    sizes = [
        reply_size_bytes(
            Reply(
                text="",
                backend="a",
                model="m",
                disposition=Disposition.CALLED,
                attempts=1,
                queue_s=0.0,
                backend_s=0.0,
                usage=Completion(text="", model="").usage,
                citations=(),
                request_id=None,
                tool_calls=tuple(itertools.repeat(ToolCall(call_id="i" * n, name="n" * n, arguments="a" * n), calls)),
            )
        )
        for calls, n in ((0, 1000), (1, 1000), (2, 1000))
    ]

    assert sizes[1] - sizes[0] == sizes[2] - sizes[1] > 3000
