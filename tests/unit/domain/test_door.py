from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace

import pytest

from holdfast.domain.door import MAX_TENANT_CHARS, check_request
from holdfast.ports.errors import RequestError
from holdfast.ports.inference import Message, Parameters, Role
from holdfast.ports.service import Priority, Request

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


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, math.inf, math.nan])
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
