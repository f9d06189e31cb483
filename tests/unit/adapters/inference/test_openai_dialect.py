"""What OpenAI's chat completions are asked, and what their answers say."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from holdfast.adapters.inference.http.dialect import UnintelligibleError
from holdfast.adapters.inference.openai import OpenAIDialect
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
from tests.fakes.chat_server import openai_answer, openai_piece

QUESTION = Prompt(messages=(Message(role=Role.USER, content="why?"),))
CALL = ToolCall(call_id="c1", name="clock", arguments='{"zone": "UTC"}')
CALL_JSON = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": '{"zone": "UTC"}'}}


def asked(parameters: Parameters = Parameters(), *messages: Message, **dialect: Any) -> dict[str, Any]:  # noqa: ANN401
    prompt = Prompt(messages=messages or QUESTION.messages, parameters=parameters)
    return OpenAIDialect(**dialect).body(prompt, streams=False)


def heard(*documents: dict[str, Any]) -> tuple[list[str], Completion]:
    listening = OpenAIDialect().listen(QUESTION)
    texts = [listening.take(json.dumps(document)) for document in documents]
    listening.take("[DONE]")
    assert listening.is_complete
    return texts, listening.completion()


def test_body_of_a_plain_question_holds_nothing_but_its_messages() -> None:
    assert asked() == {"messages": [{"role": "user", "content": "why?"}]}


def test_body_holds_every_parameter_that_is_set() -> None:
    parameters = Parameters(temperature=0.0, top_p=1.0, max_tokens=7, seed=0, stop=("END",))

    body = asked(parameters, model="m", max_tokens=99)

    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "why?"}],
        "temperature": 0.0,
        "top_p": 1.0,
        "max_tokens": 7,
        "seed": 0,
        "stop": ["END"],
    }


def test_body_takes_the_model_of_the_prompt_and_the_bound_of_the_settings_where_there_is_no_other() -> None:
    prompt = Prompt(messages=QUESTION.messages, model="large")

    body = OpenAIDialect(model="small", max_tokens=99).body(prompt, streams=False)

    assert (body["model"], body["max_tokens"]) == ("large", 99)


def test_body_of_a_stream_asks_for_the_usage() -> None:
    body = OpenAIDialect().body(QUESTION, streams=True)

    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


@pytest.mark.parametrize(
    ("json_schema", "response_format"),
    [
        (None, {"type": "json_object"}),
        (
            '{"type": "object"}',
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
        ),
    ],
)
def test_body_asks_for_json_as_wanted(json_schema: str | None, response_format: dict[str, Any]) -> None:
    parameters = Parameters(response_format=ResponseFormat.JSON, json_schema=json_schema)

    assert asked(parameters)["response_format"] == response_format


@pytest.mark.parametrize("choice", list(ToolChoice))
def test_body_hands_tools_on(choice: ToolChoice) -> None:
    tool = Tool(name="clock", description="Tells the time.", json_schema='{"type": "object"}')

    body = asked(Parameters(tools=(tool,), tool_choice=choice))

    function = {"name": "clock", "description": "Tells the time.", "parameters": {"type": "object"}}
    assert body["tools"] == [{"type": "function", "function": function}]
    assert body["tool_choice"] == choice.value
    assert "parallel_tool_calls" not in body


def test_body_names_the_tool_that_must_be_called() -> None:
    tools = (Tool(name="clock"), Tool(name="dice"))

    body = asked(Parameters(tools=tools, tool_choice=ToolChoice.REQUIRED, required_tool="dice"))

    assert body["tool_choice"] == {"type": "function", "function": {"name": "dice"}}


@pytest.mark.parametrize("several", [False, True])
def test_body_says_whether_several_tools_may_be_called_at_once(several: bool) -> None:
    body = asked(Parameters(tools=(Tool(name="clock"),), parallel_tool_calls=several))

    assert body["parallel_tool_calls"] is several
    assert "tool_choice" not in body


def test_body_hands_calls_of_tools_and_their_results_on() -> None:
    body = asked(
        Parameters(),
        Message(role=Role.ASSISTANT, content="", tool_calls=(CALL,)),
        Message(role=Role.TOOL, content="noon", tool_call_id="c1"),
    )

    assert body["messages"] == [
        {"role": "assistant", "content": "", "tool_calls": [CALL_JSON]},
        {"role": "tool", "content": "noon", "tool_call_id": "c1"},
    ]


def test_headers_hold_the_key_if_there_is_one() -> None:
    assert OpenAIDialect().headers("k") == {"authorization": "Bearer k"}
    assert OpenAIDialect().headers(None) == {}


def test_read_gives_text_model_usage_and_reason() -> None:
    completion = OpenAIDialect().read(openai_answer("yes"), QUESTION)

    assert completion == Completion(
        text="yes",
        model="fake-1",
        usage=Usage(input_tokens=7, output_tokens=3),
        finish_reason=FinishReason.STOP,
    )


def test_read_gives_calls_of_tools_where_there_is_no_text() -> None:
    completion = OpenAIDialect().read(openai_answer(None, tool_calls=[CALL_JSON]), QUESTION)

    assert (completion.text, completion.tool_calls) == ("", (CALL,))


def test_read_gives_a_refusal_as_the_text() -> None:
    assert OpenAIDialect().read(openai_answer(None, refusal="I will not."), QUESTION).text == "I will not."


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("content_filter", FinishReason.FILTERED),
        ("something new", None),
        (None, None),
    ],
)
def test_read_and_listen_understand_the_same_reasons(reason: str | None, meaning: FinishReason | None) -> None:
    document = openai_answer("yes")
    document["choices"][0]["finish_reason"] = reason

    assert OpenAIDialect().read(document, QUESTION).finish_reason is meaning
    assert heard(openai_piece("yes", reason=reason))[1].finish_reason is meaning


@pytest.mark.parametrize(
    ("dialect", "prompt", "model"),
    [
        (OpenAIDialect(), QUESTION, "unnamed"),
        (OpenAIDialect(model="small"), QUESTION, "small"),
        (OpenAIDialect(model="small"), Prompt(messages=(), model="large"), "large"),
    ],
)
def test_read_names_the_model_that_was_asked_where_the_answer_names_none(
    dialect: OpenAIDialect, prompt: Prompt, model: str
) -> None:
    assert dialect.read({"choices": [{"message": {"content": "yes"}}]}, prompt).model == model
    listening = dialect.listen(prompt)
    listening.take('{"choices": [{"delta": {}}]}')
    assert listening.completion().model == model


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": "7", "completion_tokens": -1},
        {"prompt_tokens": True},
        {"prompt_tokens": 10**19, "completion_tokens": 10**400},
    ],
    ids=["null", "nothing", "no count", "a truth value", "beyond what can be counted"],
)
def test_read_usage_that_counts_nothing_is_none(usage: object) -> None:
    assert OpenAIDialect().read(openai_answer("yes") | {"usage": usage}, QUESTION).usage == Usage()


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({}, "no choices"),
        ({"choices": []}, "no choices"),
        ({"choices": None}, "no choices"),
        ({"choices": "secret"}, "choices is no list of objects"),
        ({"choices": ["secret"]}, "choices is no list of objects"),
        ({"choices": [{"message": "secret"}]}, "message is no object"),
        ({"choices": [{"message": {"content": ["secret"]}}]}, "content is no text"),
        ({"choices": [{"message": {"tool_calls": {"secret": 1}}}]}, "tool_calls is no list of objects"),
        ({"choices": [{"message": {"tool_calls": [{"function": 1}]}}]}, "function is no object"),
        ({"choices": [{"message": {"tool_calls": [{"id": 1}]}}]}, "id is no text"),
        ({"error": {"message": "secret", "type": "server_error"}}, "an error server_error"),
        ({"error": "secret"}, "an error"),
        (openai_answer("yes") | {"error": {"code": "overloaded"}}, "an error overloaded"),
        (openai_answer("yes") | {"model": 7}, "model is no text"),
        (openai_answer("yes") | {"usage": 7}, "usage is no object"),
    ],
)
def test_read_what_is_no_answer_is_unintelligible_and_repeats_nothing(document: dict[str, Any], problem: str) -> None:
    with pytest.raises(UnintelligibleError, match=f"^{problem}$"):
        OpenAIDialect().read(document, QUESTION)


def test_listen_gives_the_pieces_and_then_the_whole() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}

    texts, completion = heard(
        openai_piece(role="assistant"), openai_piece("ye"), openai_piece("s"), openai_piece(reason="stop"), usage
    )

    assert texts == ["", "ye", "s", "", ""]
    assert completion == Completion(
        text="yes", model="fake-1", usage=Usage(input_tokens=7, output_tokens=3), finish_reason=FinishReason.STOP
    )


def test_listen_puts_calls_of_tools_together() -> None:
    def piece(index: int, **function: str) -> dict[str, Any]:
        return openai_piece(tool_calls=[{"index": index, "function": function}])

    begun = openai_piece(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "clock", "arguments": ""}}])
    second = openai_piece(tool_calls=[{"index": 1, "id": "c2", "function": {"name": "dice"}}])

    texts, completion = heard(begun, piece(0, arguments='{"zone"'), second, piece(0, arguments=': "UTC"}'))

    assert texts == ["", "", "", ""]
    assert completion.tool_calls == (CALL, ToolCall(call_id="c2", name="dice", arguments=""))


def test_listen_hears_one_answer_only() -> None:
    other = openai_piece("no")
    other["choices"][0]["index"] = 1

    texts, completion = heard(openai_piece("yes"), other)

    assert (texts, completion.text) == (["yes", ""], "yes")


def test_listen_hears_nothing_behind_the_end() -> None:
    listening = OpenAIDialect().listen(QUESTION)
    for data in (json.dumps(openai_piece("yes")), " [DONE] ", "garbage", json.dumps(openai_piece("more"))):
        listening.take(data)

    assert listening.completion().text == "yes"


def test_listen_without_the_end_is_not_complete() -> None:
    listening = OpenAIDialect().listen(QUESTION)
    for document in (openai_piece("yes"), openai_piece(reason="stop")):
        listening.take(json.dumps(document))

    assert not listening.is_complete


def test_listen_an_end_without_any_choice_is_unintelligible() -> None:
    with pytest.raises(UnintelligibleError, match=r"^no choices$"):
        heard({"usage": {"prompt_tokens": 7}})


@pytest.mark.parametrize("data", ["secret", "[]", '{"error": {"message": "secret"}}', '{"choices": 7}', "[" * 50_000])
def test_listen_what_is_no_piece_is_unintelligible_and_repeats_nothing(data: str) -> None:
    listening = OpenAIDialect().listen(QUESTION)

    with pytest.raises(UnintelligibleError) as caught:
        listening.take(data)

    assert "secret" not in str(caught.value)


def test_listen_counts_what_it_holds() -> None:
    listening = OpenAIDialect().listen(QUESTION)
    sizes = [listening.size_bytes]
    call = {"index": 0, "function": {"name": "n", "arguments": "a" * 50}}
    for document in (openai_piece("x" * 100), openai_piece(tool_calls=[call]), openai_piece(tool_calls=[call])):
        listening.take(json.dumps(document))
        sizes.append(listening.size_bytes)

    grown = [after - before for before, after in itertools.pairwise(sizes)]
    assert grown[0] == 100
    assert grown[1] > grown[2] == 51
