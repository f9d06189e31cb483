"""How many tokens a call will probably take."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.token_estimate import DEFAULT_OUTPUT_TOKENS, estimate_prompt_tokens, estimate_tokens
from holdfast.ports.inference import Message, Parameters, Prompt, Role, Tool, ToolCall
from holdfast.ports.retrieval import Passage
from holdfast.ports.service import Request


def asking(*texts: str, max_tokens: int | None = None) -> Request:
    messages = tuple(Message(role=Role.USER, content=text) for text in texts)
    return Request(messages=messages, parameters=Parameters(max_tokens=max_tokens))


@pytest.mark.parametrize(
    ("texts", "tokens"),
    [
        ((), 0),
        (("",), 4),
        (("a",), 5),
        (("abcd",), 5),
        (("abcde",), 6),
        (("ab", "cd", "e"), 14),  # five bytes together, in three messages
    ],
)
def test_input_tokens_are_bytes_by_four_rounded_up_and_four_for_each_message(
    texts: tuple[str, ...], tokens: int
) -> None:
    assert estimate_tokens(asking(*texts)).input_tokens == tokens


@pytest.mark.parametrize(("text", "size_bytes"), [("é" * 8, 16), ("漢" * 8, 24), ("🦀" * 8, 32), ("\ud83e" * 8, 24)])
def test_input_tokens_of_other_scripts_count_bytes_and_not_characters(text: str, size_bytes: int) -> None:
    assert estimate_tokens(asking(text)).input_tokens == size_bytes // 4 + 4


@given(text=st.text(st.characters(codec=None), max_size=50), times=st.integers(1, 400))
def test_input_tokens_of_any_text_are_those_of_all_its_bytes(text: str, times: int) -> None:
    size_bytes = len((text * times).encode("utf-8", "surrogatepass"))

    assert estimate_tokens(asking(text * times)).input_tokens == -(-size_bytes // 4) + 4


def test_output_tokens_are_the_bound_of_the_answer_where_there_is_one() -> None:
    assert estimate_tokens(asking("a", max_tokens=7)).output_tokens == 7


def test_output_tokens_without_a_bound_are_the_default() -> None:
    assert estimate_tokens(asking("a")).output_tokens == DEFAULT_OUTPUT_TOKENS
    assert estimate_tokens(asking("a"), default_output_tokens=9).output_tokens == 9


def test_total_is_what_is_read_and_written() -> None:
    assert estimate_tokens(asking("abcd", max_tokens=7)).total == 12


def test_prompt_counts_messages_and_not_passages_a_second_time() -> None:
    request = asking("abcd", max_tokens=7)
    passage = Passage(source="guide.md", heading="a", text="long " * 100, score=1.0)
    prompt = Prompt(messages=request.messages, passages=(passage,), parameters=request.parameters)

    assert estimate_prompt_tokens(prompt) == estimate_tokens(request)


def test_prompt_without_a_bound_takes_the_default_given() -> None:
    assert estimate_prompt_tokens(Prompt(messages=asking("a").messages), default_output_tokens=9).output_tokens == 9


@pytest.mark.parametrize("character", ["a", "漢"])
def test_estimate_of_a_long_text_allocates_less_than_the_text(character: str) -> None:
    request = asking(character * 1_000_000)
    tracemalloc.start()
    try:
        estimate_tokens(request)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 512 * 1024


def test_estimate_counts_tools_and_their_calls() -> None:
    call = ToolCall(call_id="c" * 40, name="n" * 40, arguments="a" * 40)
    messages = (Message(role=Role.ASSISTANT, content="", tool_calls=(call,)), Message(role=Role.USER, content=""))
    tool = Tool(name="n" * 40, description="d" * 40, json_schema="j" * 40)
    plain = estimate_tokens(Request(messages=(replace(messages[0], tool_calls=()), messages[1])))

    with_calls = estimate_tokens(Request(messages=messages))
    with_tools = estimate_tokens(Request(messages=messages, parameters=Parameters(tools=(tool,))))

    assert with_calls.input_tokens - plain.input_tokens == 30
    assert with_tools.input_tokens - with_calls.input_tokens == 30
