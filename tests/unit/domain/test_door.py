from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from holdfast.domain.door import MAX_TENANT_CHARS, check_request
from holdfast.ports.errors import RequestError
from holdfast.ports.inference import Message, Parameters, ResponseFormat, Role, Tool, ToolCall, ToolChoice
from holdfast.ports.service import Priority, Request
from holdfast.ports.trace import TraceContext

QUESTION = Request(messages=(Message(role=Role.USER, content="why?"),))


def test_check_request_plain_question_returns_its_size_in_bytes() -> None:
    assert check_request(QUESTION, max_bytes=4) == 4


def test_check_request_text_beyond_ascii_is_measured_as_utf8() -> None:
    request = Request(
        messages=(
            Message(role=Role.SYSTEM, content="brief"),
            Message(role=Role.USER, content="größe 🙂"),
        )
    )

    assert check_request(request, max_bytes=100) == len("brief") + len("größe 🙂".encode())


def test_check_request_lone_surrogate_is_measured_not_refused() -> None:
    request = Request(messages=(Message(role=Role.USER, content="\ud800"),))

    assert check_request(request, max_bytes=100) == 3


def test_check_request_at_the_limit_passes_and_one_byte_less_is_refused() -> None:
    assert check_request(QUESTION, max_bytes=4) == 4
    with pytest.raises(RequestError, match=r"messages: 4 bytes or more do not fit into the 3 allowed"):
        check_request(QUESTION, max_bytes=3)


def test_check_request_of_megabytes_of_emoji_is_refused_without_copying_them() -> None:
    request = Request(messages=(Message(role=Role.USER, content="\N{GRINNING FACE}" * 2_500_000),))
    tracemalloc.start()
    try:
        with pytest.raises(RequestError, match="bytes or more"):
            check_request(request, max_bytes=4_000_000)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 1_000_000


@pytest.mark.parametrize(
    "messages",
    [
        (),
        (Message(role=Role.ASSISTANT, content="hello"),),
        (Message(role=Role.USER, content="hello"), Message(role=Role.SYSTEM, content="be brief")),
    ],
)
def test_check_request_without_user_message_at_the_end_is_refused(messages: tuple[Message, ...]) -> None:
    with pytest.raises(RequestError, match=r"messages: the last message must be the user's"):
        check_request(Request(messages=messages), max_bytes=100)


@pytest.mark.parametrize("content", ["", " \n\t"])
def test_check_request_blank_question_is_refused(content: str) -> None:
    request = Request(messages=(Message(role=Role.USER, content=content),))

    with pytest.raises(RequestError, match=r"messages: the last message must not be blank"):
        check_request(request, max_bytes=100)


def test_check_request_empty_tenant_is_refused() -> None:
    with pytest.raises(RequestError, match=r"tenant: must not be empty"):
        check_request(replace(QUESTION, tenant=""), max_bytes=100)


def test_check_request_tenant_with_the_longest_name_passes_and_one_character_more_is_refused() -> None:
    check_request(replace(QUESTION, tenant="t" * MAX_TENANT_CHARS), max_bytes=100)
    with pytest.raises(RequestError, match=r"tenant: 257 characters are more than the 256 allowed"):
        check_request(replace(QUESTION, tenant="t" * (MAX_TENANT_CHARS + 1)), max_bytes=100)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, math.inf, math.nan, 10**400])
def test_check_request_timeout_that_is_no_time_is_refused(timeout_s: float) -> None:
    with pytest.raises(RequestError, match=r"timeout_s: must be a finite number above 0"):
        check_request(replace(QUESTION, timeout_s=timeout_s), max_bytes=100)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        (Parameters(temperature=-0.1), "temperature"),
        (Parameters(temperature=math.nan), "temperature"),
        (Parameters(temperature=math.inf), "temperature"),
        (Parameters(top_p=0.0), "top_p"),
        (Parameters(top_p=1.1), "top_p"),
        (Parameters(top_p=math.nan), "top_p"),
        (Parameters(max_tokens=0), "max_tokens"),
    ],
)
def test_check_request_parameter_out_of_range_is_refused_by_name(parameters: Parameters, field: str) -> None:
    with pytest.raises(RequestError, match=rf"parameters\.{field}: "):
        check_request(replace(QUESTION, parameters=parameters), max_bytes=100)


@pytest.mark.parametrize("parameters", [Parameters(temperature=0.0), Parameters(top_p=1.0), Parameters(max_tokens=1)])
def test_check_request_parameter_at_its_bound_passes(parameters: Parameters) -> None:
    assert check_request(replace(QUESTION, parameters=parameters), max_bytes=4) == 4


@pytest.mark.parametrize("priority", list(Priority))
def test_check_request_every_priority_passes(priority: Priority) -> None:
    assert check_request(replace(QUESTION, priority=priority), max_bytes=4) == 4


@pytest.mark.parametrize("priority", [7, 2, -1, "urgent", "NORMAL", None, True, 1.0, [Priority.LOW]])
def test_check_request_priority_that_is_none_is_a_value_error_naming_the_valid_ones(priority: object) -> None:
    with pytest.raises(RequestError) as caught:
        check_request(replace(QUESTION, priority=priority), max_bytes=4)  # type: ignore[arg-type] # as one who ignores types

    assert isinstance(caught.value, ValueError)
    assert str(caught.value) == (
        "priority: must be one of Priority.CRITICAL, Priority.HIGH, Priority.NORMAL, Priority.LOW, Priority.BULK, "
        f"not {priority!r}"
    )


