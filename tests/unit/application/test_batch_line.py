from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.application.batch_line import LineRejectedError, hostile_id_reason, parse_line
from holdfast.ports.inference import Message, Parameters, ResponseFormat, Role
from holdfast.ports.journal import Failure, FailureKind
from holdfast.ports.service import Priority, Request


def line_of(**keys: object) -> bytes:
    return json.dumps(keys).encode()


def rejection(line: bytes) -> LineRejectedError:
    with pytest.raises(LineRejectedError) as caught:
        parse_line(line)
    return caught.value


def test_line_with_a_question_is_one_message_of_the_user() -> None:
    line = parse_line(line_of(question="Why?"))

    assert line.id is None
    assert line.request(request_id="line-1", idempotency_key="k") == Request(
        messages=(Message(role=Role.USER, content="Why?"),), request_id="line-1", idempotency_key="k"
    )


def test_line_with_every_key_fills_the_whole_request() -> None:
    line = parse_line(
        line_of(
            id="q1",
            messages=[{"role": "system", "content": ""}, {"role": "user", "content": "Hi"}],
            tenant="acme",
            model="m",
            persona="memory",
            priority="bulk",
            timeout_s=3,
            no_cache=True,
            temperature=0,
            top_p=0.5,
            max_tokens=9,
            seed=-1,
            stop=["a", "b"],
            response_format="json",
        )
    )

    assert line.id == "q1"
    assert line.request(request_id="q1", idempotency_key="k") == Request(
        messages=(Message(role=Role.SYSTEM, content=""), Message(role=Role.USER, content="Hi")),
        tenant="acme",
        model="m",
        parameters=Parameters(
            temperature=0.0,
            top_p=0.5,
            max_tokens=9,
            seed=-1,
            stop=("a", "b"),
            response_format=ResponseFormat.JSON,
        ),
        priority=Priority.BULK,
        timeout_s=3.0,
        persona="memory",
        no_cache=True,
        idempotency_key="k",
        request_id="q1",
    )


