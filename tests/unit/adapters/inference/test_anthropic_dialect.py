"""What Anthropic's Messages API is asked, and what its answers say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.adapters.inference.anthropic import AnthropicDialect
from holdfast.adapters.inference.http.dialect import PushedBackError, UnintelligibleError
from holdfast.adapters.inference.http.server_sent_events import EventReader
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
    ToolChoice,
    Usage,
)
from tests.fakes.chat_server import anthropic_answer, anthropic_events

QUESTION = Prompt(messages=(Message(role=Role.USER, content="why?"),))
DIALECT = AnthropicDialect(model="claude", max_tokens=64)
CALL = ToolCall(call_id="c1", name="clock", arguments='{"zone": "UTC"}')
CALL_JSON = {"type": "tool_use", "id": "c1", "name": "clock", "input": {"zone": "UTC"}}


def asked(parameters: Parameters = Parameters(), *messages: Message) -> dict[str, Any]:
    return DIALECT.body(Prompt(messages=messages or QUESTION.messages, parameters=parameters), streams=False)


def heard(*documents: dict[str, Any]) -> tuple[list[str], Completion]:
    listening = DIALECT.listen(QUESTION)
    texts = [listening.take(json.dumps(document)) for document in documents]
    return texts, listening.completion()


def started(**usage: int) -> dict[str, Any]:
    return {"type": "message_start", "message": {"model": "fake-1", "usage": usage}}


def delta(index: int, **delta: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def test_body_of_a_plain_question_holds_model_bound_and_messages() -> None:
    assert asked() == {"model": "claude", "max_tokens": 64, "messages": [{"role": "user", "content": "why?"}]}


def test_body_holds_every_parameter_that_the_api_knows() -> None:
    body = asked(Parameters(temperature=0.0, top_p=1.0, max_tokens=7, seed=1, stop=("END",)))

    assert body == {
        "model": "claude",
        "max_tokens": 7,
        "messages": [{"role": "user", "content": "why?"}],
        "temperature": 0.0,
        "top_p": 1.0,
        "stop_sequences": ["END"],
    }


def test_body_takes_the_model_of_the_prompt() -> None:
    assert DIALECT.body(Prompt(messages=(), model="opus"), streams=True) == {
        "model": "opus",
        "max_tokens": 64,
        "messages": [],
        "stream": True,
    }


def test_body_puts_instructions_in_their_own_place() -> None:
    body = asked(
        Parameters(),
        Message(role=Role.SYSTEM, content="Be brief."),
        Message(role=Role.SYSTEM, content="Be kind."),
        *QUESTION.messages,
    )

    assert body["system"] == "Be brief.\n\nBe kind."
    assert body["messages"] == [{"role": "user", "content": "why?"}]


@pytest.mark.parametrize("json_schema", [None, '{"type": "object"}'])
def test_body_asks_for_json_in_words(json_schema: str | None) -> None:
    body = asked(
        Parameters(response_format=ResponseFormat.JSON, json_schema=json_schema),
        Message(role=Role.SYSTEM, content="Be brief."),
        *QUESTION.messages,
    )

    assert body["system"].startswith("Be brief.\n\nAnswer with one JSON object and nothing else.")
    assert body["system"].endswith(json_schema or "nothing else.")


@pytest.mark.parametrize(
    ("choice", "type_"), [(ToolChoice.AUTO, "auto"), (ToolChoice.NONE, "none"), (ToolChoice.REQUIRED, "any")]
)
def test_body_hands_tools_on(choice: ToolChoice, type_: str) -> None:
    tool = Tool(name="clock", description="Tells the time.", json_schema='{"properties": {}}')

    body = asked(Parameters(tools=(tool,), tool_choice=choice))

    schema = {"type": "object", "properties": {}}
    assert body["tools"] == [{"name": "clock", "description": "Tells the time.", "input_schema": schema}]
    assert body["tool_choice"] == {"type": type_}


@pytest.mark.parametrize(
    ("choice", "required", "several", "told"),
    [
        (ToolChoice.REQUIRED, "dice", None, {"type": "tool", "name": "dice"}),
        (ToolChoice.REQUIRED, "dice", True, {"type": "tool", "name": "dice"}),
        (ToolChoice.REQUIRED, "dice", False, {"type": "tool", "name": "dice", "disable_parallel_tool_use": True}),
        (ToolChoice.REQUIRED, None, False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice.AUTO, None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (None, None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice.NONE, None, False, {"type": "none"}),
    ],
)
def test_body_says_which_tools_must_be_called_and_whether_one_by_one(
    choice: ToolChoice | None, required: str | None, several: bool | None, told: dict[str, Any]
) -> None:
    tools = (Tool(name="clock"), Tool(name="dice"))

    body = asked(
        Parameters(tools=tools, tool_choice=choice, required_tool=required, parallel_tool_calls=several),
    )

    assert body["tool_choice"] == told


@pytest.mark.parametrize("several", [None, True])
def test_body_leaves_the_choice_to_the_server_if_nothing_is_said_of_it(several: bool | None) -> None:
    body = asked(Parameters(tools=(Tool(name="clock"),), parallel_tool_calls=several))

    assert "tool_choice" not in body


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ('{"zone": "UTC"}', {"zone": "UTC"}),
        ("[1]", {"arguments": "[1]"}),
        ("{half", {"arguments": "{half"}),
        ("[" * 50_000, {"arguments": "[" * 50_000}),
    ],
)
def test_body_hands_calls_of_tools_and_their_results_on(arguments: str, given: dict[str, Any]) -> None:
    call = ToolCall(call_id="c1", name="clock", arguments=arguments)
    body = asked(
        Parameters(),
        Message(role=Role.ASSISTANT, content="Let me see.", tool_calls=(call,)),
        Message(role=Role.TOOL, content="noon", tool_call_id="c1"),
    )

    assert body["messages"] == [
        {"role": "assistant", "content": [{"type": "text", "text": "Let me see."}, CALL_JSON | {"input": given}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "noon"}]},
    ]


def test_body_holds_no_empty_block_of_text() -> None:
    body = asked(Parameters(), Message(role=Role.ASSISTANT, content="", tool_calls=(CALL,)))

    assert body["messages"] == [{"role": "assistant", "content": [CALL_JSON]}]


def test_headers_hold_the_version_and_the_key_if_there_is_one() -> None:
    assert DIALECT.headers("k") == {"anthropic-version": "2023-06-01", "x-api-key": "k"}
    assert DIALECT.headers(None) == {"anthropic-version": "2023-06-01"}


def test_read_gives_text_model_usage_and_reason() -> None:
    thinking = {"type": "thinking", "thinking": "hm"}

    completion = DIALECT.read(anthropic_answer("yes", thinking, {"type": "text", "text": "!"}), QUESTION)

    assert completion == Completion(
        text="yes!",
        model="fake-1",
        usage=Usage(input_tokens=7, output_tokens=3),
        finish_reason=FinishReason.STOP,
    )


def test_read_gives_calls_of_tools() -> None:
    completion = DIALECT.read(anthropic_answer("Let me see.", CALL_JSON), QUESTION)

    assert (completion.text, completion.tool_calls) == ("Let me see.", (CALL,))


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("refusal", FinishReason.FILTERED),
        ("something new", None),
        (None, None),
    ],
)
def test_read_and_listen_understand_the_same_reasons(reason: str | None, meaning: FinishReason | None) -> None:
    ended = {"type": "message_delta", "delta": {"stop_reason": reason}}

    assert DIALECT.read(anthropic_answer() | {"stop_reason": reason}, QUESTION).finish_reason is meaning
    assert heard(started(), ended)[1].finish_reason is meaning


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({}, "no message"),
        ({"type": "secret"}, "no message"),
        ({"type": 7}, "type is no text"),
        ({"type": "message", "content": "secret"}, "content is no list of objects"),
        ({"type": "message", "content": [{"type": "text", "text": 7}]}, "text is no text"),
        ({"type": "message", "content": [{"type": "tool_use", "input": "secret"}]}, "input is no object"),
        ({"type": "error", "error": {"type": "api_error", "message": "secret"}}, "an error api_error"),
        ({"type": "error"}, "an error"),
        ({"error": "secret"}, "an error"),
    ],
)
def test_read_what_is_no_answer_is_unintelligible_and_repeats_nothing(document: dict[str, Any], problem: str) -> None:
    with pytest.raises(UnintelligibleError, match=f"^{problem}$"):
        DIALECT.read(document, QUESTION)


@pytest.mark.parametrize("type_", ["overloaded_error", "rate_limit_error"])
def test_push_back_in_the_middle_of_a_stream_is_push_back(type_: str) -> None:
    with pytest.raises(PushedBackError):
        heard(started(), {"type": "error", "error": {"type": type_, "message": "Overloaded"}})


def test_listen_gives_the_pieces_and_then_the_whole() -> None:
    listening = DIALECT.listen(QUESTION)
    texts = [listening.take(event) for event in EventReader(max_bytes=1000).feed(anthropic_events("ye", "s"))]

    assert "".join(texts) == "yes"
    assert listening.is_complete
    assert listening.completion() == Completion(
        text="yes",
        model="fake-1",
        usage=Usage(input_tokens=7, output_tokens=3),
        finish_reason=FinishReason.STOP,
    )


def test_listen_gives_the_text_with_which_a_block_begins() -> None:
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "ye"}}

    texts, completion = heard(started(), block, delta(0, type="text_delta", text="s"))

    assert (texts, completion.text) == (["", "ye", "s"], "yes")


def test_listen_puts_calls_of_tools_together() -> None:
    def begin(index: int, **block: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        return {"type": "content_block_start", "index": index, "content_block": {"type": "tool_use"} | block}

    _, completion = heard(
        started(),
        begin(1, id="c1", name="clock", input={}),
        delta(1, type="input_json_delta", partial_json='{"zone"'),
        begin(2, id="c2", name="dice", input={}),
        delta(1, type="input_json_delta", partial_json=': "UTC"}'),
        delta(0, type="thinking_delta", thinking="hm"),
    )

    assert completion.tool_calls == (CALL, ToolCall(call_id="c2", name="dice", arguments="{}"))
    assert completion.text == ""


def test_listen_adds_up_no_count_twice() -> None:
    ended = {"type": "message_delta", "delta": {}, "usage": {"input_tokens": 5, "output_tokens": 9}}

    _, completion = heard(
        started(input_tokens=5, cache_creation_input_tokens=1, cache_read_input_tokens=2, output_tokens=1), ended
    )

    assert completion.usage == Usage(input_tokens=8, output_tokens=9)


def test_listen_hears_nothing_behind_the_end() -> None:
    listening = DIALECT.listen(QUESTION)
    for document in (started(), {"type": "message_stop"}, {"type": "error"}):
        listening.take(json.dumps(document))

    assert listening.completion().text == ""


def test_listen_an_end_without_a_beginning_is_unintelligible() -> None:
    with pytest.raises(UnintelligibleError, match=r"^no message$"):
        heard({"type": "message_stop"})


def test_listen_counts_what_it_holds() -> None:
    listening = DIALECT.listen(QUESTION)
    sizes = []
    for document in (delta(0, type="text_delta", text="x" * 100), delta(1, type="input_json_delta", partial_json="{}")):
        listening.take(json.dumps(document))
        sizes.append(listening.size_bytes)

    assert sizes[0] == 100
    assert sizes[1] > 102
