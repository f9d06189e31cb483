"""Asking a model backend.

Responsibility: the prompt that goes out, the completion that comes back, whole or piece by piece, and who can turn one
    into the other.
Guarantees: every value is frozen; an implementation raises nothing but the errors named on `InferenceBackend`.
Not responsible for: retries, breakers, limits and pools: they wrap a backend and know nothing of its protocol.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from holdfast.ports.retrieval import Passage
from holdfast.ports.trace import TraceContext

__all__ = [
    "Citation",
    "Completion",
    "Deliver",
    "FinishReason",
    "InferenceBackend",
    "Message",
    "Parameters",
    "Prompt",
    "ResponseFormat",
    "Role",
    "StreamingBackend",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "Usage",
]


class Role(enum.StrEnum):
    """Who speaks a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    """What a tool that the assistant called gave back."""


class ResponseFormat(enum.StrEnum):
    """What form the answer shall have."""

    TEXT = "text"
    JSON = "json"


class ToolChoice(enum.StrEnum):
    """Whether the answer may, must not or must be a call of tools."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


class FinishReason(enum.StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    """It was complete, or came to one of the texts at which it was to end."""
    LENGTH = "length"
    """It came to its upper bound, or to that of the model."""
    TOOL_CALLS = "tool_calls"
    """It calls tools, and waits for what they give back."""
    FILTERED = "content_filter"
    """The backend left the rest out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """Something that a model may ask its caller to do; Holdfast hands it on and calls nothing.

    Args:
        name: how the model calls it.
        description: what it does, for the model.
        json_schema: of its arguments, as JSON text.
    """

    name: str
    description: str = ""
    json_schema: str = "{}"

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text of it, which together are its size."""
        return self.name, self.description, self.json_schema


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A model's wish to have a tool called.

    Args:
        call_id: tells it apart from the others of a conversation; the tool's answer names it.
        name: of the tool.
        arguments: as the model wrote them; meant to be a JSON object, and not checked.
    """

    call_id: str
    name: str
    arguments: str

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text of it, which together are its size."""
        return self.call_id, self.name, self.arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation.

    Args:
        role: who speaks.
        content: the text.
        tool_calls: what the assistant asked for.
        tool_call_id: which call it answers, where a tool speaks.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text of it, which together are its size."""
        if self.tool_call_id is None and not self.tool_calls:
            return (self.content,)
        called = (text for call in self.tool_calls for text in call.texts)
        return self.content, self.tool_call_id or "", *called


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """How the answer shall be made; None leaves the choice to the backend.

    Args:
        temperature: sampling temperature, from 0; above 0 asks for sampling.
        top_p: nucleus sampling mass, in (0, 1].
        max_tokens: upper bound of the answer, in tokens.
        seed: makes sampling repeatable where the backend can.
        stop: texts at which the answer ends.
        response_format: text, or JSON.
        json_schema: what the JSON shall be like, as JSON text; a backend that cannot hold its answer to it gives JSON.
        tools: what the answer may ask its caller to do.
        tool_choice: whether it may, must not or must.
        required_tool: name of the tool that it must call, where it must; None for any of them.
        parallel_tool_calls: whether one answer may call several.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    response_format: ResponseFormat = ResponseFormat.TEXT
    json_schema: str | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    required_tool: str | None = None
    parallel_tool_calls: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """Where a statement of the answer comes from."""

    source: str
    heading: str

    @property
    def label(self) -> str:
        """Return how it is written in a text: ``[source § heading]``."""
        return f"[{self.source} § {self.heading}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens that the backend says it used."""

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a backend is asked, assembled.

    Args:
        messages: the conversation, the retrieved passages already rendered into it.
        passages: the same passages as values, for backends that need no rendering.
        model: which of the backend's models; None for its own choice.
        parameters: how the answer shall be made.
        idempotency_key: the same for every attempt of one request, so that a backend can recognise a repeat.
        trace: where the attempt stands in a trace, to be handed on to a backend of another process; None in none.
        idempotent: whether asking twice does no harm; otherwise not even a connection that broke without an answer is
            a reason to ask again.
    """

    messages: tuple[Message, ...]
    passages: tuple[Passage, ...] = ()
    model: str | None = None
    parameters: Parameters = Parameters()
    idempotency_key: str | None = None
    trace: TraceContext | None = None
    idempotent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A whole answer.

    Args:
        text: the answer.
        model: which model gave it.
        usage: tokens used.
        citations: what it rests on, in order of first use.
        tool_calls: what the caller is asked to do, in order; the text may then be empty.
        finish_reason: why it ended; None where the backend does not say.
    """

    text: str
    model: str
    usage: Usage = Usage()
    citations: tuple[Citation, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason | None = None


class InferenceBackend(Protocol):
    """Turns a prompt into a completion.

    The text is a JSON object where the parameters ask for JSON, and cites passages of the prompt only, each once.
    Idempotency: `complete` may be called again with the same prompt after any failure. Ordering: concurrent calls are
    independent. Cancellation: `complete` passes a checkpoint, and may be cancelled at any moment; the instance is then
    used no more unless its provider says that it is resettable. Errors: `BackendError` and its subclasses, and nothing
    else.
    """

    async def complete(self, prompt: Prompt) -> Completion:
        """Return the whole answer."""
        ...


Deliver = Callable[[str], Awaitable[None]]
"""Hands one piece of an answer to whoever reads it, and waits for as long as that reader is too far behind.

One call at a time. An empty piece is allowed and changes nothing. What it raises is not the backend's to handle: let it
through.
"""


@runtime_checkable
class StreamingBackend(InferenceBackend, Protocol):
    """An `InferenceBackend` that can also give its answer piece by piece.

    Ordering: the pieces come in the order of the text. Idempotency, concurrency and errors: as for `complete`; after a
    failure or a cancellation nothing is delivered any more. Cancellation: `stream` may be cancelled at any moment, also
    while it waits in `deliver`.
    """

    async def stream(self, prompt: Prompt, deliver: Deliver) -> Completion:
        """Hand the answer to `deliver` in pieces, as it comes, and then return the whole of it.

        Returns:
            The completion, whose text is that of all pieces put together.
        """
        ...
