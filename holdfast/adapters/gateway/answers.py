"""Answers as OpenAI's API gives them.

Responsibility: the completion object, its chunks, and what happened to the request, in headers and in the body.
Guarantees: a chunk is small, however much was said at once; what is put into a header fits into one.
Not responsible for: sending them: see `holdfast.adapters.gateway.event_stream`.
Source: OpenAI API reference, "The chat completion object" and "The chat completion chunk object"; WHATWG, HTML,
    "Server-sent events".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from holdfast.adapters.gateway.json_text import JsonObject, encode_json
from holdfast.ports.inference import ToolCall
from holdfast.ports.service import Reply

__all__ = ["DONE", "Answer", "as_event", "outcome_headers"]

DONE: Final = b"data: [DONE]\n\n"
"""The last event of every stream that is complete."""

_MAX_CHUNK_CHARS: Final = 1024
"""What one event holds at most, so that little of it waits for a slow client at once."""


def as_event(document: JsonObject) -> bytes:
    """Return `document` as one event of a stream."""
    return b"data: " + encode_json(document) + b"\n\n"


def outcome_headers(reply: Reply) -> dict[str, str]:
    """Return what happened to the request, as headers; names are percent-encoded where HTTP has no room for them."""
    facts = {f"x-holdfast-{name.replace('_', '-')}": value for name, value in _facts(reply).items()}
    headers = {name: _text(value) for name, value in facts.items() if value is not None}
    if reply.marks:
        headers["x-holdfast-marks"] = ",".join(quote(mark, safe=_SAFE_IN_LIST) for mark in reply.marks)
    return headers


def _text(value: str | float) -> str:
    return f"{value:.6f}" if isinstance(value, float) else quote(str(value), safe=_SAFE)


_SAFE_IN_LIST: Final = " !#$&'()*+-./:;<=>?@[]^_`{|}~"
_SAFE: Final = _SAFE_IN_LIST + ","


def _facts(reply: Reply) -> Mapping[str, str | float | None]:
    return {
        "backend": reply.backend,
        "disposition": reply.disposition.value,
        "attempts": reply.attempts,
        "queue_s": reply.queue_s,
        "backend_s": reply.backend_s,
        "persona": reply.persona,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, whole or in chunks.

    Args:
        answer_id: the name of it, and of each of its chunks.
        created_s: when it was asked for, in Unix seconds.
        model: as the client called it.
    """

    answer_id: str
    created_s: int
    model: str

    def whole(self, reply: Reply) -> JsonObject:
        """Return the completion object."""
        message: dict[str, object] = {"role": "assistant", "content": reply.text, "refusal": None}
        if reply.tool_calls:
            message |= {"content": reply.text or None, "tool_calls": [_call(call) for call in reply.tool_calls]}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(reply)}
        return {
            **self._envelope("chat.completion", reply.model or self.model),
            "choices": [choice],
            "usage": _usage(reply),
            "holdfast": _outcome(reply),
        }

    def opening(self) -> bytes:
        """Return the event that says who speaks."""
        return self._event({"role": "assistant", "content": ""})

    def piece(self, text: str) -> Iterator[bytes]:
        """Yield the events that bring `text`."""
        for start in range(0, len(text), _MAX_CHUNK_CHARS):
            yield self._event({"content": text[start : start + _MAX_CHUNK_CHARS]})

    def closing(self, reply: Reply, *, with_usage: bool) -> Iterator[bytes]:
        """Yield the events that end the stream, and say what happened to the request."""
        for index, call in enumerate(reply.tool_calls):
            yield self._event({"tool_calls": [{"index": index, **_call(call)}]})
        yield self._event({}, finish_reason=_finish_reason(reply), outcome=_outcome(reply))
        if with_usage:
            yield as_event(
                {**self._envelope("chat.completion.chunk", self.model), "choices": [], "usage": _usage(reply)}
            )
        yield DONE

    def _event(
        self, delta: JsonObject, *, finish_reason: str | None = None, outcome: JsonObject | None = None
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        told = {} if outcome is None else {"holdfast": outcome}
        return as_event({**self._envelope("chat.completion.chunk", self.model), "choices": [choice], **told})

    def _envelope(self, kind: str, model: str) -> dict[str, object]:
        return {"id": self.answer_id, "object": kind, "created": self.created_s, "model": model}


def _outcome(reply: Reply) -> JsonObject:
    citations = [{"source": citation.source, "heading": citation.heading} for citation in reply.citations]
    return {**_facts(reply), "marks": list(reply.marks), "citations": citations}


def _finish_reason(reply: Reply) -> str:
    if reply.finish_reason is not None:
        return reply.finish_reason.value
    return "tool_calls" if reply.tool_calls else "stop"


def _usage(reply: Reply) -> JsonObject:
    taken, made = reply.usage.input_tokens, reply.usage.output_tokens
    return {"prompt_tokens": taken, "completion_tokens": made, "total_tokens": taken + made}


def _call(call: ToolCall) -> dict[str, object]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.call_id, "type": "function", "function": function}
