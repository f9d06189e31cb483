"""What is asked and answered in envelopes.

Responsibility: turn the body of a question into a request, and a reply or an error into the body of an answer.
Guarantees: the tenant of a request is its sender, and nothing in a body can say otherwise; an unknown key is refused.
    An error tells its kind and when to come back, and its words only where they are about the question itself.
Not responsible for: who the sender is: see `holdfast.application.authenticated_service`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from holdfast.application.problem_words import words_of
from holdfast.domain.envelope import Envelope
from holdfast.ports.errors import HoldfastError, RequestError
from holdfast.ports.inference import Message, Parameters, ResponseFormat, Role
from holdfast.ports.service import Priority, Reply, Request

__all__ = ["ASK", "FAILURE", "PIECE", "REPLY", "WELCOME", "failure_body", "read_question", "reply_body"]

ASK = "ask"
"""Type of a question."""
REPLY = "reply"
"""Type of the last answer to a question: the whole reply."""
PIECE = "piece"
"""Type of an answer that others follow: the next piece of the reply's text."""
FAILURE = "failure"
"""Type of the last answer to a question that has no reply."""
WELCOME = "welcome"
"""Type of the answer to a proof: the session has begun."""

_Text = Annotated[str, Field(min_length=1)]


class _Model(BaseModel):
    # Lists for tuples and texts for enums, as JSON has them; `strict` would take neither from a value that is parsed.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Message(_Model):
    role: Literal[Role.SYSTEM, Role.USER, Role.ASSISTANT]  # what tools are asked for does not come this way
    content: str


class _Parameters(_Model):
    temperature: Annotated[float, Field(ge=0, strict=True)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    max_tokens: Annotated[int, Field(ge=1, strict=True)] | None = None
    seed: Annotated[int, Field(strict=True)] | None = None
    stop: Annotated[tuple[_Text, ...], Field(fail_fast=True)] = ()
    response_format: ResponseFormat = ResponseFormat.TEXT


class _Question(_Model):
    messages: Annotated[tuple[_Message, ...], Field(min_length=1, fail_fast=True)]
    model: _Text | None = None
    parameters: _Parameters = _Parameters()
    priority: Literal["critical", "high", "normal", "low", "bulk"] = "normal"
    timeout_s: Annotated[float, Field(gt=0, strict=True)] | None = None
    session_id: _Text | None = None
    persona: _Text | None = None
    idempotent: Annotated[bool, Field(strict=True)] = True
    no_cache: Annotated[bool, Field(strict=True)] = False


def read_question(envelope: Envelope) -> Request:
    """Return the request that its sender makes.

    Raises:
        RequestError: if the message is no question, or its body no request; in words that repeat nothing of the body
            but the names of keys.
    """
    if envelope.type != ASK:
        raise RequestError(f"a message of type {envelope.type!r} is not answered here; send {ASK!r}")
    try:
        question = _Question.model_validate(envelope.body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RequestError(f"body.{place[:100]}: {words_of(first)}") from None
    return Request(
        messages=tuple(Message(role=message.role, content=message.content) for message in question.messages),
        tenant=envelope.sender,
        model=question.model,
        parameters=Parameters(**question.parameters.model_dump()),
        priority=Priority[question.priority.upper()],
        timeout_s=question.timeout_s,
        session_id=question.session_id,
        persona=question.persona,
        idempotent=question.idempotent,
        no_cache=question.no_cache,
        request_id=envelope.id,
    )


def reply_body(reply: Reply) -> Mapping[str, object]:
    """Return the body of an answer."""
    return asdict(reply)


def failure_body(error: HoldfastError) -> Mapping[str, object]:
    """Return the body of an answer that is none."""
    return {
        "error": type(error).__name__,
        "message": str(error) if isinstance(error, RequestError) else None,
        "retry_after_s": getattr(error, "retry_after_s", None),
    }
