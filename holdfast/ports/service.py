"""How Holdfast is called: the driving port.

Responsibility: the request that comes in, the reply that goes out, and the service between them.
Guarantees: every value is frozen; a reply says what happened to its request.
Not responsible for: how requests arrive (command line, HTTP) or which adapters serve them.
"""

from __future__ import annotations

import enum
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, Self

from holdfast.ports.inference import Citation, FinishReason, Message, Parameters, ToolCall, Usage
from holdfast.ports.session import Sessions
from holdfast.ports.statistics import Health
from holdfast.ports.trace import TraceContext

__all__ = ["Disposition", "Priority", "Reply", "ReplyStream", "Request", "Service"]


class Priority(enum.IntEnum):
    """How urgent a request is; the lower number goes first."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3
    BULK = 4


class Disposition(enum.StrEnum):
    """Where a reply came from."""

    CALLED = "called"
    """A backend was called for this request."""
    JOINED = "joined"
    """An identical request was already on its way; this one shared its answer."""
    CACHED = "cached"
    """An identical request was answered within the deduplication window."""
    COMMANDED = "commanded"
    """The request was a command, such as ``/expert status``, and Holdfast answered it by itself."""

    @property
    def is_shared(self) -> bool:
        """Whether the answer was made for another request, so that no backend was called for this one."""
        return self in {Disposition.JOINED, Disposition.CACHED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to the service.

    Args:
        messages: the conversation; the last one is from the user, or from a tool that was called.
        tenant: who pays for it; identical requests of two tenants are never shared.
        model: which model; None for the backend's own choice.
        parameters: how the answer shall be made.
        priority: how urgent it is.
        timeout_s: seconds until the deadline, which is set once, at the door; None for the service's default.
        session_id: the conversation that the messages go on with; None for a request on its own.
        persona: name of the persona that answers; None leaves it to a command, to the session, or to the text.
        idempotent: whether asking a backend twice does no harm; otherwise it is neither retried nor hedged, its answer
            is shared with nobody, and no other backend is tried after one has been asked.
        no_cache: ask a backend even if the same request was answered just now, and share this answer with nobody.
        idempotency_key: handed to the backend with every attempt; None makes one for that call alone.
        request_id: the caller's name for it, repeated in the reply.
        trace: where the caller stands in a trace, so that what follows is found there; None in none. Changes no answer.
    """

    messages: tuple[Message, ...]
    tenant: str = "default"
    model: str | None = None
    parameters: Parameters = Parameters()
    priority: Priority = Priority.NORMAL
    timeout_s: float | None = None
    session_id: str | None = None
    persona: str | None = None
    idempotent: bool = True
    no_cache: bool = False
    idempotency_key: str | None = None
    request_id: str | None = None
    trace: TraceContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer, and what happened to the request.

    Attempts, times and usage are those of the call that brought the answer, also where it was shared; to add them up,
    count the replies that were called for.

    Args:
        text: the answer.
        backend: name of the backend that gave it.
        model: which model gave it.
        disposition: whether a backend was called for it, or it was shared.
        attempts: calls that it took, over all backends.
        queue_s: seconds spent waiting for admission.
        backend_s: seconds spent in backends, pauses between attempts included.
        usage: tokens used.
        citations: what the answer rests on.
        request_id: as in the request.
        persona: name of the persona that answered, or of the one that the session keeps after a command; None for none.
        marks: names of the validators that the answer did not pass, and that let it through with a mark.
        tool_calls: what the caller is asked to do; the text may then be empty.
        finish_reason: why the answer ended; None where the backend does not say.
    """

    text: str
    backend: str
    model: str
    disposition: Disposition
    attempts: int
    queue_s: float
    backend_s: float
    usage: Usage
    citations: tuple[Citation, ...]
    request_id: str | None
    persona: str | None = None
    marks: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason | None = None


class ReplyStream(Protocol):
    """A reply while it comes: ``async for piece in stream``, and then ``await stream.reply()``.

    Ordering: the pieces put together are the text of the reply, or as much of it as had come when it failed. A piece is
    never empty; a reader who was slow gets several at once. Cancellation: neutral; iterating may go on afterwards.
    Errors: those of `Service`, raised where the next piece would have come. For one caller at a time.
    """

    def __aiter__(self) -> Self:
        """Return the stream itself: it is read once."""
        ...

    async def __anext__(self) -> str:
        """Return the next piece of the text."""
        ...

    async def reply(self) -> Reply:
        """Return the whole reply, once it is complete; whatever has not been read by then is dropped."""
        ...


class Service(Protocol):
    """Answers requests.

    Ordering: concurrent requests are independent. Duplication: identical requests may share one answer, unless they
    opt out. Idempotency: submitting again is safe. Cancellation: neutral; the request leaves nothing behind, and work
    that others share goes on. Errors: `RequestError`, `RefusedError`, `DeadlineExceededError`, `AttemptTimeoutError`,
    `BackendError`, `RetrievalError`, `SharedFailureError`, `OutputError` and `SessionError`; of a stream also
    `StreamInterruptedError` and `SlowReaderError`.
    """

    async def submit(self, request: Request) -> Reply:
        """Return the reply to one request."""
        ...

    def stream(self, request: Request) -> AbstractAsyncContextManager[ReplyStream]:
        """Return the reply to one request while it comes, for an ``async with`` block.

        The block is cancelled at the request's deadline, as long as the reply is not complete. Leaving it earlier ends
        the request; its call ends too, unless others share it.
        """
        ...

    @property
    def sessions(self) -> Sessions:
        """The conversations that requests can go on with, to be created, read and deleted."""
        ...

    def health(self) -> Health:
        """Return what every mechanism counts, as one frozen snapshot."""
        ...

    async def drain(self, timeout_s: float) -> None:
        """Take no new requests, let running ones finish for `timeout_s` seconds, then cancel them."""
        ...
