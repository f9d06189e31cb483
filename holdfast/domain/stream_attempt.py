"""One attempt to have an answer streamed.

Responsibility: let a backend stream, within its times and up to the longest answer, and say what a failure means then.
Guarantees: a backend that cannot stream answers in one piece; a failure after the first piece has gone out is a
    `StreamInterruptedError`, which nobody retries; before that it is what the backend raised.
Not responsible for: who reads, and how slowly: see `holdfast.domain.stream_outlet`.
"""

from __future__ import annotations

from holdfast.domain.stream_outlet import Outlet
from holdfast.domain.stream_timeout import StreamTimeout
from holdfast.domain.text_size import utf8_size_bytes
from holdfast.ports.errors import BackendProtocolError, SlowReaderError, StreamInterruptedError
from holdfast.ports.inference import Completion, Deliver, InferenceBackend, Prompt, StreamingBackend

__all__ = ["stream_attempt", "stream_through"]


async def stream_through(backend: InferenceBackend, prompt: Prompt, deliver: Deliver) -> Completion:
    """Have `backend` stream to `deliver`, in one piece if it knows no better, and return its completion.

    Raises:
        BackendError: as `backend` raises it.
        Exception: whatever `deliver` raises.
    """
    if isinstance(backend, StreamingBackend):
        return await backend.stream(prompt, deliver)
    completion = await backend.complete(prompt)
    await deliver(completion.text)
    return completion


async def stream_attempt(
    backend: InferenceBackend,
    prompt: Prompt,
    outlet: Outlet,
    *,
    name: str,
    timeout: StreamTimeout,  # noqa: ASYNC109
) -> Completion:
    """Have `backend` stream to `outlet`, and return its completion.

    Args:
        backend: who answers.
        prompt: what it is asked.
        outlet: where the pieces go.
        name: what errors call the backend.
        timeout: how long it may keep its readers waiting.

    Raises:
        StreamInterruptedError: the attempt failed after something had gone out; what with is its cause.
        AttemptTimeoutError: the first piece took too long.
        BackendProtocolError: the answer is longer than one may be, already with its first piece.
        SlowReaderError: its readers held it back for too long.
        Exception: whatever `backend` raises before its first piece.
    """

    async def stream(deliver: Deliver) -> Completion:
        async def deliver_bounded(piece: str) -> None:
            if utf8_size_bytes(piece) > outlet.max_bytes - outlet.sent_bytes:
                raise BackendProtocolError(
                    f"sends more than {outlet.max_bytes} bytes; ask for less, or raise streaming.max_answer_bytes",
                    backend=name,
                )
            await deliver(piece)

        return await stream_through(backend, prompt, deliver_bounded)

    try:
        return await timeout.call(stream, outlet)
    except SlowReaderError:
        raise
    except Exception as error:
        if not outlet.sent_bytes:
            raise
        raise StreamInterruptedError(backend=name, text_sent=outlet.sent_text()) from error
