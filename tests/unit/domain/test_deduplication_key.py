from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields, replace
from enum import Enum, IntEnum
from typing import Any

import pytest

from holdfast.domain.deduplication_key import DeduplicationKey, opts_out
from holdfast.ports.inference import (
    Message,
    Parameters,
    ResponseFormat,
    Role,
    Tool,
    ToolCall,
    ToolChoice,
)
from holdfast.ports.service import Priority, Request

QUESTION = (Message(role=Role.USER, content="Why is the sky blue?"),)
EVERYTHING = Parameters(
    temperature=0.7,
    top_p=1,
    max_tokens=256,
    seed=-1,
    stop=("\n\n", "END"),
    response_format=ResponseFormat.JSON,
)
TOOLS = (Tool(name="clock", description="Tells the time.", json_schema='{"type":"object"}'), Tool(name="dice"))
CALLS = (ToolCall(call_id="c1", name="clock", arguments="{}"), ToolCall(call_id="c2", name="dice", arguments=""))
EVERY_PARAMETER = replace(
    EVERYTHING,
    json_schema="{}",
    tools=TOOLS,
    tool_choice=ToolChoice.REQUIRED,
    required_tool="clock",
    parallel_tool_calls=False,
)

# Never to be changed: a process of an older version must find the same key. A new encoding gets a new schema and new
# lines here.
GOLDEN = [
    (
        {"tenant": "default", "model": None, "messages": QUESTION, "parameters": Parameters()},
        "holdfast.deduplication.1;7:default4,20:userWhy is the sky blue?",
        "880c551e7b75260b87ae9c37417b7b26ec228c1594ea610f526542422b01b231",
    ),
    (
        {
            "tenant": "acme",
            "model": "small",
            "persona": "support-3",
            "session": ("c-17", 20),
            "messages": (
                Message(role=Role.SYSTEM, content="Be brief."),
                Message(role=Role.USER, content="Grüße, 世界 🌍"),
            ),
            "parameters": EVERYTHING,
        },
        (
            "holdfast.deduplication.1;4:acmem5:smallp9:support-3v0x14;4:c-17"
            "td0.7;q0x1;x0x100;s-0x1;e0x2;2:\n\n3:ENDf4:json"
            "6,9:systemBe brief.4,11:userGrüße, 世界 🌍"
        ),
        "280df48c388f9bec018b4ab926c392ed683c414b1a524a4ce1b24129b2255678",
    ),
    (
        {
            "tenant": "",
            "model": "",
            "messages": (Message(role=Role.USER, content="\ud800"),),
            "parameters": Parameters(temperature=1e-7),
        },
        "holdfast.deduplication.1;0:m0:td1e-07;4,1:user\ud800",
        "82b58dee273809d6b14e39511a2e03763f56100d9a7aca371d463ba829b53592",
    ),
    (
        {
            "tenant": "acme",
            "model": None,
            "messages": (
                *QUESTION,
                Message(role=Role.ASSISTANT, content="", tool_calls=CALLS),
                Message(role=Role.TOOL, content="noon", tool_call_id="c1"),
            ),
            "parameters": Parameters(
                response_format=ResponseFormat.JSON,
                json_schema='{"a":1}',
                tools=TOOLS,
                tool_choice=ToolChoice.REQUIRED,
            ),
        },
        (
            'holdfast.deduplication.1;4:acmef4:jsonj7:{"a":1}'
            'o0x2;5:clock15:Tells the time.17:{"type":"object"}4:dice0:2:{}c8:required'
            "4,20:userWhy is the sky blue?9,0:assistantl0x2;2:c15:clock2:{}2:c24:dice0:4,4:toolnooni2:c1"
        ),
        "771b6002878e7268d18591eef63732baf2c4934d46b36371fad9ba56fa74b3f8",
    ),
    (
        {
            "tenant": "acme",
            "model": None,
            "messages": QUESTION,
            "parameters": Parameters(
                tools=TOOLS[1:], tool_choice=ToolChoice.REQUIRED, required_tool="dice", parallel_tool_calls=False
            ),
        },
        "holdfast.deduplication.1;4:acmeo0x1;4:dice0:2:{}c8:requiredn4:dicebF4,20:userWhy is the sky blue?",
        "2693062446818e345e08cd49e41d73f188054c242c2e88ff094d8eb2f3569853",
    ),
]


