"""What answers of the Messages API say.

Responsibility: read an answer in one piece, and one that streams.
Guarantees: an answer that is no message, or an error in place of one, is unintelligible; a stream is complete at
    ``message_stop`` and nowhere else, and what stands behind it is not read; an overload in the middle of a stream is
    push-back, as its status would be.
Not responsible for: how it is asked for: see `holdfast.adapters.inference.anthropic.dialect`.
Sources: https://docs.anthropic.com/en/api/messages, https://docs.anthropic.com/en/docs/build-with-claude/streaming.
"""

from __future__ import annotations

import json
from typing import Final

from holdfast.adapters.inference.http.answer_pieces import AnswerPieces
from holdfast.adapters.inference.http.dialect import Listening, PushedBackError, UnintelligibleError
from holdfast.adapters.inference.http.reading import (
    JsonObject,
    count_in,
    object_from,
    object_in,
    objects_in,
    text_in,
)
from holdfast.adapters.inference.http.status import error_codes
from holdfast.ports.inference import Completion, FinishReason, ToolCall, Usage

__all__ = ["AnthropicListening", "read_message"]

_PUSHED_BACK: Final = {"overloaded_error", "rate_limit_error"}
_INPUT_COUNTS: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_REASONS: Final = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.FILTERED,
}


def read_message(document: JsonObject, *, model: str) -> Completion:
    """Return what an answer in one piece says; `model` stands in where it names none."""
    _refuse_error(document)
    if text_in(document, "type") != "message":
        raise UnintelligibleError("no message")
    blocks = objects_in(document, "content")
    return Completion(
        text="".join([text_in(block, "text") for block in blocks if block.get("type") == "text"]),
        model=text_in(document, "model") or model,
        usage=_Counts().add(object_in(document, "usage")).usage(),
        tool_calls=tuple(
            ToolCall(
                call_id=text_in(block, "id"),
                name=text_in(block, "name"),
                arguments=json.dumps(object_in(block, "input"), ensure_ascii=False),
            )
            for block in blocks
            if block.get("type") == "tool_use"
        ),
        finish_reason=_REASONS.get(text_in(document, "stop_reason")),
    )


class AnthropicListening:
    """Takes in one stream.

    Args:
        model: stands in where the stream names none.
    """

    def __init__(self, *, model: str) -> None:
        self._pieces = AnswerPieces(model=model)
        self._counts = _Counts()
        self._has_begun = False
        self.is_complete = False

    @property
    def size_bytes(self) -> int:
        """About how much of the answer is held."""
        return self._pieces.size_bytes

    def take(self, data: str) -> str:
        """Return the text that an event with this data adds."""
        if self.is_complete:
            return ""
        document = object_from(data)
        _refuse_error(document)
        text = ""
        match text_in(document, "type"):
            case "message_start":
                self._has_begun = True
                message = object_in(document, "message")
                self._pieces.model = text_in(message, "model") or self._pieces.model
                self._counts.add(object_in(message, "usage"))
            case "content_block_start":
                text = self._begin(count_in(document, "index"), object_in(document, "content_block"))
            case "content_block_delta":
                text = self._go_on(count_in(document, "index"), object_in(document, "delta"))
            case "message_delta":
                reason = text_in(object_in(document, "delta"), "stop_reason")
                self._pieces.reason = _REASONS.get(reason, self._pieces.reason)
                self._counts.add(object_in(document, "usage"))
            case "message_stop":
                self.is_complete = True
            case _:  # pings, the ends of blocks, and what may be added one day
                pass
        self._pieces.add_text(text)
        return text

    def completion(self) -> Completion:
        """Return the whole answer."""
        if not self._has_begun:
            raise UnintelligibleError("no message")
        return self._pieces.completion(self._counts.usage(), without_arguments="{}")

    def _begin(self, place: int, block: JsonObject) -> str:
        if block.get("type") == "tool_use":
            self._pieces.add_call(place, call_id=text_in(block, "id"), name=text_in(block, "name"))
        return text_in(block, "text") if block.get("type") == "text" else ""

    def _go_on(self, place: int, delta: JsonObject) -> str:
        if delta.get("type") == "input_json_delta":
            self._pieces.add_call(place, arguments=text_in(delta, "partial_json"))
        return text_in(delta, "text") if delta.get("type") == "text_delta" else ""


class _Counts:
    """Tokens as far as they were told: each count stands for itself and replaces what was told before."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}

    def add(self, usage: JsonObject) -> _Counts:
        self._told |= {key: count_in(usage, key) for key in (*_INPUT_COUNTS, "output_tokens") if key in usage}
        return self

    def usage(self) -> Usage:
        told = self._told
        return Usage(
            input_tokens=sum(told.get(key, 0) for key in _INPUT_COUNTS), output_tokens=told.get("output_tokens", 0)
        )


def _refuse_error(document: JsonObject) -> None:
    if document.get("type") != "error" and not document.get("error"):
        return
    codes = error_codes(document)
    if _PUSHED_BACK.intersection(codes):
        raise PushedBackError
    raise UnintelligibleError(" ".join(("an error", *codes)))


_: type[Listening] = AnthropicListening