@pytest.mark.parametrize("priority", list(Priority))
def test_line_names_every_priority(priority: Priority) -> None:
    line = parse_line(line_of(question="Why?", priority=priority.name.lower()))

    assert line.request(request_id="a", idempotency_key="k").priority is priority


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"", FailureKind.BLANK_LINE),
        (b" \t ", FailureKind.BLANK_LINE),
        (b"\r", FailureKind.BLANK_LINE),
        (b'{"question": "a\0b"}', FailureKind.NUL),
        ('{"question": "Why?"}'.encode("utf-16"), FailureKind.NUL),
        (b'\xef\xbb\xbf{"question": "Why?"}', FailureKind.BYTE_ORDER_MARK),
        (b'{"question": "Why?"}\r', FailureKind.CARRIAGE_RETURN),
        (b'{"question": "\xff"}', FailureKind.NOT_UTF8),
        (b'{"question": "\xed\xa0\x80"}', FailureKind.NOT_UTF8),
        (b"question", FailureKind.NOT_JSON),
        (b'{"question": "Why?"', FailureKind.NOT_JSON),
        (b'{"question": "Why?"} {}', FailureKind.NOT_JSON),
        (b'{"question": "\\ud800"}', FailureKind.NOT_JSON),
        (b"[" * 100_000, FailureKind.NOT_JSON),
        (b"[]", FailureKind.INVALID),
        (b"null", FailureKind.INVALID),
        (b"{}", FailureKind.INVALID),
    ],
)
def test_line_that_is_no_object_of_json_is_rejected_by_kind(line: bytes, kind: FailureKind) -> None:
    assert rejection(line).failure.kind is kind


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"question": "Why?", "messages": [{"role": "user", "content": "Why?"}]}, "either question or messages"),
        ({"question": ""}, "question"),
        ({"question": 42}, "question"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "Hi", "name": "x"}]}, "messages.0.name"),
        ({"question": "Why?", "colour": 1}, "colour"),
        ({"question": "Why?", "id": 5}, "id"),
        ({"question": "Why?", "tenant": ""}, "tenant"),
        ({"question": "Why?", "persona": ""}, "persona"),
        ({"question": "Why?", "persona": 1}, "persona"),
        ({"question": "Why?", "priority": "urgent"}, "priority"),
        ({"question": "Why?", "priority": 0}, "priority"),
        ({"question": "Why?", "timeout_s": 0}, "timeout_s"),
        ({"question": "Why?", "timeout_s": float("nan")}, "timeout_s"),
        ({"question": "Why?", "timeout_s": float("inf")}, "timeout_s"),
        ({"question": "Why?", "timeout_s": "5"}, "timeout_s"),
        ({"question": "Why?", "no_cache": 1}, "no_cache"),
        ({"question": "Why?", "temperature": -0.1}, "temperature"),
        ({"question": "Why?", "top_p": 0}, "top_p"),
        ({"question": "Why?", "top_p": 1.1}, "top_p"),
        ({"question": "Why?", "max_tokens": 0}, "max_tokens"),
        ({"question": "Why?", "max_tokens": 1.5}, "max_tokens"),
        ({"question": "Why?", "seed": True}, "seed"),
        ({"question": "Why?", "stop": "a"}, "stop"),
        ({"question": "Why?", "response_format": "xml"}, "response_format"),
    ],
)
def test_line_with_a_wrong_key_is_rejected_by_its_name(keys: dict[str, Any], named: str) -> None:
    rejected = rejection(line_of(**keys))

    assert rejected.failure.kind is FailureKind.INVALID
    assert named in rejected.failure.reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"question": "why?", "temprature": 0}', "temprature: is not a key here; did you mean 'temperature'?"),
        (b'{"question": "why?", "zzzzzz": 0}', "zzzzzz: is not a key here"),
        (
            b'{"messages": [{"role": "user", "content": "why?", "rolle": 1}]}',
            "messages.0.rolle: is not a key here; did you mean 'role'?",
        ),
        (
            b'{"question": "why?", "priority": "urgent"}',
            "priority: input should be 'critical', 'high', 'normal', 'low' or 'bulk'",
        ),
        (
            b'{"messages": [{"role": "robot", "content": "why?"}]}',
            "messages.0.role: input should be 'system', 'user' or 'assistant'",
        ),
        (b'{"messages": []}', "messages: should have at least 1 item"),
        (b'{"messages": ["why?"]}', "messages.0: input should be an object"),
        (b"{}", "give either question or messages"),
    ],
)
def test_reason_for_a_line_that_asks_wrongly_says_what_would_be_right(line: bytes, reason: str) -> None:
    assert rejection(line).failure.reason == reason


def test_rejected_line_keeps_its_id_where_it_can_be_read() -> None:
    assert rejection(line_of(id="q7", question=42)).id == "q7"
    assert rejection(line_of(id=7, question="Why?")).id is None
    assert rejection(b'{"id": "q7", "question"').id is None


def test_reason_never_repeats_a_value() -> None:
    rejected = rejection(line_of(question="Why?", priority="secret-token", timeout_s="secret-token"))

    assert "secret-token" not in rejected.failure.reason


def test_reason_for_a_hostile_key_is_short_and_printable() -> None:
    rejected = rejection(line_of(**{"question": "Why?", "\x1b[2J\n" + "k" * 100_000: 1}))

    assert len(rejected.failure.reason) <= 300
    assert rejected.failure.reason.isprintable()


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_line_of_any_bytes_is_parsed_or_rejected(line: bytes) -> None:
    result: Request | Failure
    try:
        result = parse_line(line).request(request_id="a", idempotency_key="k")
    except LineRejectedError as error:
        result = error.failure

    assert result.messages if isinstance(result, Request) else result.reason


@pytest.mark.parametrize("name", ["a", "line-7", "Frage 7", "ß–7", "a.b", "x" * 200, "..a", "a:b@c#d"])
def test_id_that_is_harmless_is_taken(name: str) -> None:
    assert hostile_id_reason(name) is None


@pytest.mark.parametrize(
    "name",
    ["", "../x", "a/b", "a\\b", ".", "..", " ", " . ", "a\nb", "a\0b", "\x1b[2J", "a\u202eb", "a\u2028b", "x" * 201],
)
def test_id_that_is_hostile_is_explained(name: str) -> None:
    assert hostile_id_reason(name)
