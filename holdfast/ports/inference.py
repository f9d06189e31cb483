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

__all__ = [
    "Citation",
    "Completion",
    "Deliver",
    "InferenceBackend",
    "Message",
    "Parameters",
    "Prompt",
    "ResponseFormat",
    "Role",
    "StreamingBackend",
    "Usage",
]


class Role(enum.StrEnum):
    """Who speaks a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class ResponseFormat(enum.StrEnum):
    """What form the answer shall have."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


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
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    response_format: ResponseFormat = ResponseFormat.TEXT


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
    """

    messages: tuple[Message, ...]
    passages: tuple[Passage, ...] = ()
    model: str | None = None
    parameters: Parameters = Parameters()
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A whole answer.

    Args:
        text: the answer.
        model: which model gave it.
        usage: tokens used.
        citations: what it rests on, in order of first use.
    """

    text: str
    model: str
    usage: Usage = Usage()
    citations: tuple[Citation, ...] = ()


class InferenceBackend(Protocol):
    """Turns a prompt into a completion.

    Idempotency: `complete` may be called again with the same prompt after any failure. Ordering: concurrent calls are
    independent. Cancellation: `complete` may be cancelled at any moment; the instance is then used no more unless its
    provider says that it is resettable. Errors: `BackendError` and its subclasses, and nothing else.
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
