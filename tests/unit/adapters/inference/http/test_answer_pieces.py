"""Text and calls of tools, put together from pieces."""

from __future__ import annotations

import tracemalloc

import pytest

from holdfast.adapters.inference.http.answer_pieces import AnswerPieces
from holdfast.ports.inference import Completion, FinishReason, ToolCall, Usage


def test_completion_holds_what_was_added_and_set() -> None:
    pieces = AnswerPieces(model="asked")
    for text in ("na", "", "ïve"):
        pieces.add_text(text)
    pieces.model, pieces.reason = "told", FinishReason.LENGTH

    assert pieces.completion(Usage(output_tokens=2)) == Completion(
        text="naïve", model="told", usage=Usage(output_tokens=2), finish_reason=FinishReason.LENGTH
    )


def test_completion_of_nothing_is_empty_and_of_the_model_that_was_asked() -> None:
    assert AnswerPieces(model="asked").completion(Usage()) == Completion(text="", model="asked", usage=Usage())


def test_completion_keeps_newlines_as_they_came() -> None:
    pieces = AnswerPieces(model="m")
    for text in ("a\r", "\nb\rc", "\n"):
        pieces.add_text(text)

    assert pieces.completion(Usage()).text == "a\r\nb\rc\n"


def test_calls_keep_the_order_in_which_they_began_and_the_first_id_and_name() -> None:
    pieces = AnswerPieces(model="m")
    pieces.add_call(7, call_id="c7", name="clock", arguments="{")
    pieces.add_call(0, name="dice")
    pieces.add_call(7, call_id="other", name="other", arguments="}")
    pieces.add_call(0, call_id="c0")

    assert pieces.completion(Usage(), without_arguments="none").tool_calls == (
        ToolCall(call_id="c7", name="clock", arguments="{}"),
        ToolCall(call_id="c0", name="dice", arguments="none"),
    )


@pytest.mark.parametrize(("text", "size_bytes"), [("", 0), ("abc", 3), ("ï", 2), ("🙂🙂", 8), ("\ud800", 3)])
def test_size_is_that_of_the_texts_as_utf8(text: str, size_bytes: int) -> None:
    pieces = AnswerPieces(model="m")
    pieces.add_text(text)
    before = pieces.size_bytes
    pieces.add_call(0)
    empty = pieces.size_bytes
    pieces.add_call(0, call_id=text, name=text, arguments=text)

    assert before == size_bytes
    assert empty >= before + 100  # for a call costs memory, also an empty one
    assert pieces.size_bytes == empty + 3 * size_bytes


@pytest.mark.parametrize("by", ["text", "arguments"])
def test_many_small_pieces_are_held_in_about_the_memory_that_they_are_counted_as(by: str) -> None:
    pieces = AnswerPieces(model="m")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(50_000):
            piece = f"{number % 90 + 10}"
            if by == "text":
                pieces.add_text(piece)
            else:
                pieces.add_call(0, arguments=piece)
        held_bytes = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert held_bytes < 3 * pieces.size_bytes
