"""Answers as OpenAI's chat completions and Anthropic's Messages API give them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from anyio.abc import SocketStream

from tests.fakes.http_server import Asked, chunked, json_answer

__all__ = [
    "answer_in_kind",
    "anthropic_answer",
    "anthropic_events",
    "events",
    "openai_answer",
    "openai_events",
    "openai_piece",
]

TEXT = '{"answer": "yes, naïvely 🙂"}'


def openai_answer(text: str | None = TEXT, **message: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "fake-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text} | message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def openai_piece(text: str | None = None, *, reason: str | None = None, **delta: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    content = {} if text is None else {"content": text}
    return {"model": "fake-1", "choices": [{"index": 0, "delta": content | delta, "finish_reason": reason}]}


def openai_events(*texts: str) -> bytes:
    """Return a stream of these pieces, with all that stands around them."""
    usage = {"model": "fake-1", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    documents = (openai_piece(role="assistant"), *map(openai_piece, texts), openai_piece(reason="stop"), usage)
    return events(*documents) + b"data: [DONE]\n\n"


def anthropic_answer(text: str = TEXT, *more: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "fake-1",
        "content": [{"type": "text", "text": text}, *more],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 3},
    }


def anthropic_events(*texts: str) -> bytes:
    start = anthropic_answer() | {"content": [], "stop_reason": None}
    start["usage"] = {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 1}
    documents: Sequence[dict[str, Any]] = (
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in texts),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    )
    return b"".join(b"event: %s\n%s" % (document["type"].encode(), events(document)) for document in documents)


def events(*documents: Mapping[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n" for document in documents)


async def answer_in_kind(asked: Asked, stream: SocketStream) -> None:
    """Answer every request as its path and its wish to stream ask for."""
    pieces = (TEXT[:7], TEXT[7:12], TEXT[12:])
    if asked.path.endswith("/messages"):
        whole, streamed = anthropic_answer(), anthropic_events(*pieces)
    else:
        whole, streamed = openai_answer(), openai_events(*pieces)
    await stream.send(chunked(streamed) if asked.document.get("stream") else json_answer(whole))
