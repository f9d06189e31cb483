"""The backends that stream, where they do more than their contract asks for."""

from __future__ import annotations

import anyio
import pytest

from holdfast.adapters.inference.extractive import ExtractiveBackend
from holdfast.adapters.inference.scripted import Answer, Fault, Hang, Pieces, ScriptedBackend, Step, in_turn
from holdfast.ports.errors import BackendUnavailableError
from holdfast.ports.inference import Completion, Message, Parameters, Prompt, ResponseFormat, Role, Usage
from holdfast.ports.retrieval import Passage
from holdfast.testing import VirtualClock

pytestmark = pytest.mark.anyio

PROMPT = Prompt(messages=(Message(role=Role.USER, content="How does a pool lend connections and leases?"),))


class Listener:
    """Keeps each piece and when it came."""

    def __init__(self) -> None:
        self.began_s = anyio.current_time()
        self.heard: list[tuple[float, str]] = []

    async def deliver(self, piece: str) -> None:
        self.heard.append((round(anyio.current_time() - self.began_s, 3), piece))


def scripted(*steps: Step) -> ScriptedBackend:
    return ScriptedBackend("b", in_turn(*steps), clock=VirtualClock())


async def test_stream_pieces_come_at_their_times_and_the_usage_at_the_end() -> None:
    usage = Usage(input_tokens=3, output_tokens=2)
    listener = Listener()

    completion = await scripted(Pieces(pieces=("a", "b", "c"), delay_s=2.0, between_s=0.5, usage=usage)).stream(
        PROMPT, listener.deliver
    )

    assert listener.heard == [(2.0, "a"), (2.5, "b"), (3.0, "c")]
    assert completion == Completion(text="abc", model="b", usage=usage)


async def test_stream_answer_is_one_piece() -> None:
    listener = Listener()

    await scripted(Answer(text="abc", delay_s=1.0)).stream(PROMPT, listener.deliver)

    assert listener.heard == [(1.0, "abc")]


async def test_complete_pieces_are_one_text_after_the_same_time() -> None:
    began_s = anyio.current_time()

    completion = await scripted(Pieces(pieces=("a", "b"), delay_s=2.0, between_s=0.5)).complete(PROMPT)

    assert completion.text == "ab"
    assert anyio.current_time() - began_s == pytest.approx(2.5)


async def test_stream_cut_raises_a_fresh_copy_after_its_pieces() -> None:
    error = BackendUnavailableError("gone", backend="b")
    backend, listener = scripted(Pieces(pieces=("a", "b"), ending=Fault(error=error, delay_s=1.0))), Listener()

    with pytest.raises(BackendUnavailableError, match="gone") as caught:
        await backend.stream(PROMPT, listener.deliver)

    assert caught.value is not error
    assert [piece for _, piece in listener.heard] == ["a", "b"]
    assert backend.in_flight == 0


async def test_stream_that_hangs_after_its_pieces_ends_when_it_is_cancelled() -> None:
    backend, listener = scripted(Pieces(pieces=("a",), ending=Hang())), Listener()

    with anyio.move_on_after(5.0) as scope:
        await backend.stream(PROMPT, listener.deliver)

    assert scope.cancelled_caught
    assert (len(listener.heard), backend.in_flight) == (1, 0)


async def test_extractive_streams_a_paragraph_at_a_time_and_json_at_once() -> None:
    passages = tuple(
        Passage(source=f"{name}.md", heading="Use", text=f"A pool lends {name} to one caller at a time.", score=1.0)
        for name in ("connections", "leases")
    )
    backend, text, as_json = ExtractiveBackend("e"), Listener(), Listener()
    prompt = Prompt(messages=PROMPT.messages, passages=passages)
    parameters = Parameters(response_format=ResponseFormat.JSON)

    completion = await backend.stream(prompt, text.deliver)
    await backend.stream(Prompt(messages=PROMPT.messages, passages=passages, parameters=parameters), as_json.deliver)

    assert [piece[-2:] for _, piece in text.heard] == ["\n\n", "e]"]
    assert completion == await backend.complete(prompt)
    assert len(as_json.heard) == 1