CLOCK = Tool(name="clock", json_schema='{"type": "object"}')
CALLED = (
    *QUESTION.messages,
    Message(
        role=Role.ASSISTANT, content="", tool_calls=(ToolCall(call_id="c1", name="clock", arguments='{"zone":"UTC"}'),)
    ),
    Message(role=Role.TOOL, content="noon", tool_call_id="c1"),
)


def test_check_request_that_ends_with_what_a_tool_gave_back_counts_all_that_was_said() -> None:
    size_bytes = check_request(replace(QUESTION, messages=CALLED), max_bytes=100)

    assert size_bytes == len("why?") + len("c1" + "clock" + '{"zone":"UTC"}') + len("noon" + "c1")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (replace(QUESTION, model="m" * 97), "model"),
        (replace(QUESTION, persona="p" * 97), "persona"),
        (replace(QUESTION, idempotency_key="k" * 97), "idempotency_key"),
        (replace(QUESTION, request_id="i" * 97), "request_id"),
        (replace(QUESTION, parameters=Parameters(stop=("s" * 97,))), "parameters.stop"),
        (replace(QUESTION, trace=TraceContext(trace_id="1" * 32, span_id="2" * 16, state="t=" + "1" * 97)), "trace"),
    ],
)
def test_check_request_text_without_a_bound_of_its_own_counts_and_is_named(asked: Request, field: str) -> None:
    assert check_request(asked, max_bytes=1000) > 100
    with pytest.raises(RequestError, match=rf"^{field}: \d+ bytes or more do not fit into the 96 allowed"):
        check_request(asked, max_bytes=96)


def test_check_request_counts_tools_and_schema() -> None:
    parameters = Parameters(tools=(CLOCK,), response_format=ResponseFormat.JSON, json_schema='{"a": 1}')

    size_bytes = check_request(replace(QUESTION, parameters=parameters), max_bytes=100)

    assert size_bytes == len("why?") + len("clock") + len('{"type": "object"}') + len('{"a": 1}')


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        (Parameters(json_schema="{}"), "json_schema: needs the response_format json"),
        (Parameters(response_format=ResponseFormat.JSON, json_schema="{"), "json_schema: must be a JSON object"),
        (Parameters(response_format=ResponseFormat.JSON, json_schema="[]"), "json_schema: must be a JSON object"),
        (Parameters(response_format=ResponseFormat.JSON, json_schema="[" * 90_000), "json_schema: must be a JSON obj"),
        (Parameters(tools=(Tool(name=""),)), "tools: each needs a name"),
        (Parameters(tools=(CLOCK, CLOCK)), "tools: each needs a name of its own"),
        (Parameters(tools=(Tool(name="dice", json_schema="7"),)), "tools: the json_schema of 'dice' must be"),
        (Parameters(tool_choice=ToolChoice.AUTO), "tool_choice: needs tools"),
        (Parameters(required_tool="clock"), "required_tool: needs tools"),
        (Parameters(parallel_tool_calls=False), "parallel_tool_calls: needs tools"),
        (Parameters(tools=(CLOCK,), required_tool="clock"), "required_tool: needs the tool_choice required"),
        (
            Parameters(tools=(CLOCK,), tool_choice=ToolChoice.AUTO, required_tool="clock"),
            "required_tool: needs the tool_choice required",
        ),
        (
            Parameters(tools=(CLOCK,), tool_choice=ToolChoice.REQUIRED, required_tool="dice"),
            "tool_choice: requires a tool that is none of tools; name one of them",
        ),
    ],
)
def test_check_request_whose_form_of_answer_nobody_could_keep_is_refused(parameters: Parameters, problem: str) -> None:
    with pytest.raises(RequestError, match=rf"parameters\.{problem}"):
        check_request(replace(QUESTION, parameters=parameters), max_bytes=100_000)


def test_check_request_that_requires_one_of_its_tools_passes() -> None:
    dice = Tool(name="dice")
    parameters = Parameters(
        tools=(CLOCK, dice), tool_choice=ToolChoice.REQUIRED, required_tool="dice", parallel_tool_calls=False
    )

    assert check_request(replace(QUESTION, parameters=parameters), max_bytes=100) > 0


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        (CALLED[1:], "one of them must be the user's"),
        ((*CALLED[:-1], replace(CALLED[-1], tool_call_id=None)), "says with tool_call_id what it answers"),
        ((replace(CALLED[0], tool_call_id="c1"),), "says with tool_call_id what it answers"),
        ((replace(CALLED[0], tool_calls=CALLED[1].tool_calls),), "only the assistant's messages have tool_calls"),
    ],
)
def test_check_request_with_calls_of_tools_where_none_can_be_is_refused(
    messages: tuple[Message, ...], problem: str
) -> None:
    with pytest.raises(RequestError, match=f"messages: .*{problem}"):
        check_request(replace(QUESTION, messages=messages), max_bytes=100)


@pytest.mark.parametrize(
    "changes",
    [{"messages": CALLED}, {"messages": (*CALLED[:2], *QUESTION.messages)}, {"parameters": Parameters(tools=(CLOCK,))}],
)
def test_check_request_with_tools_in_a_session_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="session_id: a session keeps no calls of tools"):
        check_request(replace(QUESTION, session_id="s", **changes), max_bytes=100)
