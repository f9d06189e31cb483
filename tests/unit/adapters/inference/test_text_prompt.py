"""What is said in words, and what cannot be."""

from __future__ import annotations

import pytest

from holdfast.adapters.inference.text_prompt import instructions_of, refuse_calls_of_tools, system_text
from holdfast.ports.errors import BackendRequestError
from holdfast.ports.inference import Message, Parameters, Prompt, ResponseFormat, Role, Tool, ToolCall, ToolChoice

BRIEF = Message(role=Role.SYSTEM, content="Be brief.")
KIND = Message(role=Role.SYSTEM, content="Be kind.")
QUESTION = Message(role=Role.USER, content="Why?")
CALL = ToolCall(call_id="c1", name="clock", arguments="{}")
JSON = Parameters(response_format=ResponseFormat.JSON)
JSON_WORDS = "Answer with one JSON object and nothing else."
SCHEMA = '{"type": "object"}'
SCHEMA_WORDS = f"{JSON_WORDS} It has to match this JSON schema:\n{SCHEMA}"


def test_system_text_is_all_that_system_messages_say_and_nothing_else() -> None:
    assert system_text((BRIEF, QUESTION, KIND)) == "Be brief.\n\nBe kind."
    assert system_text((QUESTION,)) == ""


@pytest.mark.parametrize(
    ("messages", "parameters", "words"),
    [
        ((QUESTION,), Parameters(), ""),
        ((BRIEF, QUESTION, KIND), Parameters(), "Be brief.\n\nBe kind."),
        ((QUESTION,), JSON, JSON_WORDS),
        ((BRIEF, QUESTION), JSON, f"Be brief.\n\n{JSON_WORDS}"),
        ((QUESTION,), Parameters(response_format=ResponseFormat.JSON, json_schema=SCHEMA), SCHEMA_WORDS),
    ],
)
def test_instructions_are_what_system_messages_say_and_the_wish_for_json(
    messages: tuple[Message, ...], parameters: Parameters, words: str
) -> None:
    assert instructions_of(Prompt(messages=messages, parameters=parameters)) == words


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(
            messages=(QUESTION,), parameters=Parameters(tools=(Tool(name="clock"),), tool_choice=ToolChoice.REQUIRED)
        ),
        Prompt(messages=(Message(role=Role.TOOL, content="noon", tool_call_id="c1"),)),
        Prompt(messages=(Message(role=Role.ASSISTANT, content="", tool_calls=(CALL,)), QUESTION)),
    ],
    ids=["must call one", "result of a call", "call"],
)
def test_prompt_that_cannot_be_answered_without_calls_is_refused(prompt: Prompt) -> None:
    with pytest.raises(BackendRequestError, match="calls no tools; ask another backend") as caught:
        refuse_calls_of_tools(prompt, backend="b")

    assert caught.value.backend == "b"


@pytest.mark.parametrize("choice", [None, ToolChoice.AUTO, ToolChoice.NONE])
def test_prompt_that_can_be_answered_without_calls_is_not_refused(choice: ToolChoice | None) -> None:
    prompt = Prompt(messages=(QUESTION,), parameters=Parameters(tools=(Tool(name="clock"),), tool_choice=choice))

    assert refuse_calls_of_tools(prompt, backend="b") is None  # type: ignore[func-returns-value]  # that it returns
