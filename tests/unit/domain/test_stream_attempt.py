from __future__ import annotations

import anyio
import pytest

from holdfast.domain.deadline import Deadline
from holdfast.domain.stream_attempt import stream_attempt, stream_through
from holdfast.domain.stream_log import StreamLog
from holdfast.domain.stream_outlet import Outlet, StreamingConfig
from holdfast.domain.stream_timeout import StreamTimeout
from holdfast.ports.errors import (
    AttemptTimeoutError,
    BackendProtocolError,
    BackendUnavailableError,
    SlowReaderError,
    StreamInterruptedError,
)
from holdfast.ports.inference import Completion, Deliver, InferenceBackend, Message, Prompt, Role
from holdfast.testing import VirtualClock

pytestmark = pytest.mark.anyio

PROMPT = Prompt(messages=(Message(role=Role.USER, content="why?"),))
TIMEOUT = StreamTimeout(first_s=5.0, idle_s=5.0)


class Plain:
    """Cannot stream."""

    async def complete(self, prompt: Prompt) -> Completion:
        return Completion(text="because", model="plain")


class Speaker(Plain):
    """Says its pieces, one a second, and then raises what it was given."""

    def __init__(self, *pieces: str, error: Exception | None = None) -> None:
        self.pieces = pieces
        self.error = error

    async def stream(self, prompt: Prompt, deliver: Deliver) -> Completion:
        for piece in self.pieces:
            await anyio.sleep(1.0)
            await deliver(piece)
        if self.error is not None:
            raise self.error
        return Completion(text="".join(self.pieces), model="speaker")


def outlet(**config: float) -> Outlet:
    settings = StreamingConfig(**config)  # type: ignore[arg-type] # numbers of both kinds
    log = StreamLog(max_ahead_bytes=settings.max_ahead_bytes)
    return Outlet(log, deadline=Deadline.after(60.0, VirtualClock()), config=settings)


async def attempt(backend: InferenceBackend, out: Outlet) -> Completion:
    return await stream_attempt(backend, PROMPT, out, name="b", timeout=TIMEOUT)


@pytest.mark.parametrize(("backend", "text"), [(Plain(), "because"), (Speaker("be", "cause"), "because")])
async def test_attempt_returns_the_completion_whose_text_has_gone_out(backend: InferenceBackend, text: str) -> None:
    out = outlet()

    completion = await attempt(backend, out)

    assert completion.text == out.sent_text() == text


async def test_through_a_backend_that_cannot_stream_is_one_piece() -> None:
    pieces: list[str] = []

    async def deliver(piece: str) -> None:
        pieces.append(piece)

    await stream_through(Plain(), PROMPT, deliver)
    await stream_through(Speaker("be", "cause"), PROMPT, deliver)

    assert pieces == ["because", "be", "cause"]


async def test_attempt_that_fails_before_its_first_piece_raises_what_the_backend_raised() -> None:
    error = BackendUnavailableError("down", backend="b")

    with pytest.raises(BackendUnavailableError) as caught:
        await attempt(Speaker("", error=error), outlet())

    assert caught.value is error


async def test_attempt_that_fails_after_a_piece_is_interrupted_and_says_what_has_gone_out() -> None:
    error = BackendUnavailableError("down", backend="b")

    with pytest.raises(StreamInterruptedError) as caught:
        await attempt(Speaker("be", "", "cau", error=error), outlet())

    assert (caught.value.backend, caught.value.text_sent) == ("b", "becau")
    assert caught.value.__cause__ is error


async def test_attempt_that_goes_silent_after_a_piece_is_interrupted_by_its_timeout() -> None:
    class Silent(Speaker):
        async def stream(self, prompt: Prompt, deliver: Deliver) -> Completion:
            await deliver("be")
            await anyio.sleep(1000.0)
            return await self.complete(prompt)

    with pytest.raises(StreamInterruptedError) as caught:
        await attempt(Silent(), outlet())

    assert isinstance(caught.value.__cause__, AttemptTimeoutError)


async def test_attempt_longer_than_an_answer_may_be_is_interrupted() -> None:
    with pytest.raises(StreamInterruptedError) as caught:
        await attempt(Speaker("be", "cause"), outlet(max_ahead_bytes=6, max_answer_bytes=6))

    assert isinstance(caught.value.__cause__, BackendProtocolError)
    assert caught.value.text_sent == "be"


async def test_attempt_longer_in_bytes_than_an_answer_may_be_but_not_in_letters_is_interrupted() -> None:
    out = outlet(max_ahead_bytes=6, max_answer_bytes=6)

    with pytest.raises(StreamInterruptedError):
        await attempt(Speaker("ä", "\N{EURO SIGN}" * 2), out)

    assert out.sent_text() == "ä"


async def test_attempt_whose_first_piece_is_longer_than_an_answer_may_be_may_be_tried_elsewhere() -> None:
    with pytest.raises(BackendProtocolError, match=r"more than 6 bytes.*streaming\.max_answer_bytes"):
        await attempt(Speaker("because"), outlet(max_ahead_bytes=6, max_answer_bytes=6))


async def test_attempt_that_its_readers_stall_is_not_interrupted_by_the_backend() -> None:
    with pytest.raises(SlowReaderError):
        await attempt(Speaker("be", "cause"), outlet(max_ahead_bytes=2, stall_timeout_s=3.0))