def key(
    *,
    tenant: str = "default",
    model: str | None = None,
    messages: Sequence[Message] = QUESTION,
    parameters: Parameters = Parameters(),
    persona: str | None = None,
    session: tuple[str, int] | None = None,
) -> DeduplicationKey:
    return DeduplicationKey.of(
        tenant=tenant, model=model, messages=messages, parameters=parameters, persona=persona, session=session
    )


@pytest.mark.parametrize(("request_", "text", "digest"), GOLDEN)
def test_key_of_a_known_request_is_that_of_every_version(request_: dict[str, Any], text: str, digest: str) -> None:
    assert str(DeduplicationKey.of(**request_)) == digest
    assert hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() == digest


def test_key_of_equal_requests_is_equal_and_hashes_equal() -> None:
    assert len({key(), key(), key(messages=list(QUESTION))}) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "other"},
        {"model": "small"},
        {"model": ""},
        {"persona": "support"},
        {"persona": ""},
        {"session": ("a", 1)},
        {"messages": ()},
        {"messages": (*QUESTION, *QUESTION)},
        {"messages": (Message(role=Role.SYSTEM, content=QUESTION[0].content),)},
        {"messages": (Message(role=Role.USER, content="Why is the sky blue? "),)},
        {"parameters": Parameters(temperature=0)},
        {"parameters": Parameters(top_p=0.5)},
        {"parameters": Parameters(max_tokens=0)},
        {"parameters": Parameters(seed=0)},
        {"parameters": Parameters(stop=("",))},
        {"parameters": Parameters(response_format=ResponseFormat.JSON)},
        {"parameters": Parameters(json_schema="{}")},
        {"parameters": Parameters(tools=TOOLS)},
        {"parameters": Parameters(tool_choice=ToolChoice.NONE)},
        {"parameters": Parameters(required_tool="")},
        {"parameters": Parameters(parallel_tool_calls=False)},
        {"messages": (replace(QUESTION[0], tool_calls=CALLS),)},
        {"messages": (replace(QUESTION[0], tool_call_id=""),)},
    ],
    ids=str,
)
def test_key_when_one_field_differs_is_another(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


@pytest.mark.parametrize("name", [field.name for field in fields(Parameters)])
def test_key_depends_on_every_parameter_there_is(name: str) -> None:
    without = replace(EVERY_PARAMETER, **{name: getattr(Parameters(), name)})

    assert key(parameters=without) != key(parameters=EVERY_PARAMETER)


def test_key_tells_calls_one_by_one_from_several_at_once() -> None:
    keys = {key(parameters=Parameters(tools=TOOLS, parallel_tool_calls=several)) for several in (None, False, True)}

    assert len(keys) == 3


def _changed(value: Tool | ToolCall, name: str) -> Tool | ToolCall:
    return replace(value, **{name: getattr(value, name) + "."})


@pytest.mark.parametrize("name", [field.name for field in fields(Tool)])
def test_key_depends_on_everything_that_a_tool_says(name: str) -> None:
    changed: Any = _changed(TOOLS[0], name)

    assert key(parameters=Parameters(tools=(changed,))) != key(parameters=Parameters(tools=TOOLS[:1]))


@pytest.mark.parametrize("name", [field.name for field in fields(ToolCall)])
def test_key_depends_on_everything_that_a_call_of_a_tool_says(name: str) -> None:
    changed: Any = _changed(CALLS[0], name)

    assert key(messages=(replace(QUESTION[0], tool_calls=(changed,)),)) != key(
        messages=(replace(QUESTION[0], tool_calls=CALLS[:1]),)
    )


@pytest.mark.parametrize("name", [field.name for field in fields(Message)])
def test_key_depends_on_every_field_of_a_message(name: str) -> None:
    full = Message(role=Role.TOOL, content="noon", tool_calls=CALLS, tool_call_id="c1")
    others: dict[str, Any] = {"role": Role.USER, "content": "one", "tool_calls": (), "tool_call_id": None}

    assert key(messages=(replace(full, **{name: others[name]}),)) != key(messages=(full,))


def test_key_covers_every_field_of_a_request_that_decides_its_answer() -> None:
    undecisive = {"priority", "timeout_s", "no_cache", "idempotent", "idempotency_key", "request_id", "trace"}
    decisive = {"tenant", "model", "messages", "parameters", "persona", "session_id"}

    assert {field.name for field in fields(Request)} - undecisive == decisive


def test_key_of_sessions_in_another_version_differs() -> None:
    assert key(session=("a", 1)) != key(session=("a", 2))


@pytest.mark.parametrize("field", ["temperature", "top_p", "max_tokens", "seed"])
def test_number_written_as_integer_or_float_is_the_same(field: str) -> None:
    written: Any = {field: 1}, {field: 1.0}

    assert key(parameters=Parameters(**written[0])) == key(parameters=Parameters(**written[1]))


def test_number_zero_with_and_without_sign_is_the_same() -> None:
    assert key(parameters=Parameters(temperature=-0.0)) == key(parameters=Parameters(temperature=0))


def test_number_truth_value_and_text_that_look_alike_all_differ() -> None:
    lookalikes: list[Any] = [1, True, "1", "True", "0x1", "0x1;", "T", 0, False, "", None]

    assert len({key(parameters=Parameters(seed=value)) for value in lookalikes}) == len(lookalikes)


def test_number_at_the_edge_of_its_type_has_a_key_of_its_own() -> None:
    edges = [
        float("nan"),
        float("inf"),
        float("-inf"),
        1e308,
        5e-324,
        0.3,
        0.1 + 0.2,
        2**53,
        2**53 + 1,
        10**5000,
        -(10**5000),
    ]

    assert len({key(parameters=Parameters(temperature=value)) for value in edges}) == len(edges)


def test_number_of_a_subclass_that_writes_itself_otherwise_is_the_plain_number() -> None:
    class Half(float):
        def __repr__(self) -> str:
            return "Half()"

    class Level(IntEnum):
        TOP = 3

    plain = key(parameters=Parameters(temperature=0.5, seed=3))

    assert key(parameters=Parameters(temperature=Half(0.5), seed=Level.TOP)) == plain


def test_text_of_a_subclass_that_writes_itself_otherwise_is_the_plain_text() -> None:
    class Tenant(str, Enum):  # noqa: UP042 - whose format differs between Python versions
        ACME = "acme"

    assert key(tenant=Tenant.ACME) == key(tenant="acme")


def test_text_with_lone_surrogates_has_a_key() -> None:
    def asked(content: str) -> DeduplicationKey:
        return key(tenant="\udfff", messages=(Message(role=Role.USER, content=content),))

    assert len({asked("\ud83c"), asked("\udf0d"), asked("\ud83c\udf0d"), asked("🌍"), asked("?")}) == 5


def test_text_moved_across_a_border_changes_the_key() -> None:
    keys = {
        key(tenant="ab", model="c", messages=()),
        key(tenant="a", model="bc", messages=()),
        key(tenant="ab", persona="c", messages=()),
        key(tenant="abm1:c", messages=()),
        key(tenant="ab", parameters=Parameters(stop=("c",)), messages=()),
        key(tenant="ab", messages=(Message(role=Role.USER, content="c"),)),
    }

    assert len(keys) == 6


def test_text_in_stop_or_in_a_message_is_told_apart() -> None:
    stops = key(parameters=Parameters(stop=("4,1:usera",)), messages=())
    message = key(parameters=Parameters(stop=()), messages=(Message(role=Role.USER, content="a"),))

    assert stops != message


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request(messages=QUESTION), False),
        (Request(messages=QUESTION, no_cache=True), True),
        (Request(messages=QUESTION, idempotent=False), True),
        (Request(messages=QUESTION, parameters=Parameters(temperature=0)), False),
        (Request(messages=QUESTION, parameters=Parameters(temperature=0.2)), True),
        (Request(messages=QUESTION, parameters=Parameters(temperature=0.2, seed=0)), False),
        (Request(messages=QUESTION, parameters=Parameters(seed=7)), False),
        (Request(messages=QUESTION, parameters=Parameters(temperature=0.2, seed=0), no_cache=True), True),
        (Request(messages=QUESTION, priority=Priority.BULK, timeout_s=1.0, request_id="a"), False),
    ],
    ids=str,
)
def test_opting_out_of_a_request_follows_what_it_asks_for(request_: Request, expected: bool) -> None:
    assert opts_out(request_) is expected
