"""Conversations through the gateway, over the wired path, in virtual time."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from holdfast.application.settings import Settings
from holdfast.domain.admission import AdmissionConfig
from holdfast.ports.errors import BackendThrottledError, BackendUnavailableError
from holdfast.ports.gateway import GatewayOptions
from holdfast.ports.inference import (
    Completion,
    Deliver,
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
from holdfast.ports.service import Request
from tests.fakes.asgi import Exchange, events_of
from tests.fakes.gateway import CHAT, opened_gateway, question
from tests.fakes.service import ONCE, Answering, assert_nothing_is_held, unavailable

pytestmark = pytest.mark.anyio


class Telling:
    """Streams the pieces it is given, with a pause before each; may fail behind them, or hang."""

    def __init__(self, *pieces: str, pause_s: float = 0.0, error: Exception | None = None) -> None:
        self._pieces = pieces
        self._pause_s = pause_s
        self._error = error
        self.running = 0
        self.prompts: list[Prompt] = []

    async def complete(self, prompt: Prompt) -> Completion:
        return await self.stream(prompt, _drop)

    async def stream(self, prompt: Prompt, deliver: Deliver) -> Completion:
        self.prompts.append(prompt)
        self.running += 1
        try:
            for piece in self._pieces:
                await anyio.sleep(self._pause_s)
                await deliver(piece)
        finally:
            self.running -= 1
        if self._error is not None:
            raise self._error
        return Completion(text="".join(self._pieces), model="telling-1", usage=Usage(input_tokens=3, output_tokens=2))


async def _drop(_: str) -> None:
    pass


def _text(events: list[Any]) -> str:
    chunks = [event for event in events if event != "[DONE]" and event.get("choices")]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


async def test_chat_answer_is_a_completion_object_and_tells_what_happened() -> None:
    backend = Answering(text="42", usage=Usage(input_tokens=5, output_tokens=1))
    async with opened_gateway({"deep": backend}) as gateway:
        answer = await gateway.client.post(CHAT, question())

    document = answer.document
    assert answer.status == 200
    assert document["object"] == "chat.completion"
    assert document["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "42", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert document["usage"] == {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
    assert document["model"] == "answering-1"
    assert answer.headers["x-holdfast-backend"] == "deep"
    assert answer.headers["x-holdfast-disposition"] == "called"
    assert answer.headers["x-holdfast-attempts"] == "1"
    assert document["holdfast"]["backend"] == "deep"
    assert answer.headers["x-request-id"] == document["id"]


@pytest.mark.parametrize("how", ["submit", "stream"])
async def test_chat_that_brings_no_name_has_one_in_the_service_and_in_its_reply(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    async with opened_gateway({"a": Answering()}) as gateway:
        real = getattr(gateway.service, how)

        def ask(request: Request) -> object:
            asked.append(request.request_id)
            return real(request)

        monkeypatch.setattr(gateway.service, how, ask)
        answer = await gateway.client.post(CHAT, question(stream=how == "stream"))

    assert answer.status == 200
    assert asked == [answer.headers["x-request-id"]]


async def test_chat_headers_become_fields_of_the_request() -> None:
    backend = Answering()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"x-request-id": "r-7", "idempotency-key": "once", "x-holdfast-priority": "critical"}
    async with opened_gateway({"a": backend}) as gateway:
        answer = await gateway.client.post(CHAT, question(), **headers, traceparent=parent)
        counts = gateway.service.health().events.counts

    assert answer.headers["x-request-id"] == "r-7"
    assert backend.prompts[0].idempotency_key == "once"
    assert backend.prompts[0].trace is not None
    assert backend.prompts[0].trace.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert counts["request_answered"] == 1


async def test_chat_duplicate_is_answered_from_the_window_and_says_so() -> None:
    backend = Answering()
    async with opened_gateway({"a": backend}) as gateway:
        await gateway.client.post(CHAT, question())
        answer = await gateway.client.post(CHAT, question())

    assert answer.headers["x-holdfast-disposition"] == "cached"
    assert backend.calls == 1


async def test_chat_no_cache_asks_a_backend_anew() -> None:
    backend = Answering()
    async with opened_gateway({"a": backend}) as gateway:
        await gateway.client.post(CHAT, question())
        await gateway.client.post(CHAT, question(), **{"cache-control": "no-cache"})

    assert backend.calls == 2


async def test_chat_timeout_header_sets_the_deadline() -> None:
    async with opened_gateway({"slow": Answering(delay_s=20.0)}) as gateway:
        answer = await gateway.client.post(CHAT, question(), **{"x-holdfast-timeout-s": "1.5"})
        await anyio.sleep(0.01)
        assert_nothing_is_held(gateway.service.health())

    assert answer.status == 504
    assert answer.document["error"]["code"] == "deadline_exceeded"
    assert "1.5 s" in answer.document["error"]["message"]


async def test_chat_session_goes_on_with_what_was_said() -> None:
    backend = Answering()
    async with opened_gateway({"a": backend}) as gateway:
        session = await gateway.service.sessions.create(tenant="default")
        await gateway.client.post(CHAT, question("first"), **{"x-holdfast-session": session})
        await gateway.client.post(CHAT, question("second"), **{"x-holdfast-session": session})

    assert [message.content for message in backend.prompts[1].messages] == ["first", "42", "second"]


async def test_chat_unknown_session_is_404() -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        answer = await gateway.client.post(CHAT, question(), **{"x-holdfast-session": "gone"})

    assert answer.status == 404


PERSONAS = Settings.model_validate(
    {"prompts": {"p": "Be brief."}, "personas": {"critic": {"prompt": "p"}, "Kritikerin": {"prompt": "p"}}}
)


@pytest.mark.parametrize(
    ("model", "headers"), [("holdfast:critic", {}), ("holdfast", {"x-holdfast-persona": "critic"})]
)
async def test_chat_persona_is_chosen_as_a_model_or_by_header(model: str, headers: dict[str, str]) -> None:
    backend = Answering()
    async with opened_gateway({"a": backend}, PERSONAS) as gateway:
        answer = await gateway.client.post(CHAT, question() | {"model": model}, **headers)

    assert answer.headers["x-holdfast-persona"] == "critic"
    assert backend.prompts[0].messages[0].content == "Be brief."
    assert backend.prompts[0].model is None


async def test_chat_two_different_personas_are_refused() -> None:
    body = question() | {"model": "holdfast:critic"}
    async with opened_gateway({"a": Answering()}, PERSONAS) as gateway:
        answer = await gateway.client.post(CHAT, body, **{"x-holdfast-persona": "Kritikerin"})

    assert answer.status == 400
    assert answer.document["error"]["param"] == "x-holdfast-persona"


async def test_chat_any_other_model_is_handed_to_the_backend() -> None:
    backend = Answering()
    async with opened_gateway({"a": backend}) as gateway:
        await gateway.client.post(CHAT, question() | {"model": "llama-9"})

    assert backend.prompts[0].model == "llama-9"


async def test_chat_parameters_reach_the_backend() -> None:
    backend = Answering()
    body = question(temperature=0.5, top_p=0.9, max_tokens=7, seed=1, stop="END")
    async with opened_gateway({"a": backend}) as gateway:
        await gateway.client.post(CHAT, body)

    assert backend.prompts[0].parameters == Parameters(temperature=0.5, top_p=0.9, max_tokens=7, seed=1, stop=("END",))


async def test_chat_newer_name_of_max_tokens_wins() -> None:
    backend = Answering()
    async with opened_gateway({"a": backend}) as gateway:
        await gateway.client.post(CHAT, question(max_tokens=7, max_completion_tokens=9, stop=["a", "b"]))

    assert backend.prompts[0].parameters.max_tokens == 9
    assert backend.prompts[0].parameters.stop == ("a", "b")


@pytest.mark.parametrize(
    ("given", "form", "schema"),
    [
        ({"type": "text"}, ResponseFormat.TEXT, None),
        ({"type": "json_object"}, ResponseFormat.JSON, None),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {"type": "object"}}},
            ResponseFormat.JSON,
            '{"type":"object"}',
        ),
    ],
)
async def test_chat_response_format_reaches_the_backend(
    given: dict[str, Any], form: ResponseFormat, schema: str | None
) -> None:
    backend = Answering(text="{}")
    async with opened_gateway({"a": backend}) as gateway:
        await gateway.client.post(CHAT, question(response_format=given))

    assert backend.prompts[0].parameters.response_format is form
    assert backend.prompts[0].parameters.json_schema == schema


class Calling:
    """Calls a tool."""

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []

    async def complete(self, prompt: Prompt) -> Completion:
        self.prompts.append(prompt)
        call = ToolCall(call_id="c1", name="weather", arguments='{"city":"Bern"}')
        return Completion(text="", model="m", tool_calls=(call,), finish_reason=FinishReason.TOOL_CALLS)


WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells it.", "parameters": {"type": "object"}},
}


async def test_chat_tools_reach_the_backend_and_their_calls_the_client() -> None:
    backend = Calling()
    async with opened_gateway({"a": backend}) as gateway:
        answer = await gateway.client.post(CHAT, question(tools=[WEATHER], tool_choice="required"))

    parameters = backend.prompts[0].parameters
    assert parameters.tools == (Tool(name="weather", description="Tells it.", json_schema='{"type":"object"}'),)
    assert parameters.tool_choice is ToolChoice.REQUIRED
    [choice] = answer.document["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
    ]


async def test_chat_tool_that_must_be_called_reaches_the_backend() -> None:
    backend = Calling()
    choice = {"type": "function", "function": {"name": "weather"}}
    async with opened_gateway({"a": backend}) as gateway:
        answer = await gateway.client.post(
            CHAT, question(tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False)
        )

    parameters = backend.prompts[0].parameters
    assert answer.status == 200
    assert parameters.tool_choice is ToolChoice.REQUIRED
    assert parameters.required_tool == "weather"
    assert parameters.parallel_tool_calls is False


async def test_chat_that_requires_another_tool_shares_no_answer() -> None:
    backend = Calling()
    dice = {"type": "function", "function": {"name": "dice"}}
    async with opened_gateway({"a": backend}) as gateway:
        for name in ("weather", "dice", "weather"):
            choice = {"type": "function", "function": {"name": name}}
            await gateway.client.post(CHAT, question(tools=[WEATHER, dice], tool_choice=choice))

    assert [prompt.parameters.required_tool for prompt in backend.prompts] == ["weather", "dice"]


@pytest.mark.parametrize(
    ("tools", "choice", "told"),
    [
        ([WEATHER], {"type": "function", "function": {"name": "dice"}}, "requires a tool that is none of tools"),
        ([], {"type": "function", "function": {"name": "weather"}}, "needs tools"),
        ([], "required", "needs tools"),
    ],
)
async def test_chat_tool_that_must_be_called_and_is_not_given_is_refused(
    tools: list[object], choice: object, told: str
) -> None:
    backend = Calling()
    async with opened_gateway({"a": backend}) as gateway:
        answer = await gateway.client.post(CHAT, question(tools=tools, tool_choice=choice))

    assert answer.status == 400
    assert answer.document["error"]["message"].startswith(f"parameters.tool_choice: {told}")
    assert backend.prompts == []


async def test_chat_stream_brings_calls_of_tools_before_its_end() -> None:
    async with opened_gateway({"a": Calling()}) as gateway:
        answer = await gateway.client.post(CHAT, question(tools=[WEATHER], stream=True))

    *_, called, ending, done = events_of(answer.body)
    assert called["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "weather"
    assert ending["choices"][0]["finish_reason"] == "tool_calls"
    assert done == "[DONE]"


async def test_chat_conversation_with_a_tool_reaches_the_backend() -> None:
    backend = Answering()
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None, "annotations": []},
        {"role": "tool", "tool_call_id": "c1", "content": "No."},
    ]
    async with opened_gateway({"a": backend}) as gateway:
        answer = await gateway.client.post(CHAT, {"messages": messages, "tools": [WEATHER]})

    assert answer.status == 200
    assert backend.prompts[0].messages == (
        Message(role=Role.SYSTEM, content="Be brief."),
        Message(role=Role.USER, content="Rain?"),
        Message(
            role=Role.ASSISTANT,
            content="",
            tool_calls=(ToolCall(call_id="c1", name="weather", arguments="{}"),),
        ),
        Message(role=Role.TOOL, content="No.", tool_call_id="c1"),
    )


async def test_chat_fields_that_change_no_answer_are_taken() -> None:
    harmless: dict[str, Any] = {
        "user": "u",
        "metadata": {"a": "b"},
        "store": False,
        "n": 1,
        "logprobs": False,
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "logit_bias": {},
        "modalities": ["text"],
        "service_tier": "auto",
        "parallel_tool_calls": True,
        "tools": [],
        "tool_choice": "auto",
        "stream": False,
    }
    async with opened_gateway({"a": Answering()}) as gateway:
        answer = await gateway.client.post(CHAT, question(**harmless))

    assert answer.status == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("logit_bias", {"50256": -100}),
        ("modalities", ["text", "audio"]),
        ("store", True),
        ("audio", {"voice": "alloy"}),
        ("reasoning_effort", "high"),
        ("web_search_options", {}),
        ("functions", []),
        ("tool_choice", "sometimes"),
        ("tool_choice", 3),
        ("tool_choice", {"type": "function", "function": {}}),
        ("tool_choice", {"type": "function", "function": {"name": "weather", "strict": True}}),
        ("tool_choice", {"type": "allowed_tools", "allowed_tools": {}}),
        ("parallel_tool_calls", "no"),
        ("temperature", "hot"),
        ("max_tokens", 1.5),
        ("stream", "yes"),
        ("model", ""),
        ("messages", []),
    ],
)
async def test_chat_field_that_cannot_be_honoured_is_refused_by_its_name(field: str, value: object) -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        answer = await gateway.client.post(CHAT, question() | {field: value})
        received = gateway.service.health().requests.received

    error = answer.document["error"]
    assert answer.status == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"].split(".")[0] == field
    assert error["message"].startswith(field)
    assert received == 0


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user", "content": "hi", "name": "ann"}, "messages.0.name"),
        ({"role": "critic", "content": "hi"}, "messages.0"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "messages.0.content.0.type"),
        ({"role": "tool", "content": "hi"}, "messages.0.tool_call_id"),
        ("hi", "messages.0"),
    ],
)
async def test_chat_message_that_is_not_understood_is_refused_by_its_place(message: object, param: str) -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        answer = await gateway.client.post(CHAT, {"messages": [message]})

    assert answer.status == 400
    assert answer.document["error"]["param"] == param


@pytest.mark.parametrize("document", [[], "text", 3, None])
async def test_chat_body_that_is_no_object_is_refused(document: object) -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        answer = await gateway.client.post(CHAT, document)

    assert answer.status == 400
    assert answer.document["error"] == {
        "message": "the body: must be an object",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_field",
    }


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"messages": [3]}, "messages.0"),
        ({"messages": [{"role": "assistant", "tool_calls": [3]}]}, "messages.0.tool_calls.0"),
        ({"tools": [3]}, "tools.0"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": 3}}]}, "tools.0.function.parameters"),
        ({"tool_choice": {"type": "function", "function": 3}}, "tool_choice.function"),
        ({"response_format": 3}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": 3}}, "response_format.json_schema"),
        ({"stream_options": 3}, "stream_options"),
    ],
)
async def test_chat_part_that_is_no_object_is_refused_by_its_place_in_words_of_json(
    given: dict[str, object], param: str
) -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        answer = await gateway.client.post(CHAT, {**question(), **given})

    assert answer.document["error"]["message"] == f"{param}: must be an object"
    assert answer.document["error"]["param"] == param


@pytest.mark.parametrize(
    "given",
    [
        {"messages": [0] * 500},
        {"messages": [{"role": "user", "content": [0] * 500}]},
        {"messages": [{"role": "assistant", "tool_calls": [0] * 500}]},
        {"tools": [0] * 500},
        {"stop": [0] * 500},
        {"modalities": [0] * 500},
    ],
)
async def test_chat_list_that_is_wrong_throughout_is_refused_by_its_first_item(given: dict[str, object]) -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        answer = await gateway.client.post(CHAT, {**question(), **given})

    assert answer.document["error"]["param"].endswith(".0")


async def test_chat_body_of_more_unknown_fields_than_are_told_is_refused_without_them() -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        answer = await gateway.client.post(CHAT, question() | {str(number): 0 for number in range(101)})

    assert answer.status == 400
    assert answer.document["error"]["message"] == "the body: more than 100 fields are wrong"


async def test_chat_body_of_more_values_than_are_taken_is_refused_and_one_of_as_many_is_answered() -> None:
    backend = Answering()
    body = {"messages": [{"role": "user", "content": "why?"}] * 33}
    async with opened_gateway({"a": backend}, options=GatewayOptions(max_body_values=101)) as gateway:
        answered = await gateway.client.post(CHAT, body)
        refused = await gateway.client.post(CHAT, body | {"stream": False})

    assert (answered.status, refused.status) == (200, 400)
    assert refused.document["error"]["message"] == (
        "the body is not JSON that is taken: has more than 101 values; send fewer messages, parts or tools"
    )
    assert backend.calls == 1


async def test_chat_refusal_repeats_nothing_of_the_value() -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        answer = await gateway.client.post(CHAT, question(temperature="my secret"))

    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("header", "value"),
    [("x-holdfast-priority", "urgent"), ("x-holdfast-timeout-s", "soon"), ("x-holdfast-timeout-s", "")],
)
async def test_chat_header_that_is_not_understood_is_refused_by_its_name(header: str, value: str) -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        answer = await gateway.client.post(CHAT, question(), **{header: value})

    assert answer.status == 400
    assert answer.document["error"]["param"] == header


@pytest.mark.parametrize("value", ["0", "-1", "inf", "nan"])
async def test_chat_deadline_that_is_none_is_refused_by_the_door(value: str) -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        answer = await gateway.client.post(CHAT, question(), **{"x-holdfast-timeout-s": value})

    assert answer.status == 400
    assert "timeout_s" in answer.document["error"]["message"]


async def test_chat_stream_opens_with_the_role_and_ends_with_usage_outcome_and_done() -> None:
    async with opened_gateway({"a": Telling("forty", "-two", pause_s=1.0)}) as gateway:
        body = question(stream=True, stream_options={"include_usage": True})
        answer = await gateway.client.post(CHAT, body)
        await anyio.sleep(0.01)
        assert_nothing_is_held(gateway.service.health())

    opening, *pieces, ending, usage, done = events_of(answer.body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert opening["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [piece["choices"][0]["delta"]["content"] for piece in pieces] == ["forty", "-two"]
    assert ending["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert ending["holdfast"]["disposition"] == "called"
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert done == "[DONE]"
    assert len({event["id"] for event in [opening, *pieces, ending, usage]}) == 1
    assert answer.complete


async def test_chat_stream_without_the_option_tells_no_usage() -> None:
    async with opened_gateway({"a": Telling("hi")}) as gateway:
        answer = await gateway.client.post(CHAT, question(stream=True))

    assert all("usage" not in event for event in events_of(answer.body)[:-1])


async def test_chat_stream_of_an_empty_answer_is_complete() -> None:
    async with opened_gateway({"a": Telling()}) as gateway:
        answer = await gateway.client.post(CHAT, question(stream=True))

    opening, ending, done = events_of(answer.body)
    assert opening["choices"][0]["delta"]["role"] == "assistant"
    assert ending["choices"][0]["finish_reason"] == "stop"
    assert done == "[DONE]"


async def test_chat_stream_of_a_large_piece_comes_in_small_events() -> None:
    text = "ä" * 20_000
    async with opened_gateway({"a": Telling(text)}) as gateway:
        answer = await gateway.client.post(CHAT, question(stream=True))

    assert _text(events_of(answer.body)) == text
    assert max(len(event) for event in answer.body.split(b"\n\n")) < 10_000


async def test_chat_stream_of_a_large_answer_that_was_kept_comes_in_small_events() -> None:
    text = "ä" * 20_000
    async with opened_gateway({"a": Telling(text)}) as gateway:
        await gateway.client.post(CHAT, question())
        answer = await gateway.client.post(CHAT, question(stream=True))

    *_, ending, _ = events = events_of(answer.body)
    assert ending["holdfast"]["disposition"] == "cached"
    assert _text(events) == text
    assert max(len(event) for event in answer.body.split(b"\n\n")) < 10_000


async def test_chat_half_of_a_surrogate_pair_reaches_the_client_as_valid_json() -> None:
    async with opened_gateway({"a": Telling("a\ud83d")}) as gateway:
        whole = await gateway.client.post(CHAT, question())
        streamed = await gateway.client.post(CHAT, question("again", stream=True))

    assert whole.document["choices"][0]["message"]["content"] == "a\ud83d"
    assert _text(events_of(streamed.body)) == "a\ud83d"


async def test_chat_stream_that_fails_before_its_first_piece_has_the_status_of_the_error() -> None:
    async with opened_gateway({"a": Telling(error=BackendUnavailableError("down", backend="a"))}, ONCE_EACH) as gateway:
        answer = await gateway.client.post(CHAT, question(stream=True))

    assert answer.status == 502
    assert answer.headers["content-type"] == "application/json"
    assert answer.document["error"]["code"] == "backend_unavailable"


ONCE_EACH = Settings(guard=ONCE)


async def test_chat_stream_that_is_cut_ends_with_an_error_and_without_done() -> None:
    error = BackendUnavailableError("down", backend="a")
    async with opened_gateway({"a": Telling("for", error=error)}, ONCE_EACH) as gateway:
        answer = await gateway.client.post(CHAT, question(stream=True))

    *_, last = events_of(answer.body)
    assert answer.status == 200
    assert last["error"]["code"] == "stream_interrupted"
    assert "[DONE]" not in answer.text
    assert answer.complete


async def test_chat_stream_whose_deadline_passes_ends_with_an_error() -> None:
    async with opened_gateway({"a": Telling("for", "ty", pause_s=2.0)}) as gateway:
        answer = await gateway.client.post(CHAT, question(stream=True), **{"x-holdfast-timeout-s": "3"})
        await anyio.sleep(0.01)
        assert_nothing_is_held(gateway.service.health())

    assert events_of(answer.body)[-1]["error"]["code"] == "deadline_exceeded"


async def _leave_after(exchange: Exchange, delay_s: float) -> None:
    await anyio.sleep(delay_s)
    exchange.left.set()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("after_s", [0.5, 2.5], ids=["before the first piece", "in the midst"])
async def test_chat_client_that_leaves_ends_its_call(stream: bool, after_s: float) -> None:
    backend, exchange = Telling("a", "b", "c", "d", pause_s=1.0), Exchange()
    async with opened_gateway({"a": backend}) as gateway, anyio.create_task_group() as tasks:
        tasks.start_soon(_leave_after, exchange, after_s)
        await gateway.client.ask(
            "POST",
            CHAT,
            [_json(question(stream=stream))],
            headers={"content-type": "application/json"},
            exchange=exchange,
        )
        await anyio.sleep(0.01)
        health = gateway.service.health()

    assert backend.running == 0
    assert health.requests.cancelled == 1
    assert_nothing_is_held(health)


def _json(document: object) -> bytes:
    return json.dumps(document).encode()


async def test_chat_twenty_identical_streams_make_one_call_and_are_all_complete() -> None:
    backend = Telling(*"forty-two", pause_s=0.1)
    answers: list[Exchange] = []
    async with opened_gateway({"a": backend}) as gateway:

        async def ask() -> None:
            answers.append(await gateway.client.post(CHAT, question(stream=True)))

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)

    assert len(backend.prompts) == 1
    assert [_text(events_of(answer.body)) for answer in answers] == ["forty-two"] * 20
    assert all(events_of(answer.body)[-1] == "[DONE]" for answer in answers)


async def test_chat_slow_reader_holds_its_backend_back_and_is_given_everything() -> None:
    backend = Telling(*("x" * 1000 for _ in range(100)))

    async def read_slowly(_: bytes) -> None:
        await anyio.sleep(0.5)

    async with opened_gateway({"a": backend}) as gateway, anyio.create_task_group() as tasks:
        exchange = Exchange()

        async def ask() -> None:
            headers = {"content-type": "application/json"}
            body = [_json(question(stream=True))]
            await gateway.client.ask("POST", CHAT, body, headers=headers, exchange=exchange, on_event=read_slowly)

        tasks.start_soon(ask)
        await anyio.sleep(2.0)
        ahead_bytes = gateway.service.health().streams.log_bytes
        await anyio.sleep(50.0)

    assert ahead_bytes < 60_000
    assert len(_text(events_of(exchange.body))) == 100_000


async def test_chat_full_queue_is_503_with_retry_after_while_health_answers() -> None:
    settings = Settings(max_in_flight=1, admission=AdmissionConfig(max_waiting=1))
    async with opened_gateway({"slow": Answering(delay_s=10.0)}, settings) as gateway:
        answers: list[Exchange] = []

        async def ask(number: int) -> None:
            answers.append(await gateway.client.post(CHAT, question(f"question {number}")))

        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(ask, number)
            await anyio.sleep(1.0)
            health = await gateway.client.get("/healthz")

    refused = [answer for answer in answers if answer.status != 200]
    assert health.status == 200
    assert len(refused) == 2
    assert {answer.status for answer in refused} == {503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)


async def test_chat_tenant_over_its_limit_is_429_with_retry_after() -> None:
    settings = Settings.model_validate({"tenant_rate_limit": {"requests_per_minute": 1, "burst_requests": 1}})
    async with opened_gateway({"a": Answering()}, settings) as gateway:
        await gateway.client.post(CHAT, question("one"))
        answer = await gateway.client.post(CHAT, question("two"))

    assert answer.status == 429
    assert int(answer.headers["retry-after"]) == 60
    assert answer.document["error"]["type"] == "rate_limit_error"


async def test_chat_backend_that_pushes_back_is_503_with_what_it_asked_for() -> None:
    backend = Answering(failing=lambda _: BackendThrottledError(backend="a", retry_after_s=7.2))
    async with opened_gateway({"a": backend}, ONCE_EACH) as gateway:
        answer = await gateway.client.post(CHAT, question())

    assert answer.status == 503
    assert answer.headers["retry-after"] == "8"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_chat_that_fails_has_its_name_in_the_answer(stream: bool) -> None:
    async with opened_gateway({"a": Answering(failing=unavailable)}, ONCE_EACH) as gateway:
        named = await gateway.client.post(CHAT, question(stream=stream), **{"x-request-id": "r-7"})
        unnamed = await gateway.client.post(CHAT, question(stream=stream))

    assert (named.status, named.headers["x-request-id"]) == (502, "r-7")
    assert unnamed.headers["x-request-id"].startswith("chatcmpl-")


async def test_chat_failing_backend_is_502_without_retry_after() -> None:
    async with opened_gateway({"a": Answering(failing=unavailable)}, ONCE_EACH) as gateway:
        answer = await gateway.client.post(CHAT, question())

    assert answer.status == 502
    assert "retry-after" not in answer.headers


async def test_chat_while_draining_is_503_and_readiness_false_while_health_answers() -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        before = await gateway.client.get("/readyz")
        await gateway.service.drain(0.0)
        answer = await gateway.client.post(CHAT, question())
        ready, healthy = await gateway.client.get("/readyz"), await gateway.client.get("/healthz")

    assert before.status == 200
    assert (answer.status, ready.status, healthy.status) == (503, 503, 200)
    assert answer.document["error"]["message"] == "this instance is ending; ask again"
    assert ready.document == {"status": "closed"}


async def test_chat_bug_in_an_adapter_tells_the_client_nothing() -> None:
    exchange, headers = Exchange(), {"content-type": "application/json"}
    backend = Answering(failing=lambda _: ZeroDivisionError("secret detail"))
    async with opened_gateway({"a": backend}, ONCE_EACH) as gateway:
        with pytest.raises(ZeroDivisionError):
            await gateway.client.ask("POST", CHAT, [_json(question(stream=True))], headers=headers, exchange=exchange)

    assert exchange.status == 500
    assert exchange.document["error"]["code"] == "internal"
    assert "secret" not in exchange.text
