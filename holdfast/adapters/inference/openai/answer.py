"""What answers of chat completions say.

Responsibility: read an answer in one piece, and one that streams.
Guarantees: an answer without choices, or with an error in place of them, is unintelligible; a stream is complete at
    ``[DONE]`` and nowhere else, and what stands behind it is not read.
Not responsible for: how it is asked for: see `holdfast.adapters.inference.openai.dialect`.
Source: https://platform.openai.com/docs/api-reference/chat, the objects `chat.completion` and `chat.completion.chunk`.
"""

from __future__ import annotations

from typing import Final

from holdfast.adapters.inference.http.answer_pieces import AnswerPieces
from holdfast.adapters.inference.http.dialect import Listening, UnintelligibleError
from holdfast.adapters.inference.http.reading import (
    JsonObject,
    count_in,
    object_from,
    object_in,
    objects_in,
    optional_text_in,
    text_in,
)
from holdfast.adapters.inference.http.status import error_codes
from holdfast.ports.inference import Completion, FinishReason, ToolCall, Usage

__all__ = ["OpenAIListening", "read_completion"]

_END: Final = "[DONE]"
_REASONS: Final = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.FILTERED,
}


def read_completion(document: JsonObject, *, model: str) -> Completion:
    """Return what an answer in one piece says; `model` stands in where it names none."""
    _refuse_error(document)
    choices = objects_in(document, "choices")
    if not choices:
        raise UnintelligibleError("no choices")
    message = object_in(choices[0], "message")
    calls = tuple(_call(call) for call in objects_in(message, "tool_calls"))
    return Completion(
        text=_content(message),
        model=text_in(document, "model") or model,
        usage=_usage(document),
        tool_calls=calls,
        finish_reason=_REASONS.get(text_in(choices[0], "finish_reason")),
    )


class OpenAIListening:
    """Takes in one stream.

    Args:
        model: stands in where the stream names none.
    """

    def __init__(self, *, model: str) -> None:
        self._pieces = AnswerPieces(model=model)
        self._usage = Usage()
        self._has_choices = False
        self.is_complete = False

    @property
    def size_bytes(self) -> int:
        """About how much of the answer is held."""
        return self._pieces.size_bytes

    def take(self, data: str) -> str:
        """Return the text that an event with this data adds."""
        if self.is_complete:
            return ""
        if data.strip() == _END:
            self.is_complete = True
            return ""
        document = object_from(data)
        _refuse_error(document)
        self._pieces.model = text_in(document, "model") or self._pieces.model
        if object_in(document, "usage"):
            self._usage = _usage(document)
        return "".join([self._choice(choice) for choice in objects_in(document, "choices")])

    def completion(self) -> Completion:
        """Return the whole answer."""
        if not self._has_choices:
            raise UnintelligibleError("no choices")
        return self._pieces.completion(self._usage)

    def _choice(self, choice: JsonObject) -> str:
        if count_in(choice, "index"):
            return ""  # only one answer was asked for
        self._has_choices = True
        self._pieces.reason = _REASONS.get(text_in(choice, "finish_reason"), self._pieces.reason)
        delta = object_in(choice, "delta")
        for call in objects_in(delta, "tool_calls"):
            function = object_in(call, "function")
            self._pieces.add_call(
                count_in(call, "index"),
                call_id=text_in(call, "id"),
                name=text_in(function, "name"),
                arguments=text_in(function, "arguments"),
            )
        text = _content(delta)
        self._pieces.add_text(text)
        return text


def _content(message: JsonObject) -> str:
    content = optional_text_in(message, "content")
    return text_in(message, "refusal") if content is None else content


def _call(call: JsonObject) -> ToolCall:
    function = object_in(call, "function")
    return ToolCall(
        call_id=text_in(call, "id"), name=text_in(function, "name"), arguments=text_in(function, "arguments")
    )


def _usage(document: JsonObject) -> Usage:
    usage = object_in(document, "usage")
    return Usage(input_tokens=count_in(usage, "prompt_tokens"), output_tokens=count_in(usage, "completion_tokens"))


def _refuse_error(document: JsonObject) -> None:
    if document.get("error"):
        raise UnintelligibleError(" ".join(("an error", *error_codes(document))))


_: type[Listening] = OpenAIListening
