r"""What came of a call, as the bytes that a shared store keeps.

Responsibility: an answer or a failure, or that it cannot be shared, as bytes and back.
Guarantees: the same outcome gives the same bytes in every process; what was cut, changed, written for another key, in
    another form or by another version is not read; no code is ever loaded from it.
Not responsible for: those who may write to the store: whoever can, can answer in our place; keep it as safe as the
    backends. Size: see `holdfast.domain.shared_answers`.

The bytes are ``holdfast.outcome.1 ``, the SHA-256 of the key and of what follows in hexadecimal, ``\n``, and one JSON
object. A change of its fields takes a new number, because older processes run beside newer ones while both are rolled
out, and each reads its own form only.
"""

from __future__ import annotations

import enum
import hashlib
import json
from typing import Final

from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.plain_fields import PlainFields
from holdfast.domain.strict_json import read_strict_json
from holdfast.domain.told_failure import read_failure, write_failure
from holdfast.ports.errors import HoldfastError
from holdfast.ports.inference import Citation, FinishReason, ToolCall, Usage
from holdfast.ports.service import Disposition, Reply

__all__ = ["LEAST_MAX_BYTES", "UNSHARED", "Unshared", "read_outcome", "write_answer", "write_failed", "write_unshared"]

LEAST_MAX_BYTES: Final = 16 * 1024
"""What every failure fits into; no bound on outcomes may be lower."""

_FORM: Final = b"holdfast.outcome.1 "
_SUM_LENGTH: Final = 64
_MAX_DEPTH: Final = 4  # the outcome, its kind, a list in it, and the lists in that


class Unshared(enum.Enum):
    """In place of an answer: there was one, and it is told to nobody."""

    UNSHARED = enum.auto()


UNSHARED: Final = Unshared.UNSHARED


def write_answer(key: DeduplicationKey, reply: Reply) -> bytes:
    """Return `reply` as it is told.

    Raises:
        ValueError: if a text cannot be written as UTF-8, as models do send halves of a surrogate pair.

    Complexity: linear in the texts.
    """
    return _write(
        key,
        {
            "answer": {
                "text": reply.text,
                "backend": reply.backend,
                "model": reply.model,
                "attempts": reply.attempts,
                "queue_s": reply.queue_s,
                "backend_s": reply.backend_s,
                "input_tokens": reply.usage.input_tokens,
                "output_tokens": reply.usage.output_tokens,
                "citations": [[citation.source, citation.heading] for citation in reply.citations],
                "persona": reply.persona,
                "marks": reply.marks,
                "tool_calls": [[call.call_id, call.name, call.arguments] for call in reply.tool_calls],
                "finish_reason": reply.finish_reason,
            }
        },
    )


def write_failed(key: DeduplicationKey, error: BaseException) -> bytes | None:
    """Return `error` as it is told, in less than `LEAST_MAX_BYTES`; None if it is told to nobody."""
    failure = write_failure(error)
    if failure is None:
        return None
    try:
        return _write(key, {"failure": failure})
    except ValueError:  # as for an answer
        return None


def write_unshared(key: DeduplicationKey) -> bytes:
    """Return what is told of an answer that cannot be shared."""
    return _write(key, {"unshared": True})


def read_outcome(
    key: DeduplicationKey, outcome: bytes, *, max_bytes: int, disposition: Disposition
) -> Reply | HoldfastError | Unshared:
    """Return what came of the call for `key`.

    Args:
        key: whose outcome it must be.
        outcome: what the store had.
        max_bytes: how large it may be.
        disposition: how the answer comes to those who are told.

    Raises:
        ValueError: if it is none that this version has written for that key.

    Complexity: linear.
    """
    if len(outcome) > max_bytes:
        raise ValueError("larger than anything that is shared")
    form, found, body = outcome[: len(_FORM)], outcome[len(_FORM) :][:_SUM_LENGTH], outcome[len(_FORM) + _SUM_LENGTH :]
    if form != _FORM or found != _sum(key, body):
        raise ValueError("of another form or key, or damaged")
    fields = PlainFields(read_strict_json(body[1:], max_depth=_MAX_DEPTH))
    read: Reply | HoldfastError | Unshared
    if fields.has("answer"):
        read = _read_answer(fields.inner("answer"), disposition)
    elif fields.has("failure"):
        read = read_failure(fields.inner("failure"))
    else:
        fields.truth("unshared")
        read = UNSHARED
    fields.end()
    return read


def _write(key: DeduplicationKey, outcome: dict[str, object]) -> bytes:
    text = json.dumps(outcome, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    body = b"\n" + text.encode()
    return _FORM + _sum(key, body) + body


def _sum(key: DeduplicationKey, body: bytes) -> bytes:
    return hashlib.sha256(key.digest + body).hexdigest().encode("ascii")


def _read_answer(fields: PlainFields, disposition: Disposition) -> Reply:
    finish_reason = fields.text_or_none("finish_reason")
    reply = Reply(
        text=fields.text("text"),
        backend=fields.text("backend"),
        model=fields.text("model"),
        disposition=disposition,
        attempts=fields.count("attempts"),
        queue_s=fields.number("queue_s"),
        backend_s=fields.number("backend_s"),
        usage=Usage(input_tokens=fields.count("input_tokens"), output_tokens=fields.count("output_tokens")),
        citations=tuple(
            Citation(source=source, heading=heading) for source, heading in fields.rows("citations", length=2)
        ),
        request_id=None,  # of whoever asks
        persona=fields.text_or_none("persona"),
        marks=fields.texts("marks"),
        tool_calls=tuple(
            ToolCall(call_id=call_id, name=name, arguments=arguments)
            for call_id, name, arguments in fields.rows("tool_calls", length=3)
        ),
        finish_reason=None if finish_reason is None else FinishReason(finish_reason),
    )
    fields.end()
    return reply
