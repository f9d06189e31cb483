"""What every `InferenceBackend` must do.

Responsibility: the contract of `holdfast.ports.inference`, as tests.
Guarantees: a backend that passes can be pooled, retried, cancelled and called by many at once.
Not responsible for: how good its answers are.
"""

# ruff: noqa: D102 - a test's name is its docstring
from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Final

import anyio
import pytest

from holdfast.domain.stream_attempt import stream_through
from holdfast.ports.errors import BackendError
from holdfast.ports.inference import (
    Citation,
    Completion,
    InferenceBackend,
    Message,
    Parameters,
    Prompt,
    ResponseFormat,
    Role,
)
from holdfast.ports.retrieval import Passage
from holdfast.testing.cancellation import sweep_cancellation

__all__ = ["InferenceBackendContract"]


def _prompt(question: str, passages: tuple[Passage, ...] = ()) -> Prompt:
    return Prompt(messages=(Message(role=Role.USER, content=question),), passages=passages)


_PASSAGES: Final = (
    Passage(source="pool.md", heading="Leases", text="A lease goes to the waiter that came first.", score=2.0),
    Passage(source="breaker.md", heading="Probes", text="A probe closes the breaker.", score=1.0),
)
_QUESTION: Final = _prompt("Who gets a lease of the pool?", _PASSAGES)
_HOSTILE: Final = {
    "empty": _prompt(""),
    "nul and surrogate": _prompt("a\x00b \ud800", (Passage(source="\x00", heading="", text="\x00 \ud800", score=0.0),)),
    "megabyte question": _prompt("lease " * 170_000, _PASSAGES),
    "empty passage": _prompt("lease?", (Passage(source="", heading="", text="", score=0.0),)),
    "not a score": _prompt("lease?", tuple(replace(passage, score=float("nan")) for passage in _PASSAGES)),
}


class InferenceBackendContract:
    """Subclass it as ``Test…`` with a fixture ``backend``; mark the subclass ``real_time`` if it uses sockets."""

    pytestmark = pytest.mark.anyio

    async def test_complete_a_question_gives_an_answer_and_its_model(self, backend: InferenceBackend) -> None:
        completion = await backend.complete(_QUESTION)

        assert completion.text
        assert completion.model
        assert completion.usage.input_tokens >= 0
        assert completion.usage.output_tokens >= 0

    async def test_complete_cites_only_passages_of_the_prompt_each_once(self, backend: InferenceBackend) -> None:
        completion = await backend.complete(_QUESTION)

        given = {Citation(source=passage.source, heading=passage.heading) for passage in _PASSAGES}
        assert set(completion.citations) <= given
        assert len(set(completion.citations)) == len(completion.citations)

    async def test_complete_without_passages_answers_without_citations(self, backend: InferenceBackend) -> None:
        completion = await backend.complete(_prompt("Who gets a lease of the pool?"))

        assert completion.text
        assert completion.citations == ()

    async def test_complete_when_json_is_asked_for_gives_a_json_object(self, backend: InferenceBackend) -> None:
        parameters = Parameters(response_format=ResponseFormat.JSON)

        completion = await backend.complete(replace(_QUESTION, parameters=parameters))

        assert isinstance(json.loads(completion.text), dict)

    @pytest.mark.parametrize("prompt", list(_HOSTILE.values()), ids=list(_HOSTILE))
    async def test_complete_any_prompt_answers_or_raises_a_backend_error(
        self, backend: InferenceBackend, prompt: Prompt
    ) -> None:
        with contextlib.suppress(BackendError):
            assert isinstance((await backend.complete(prompt)).text, str)

    async def test_complete_many_at_once_are_all_answered(self, backend: InferenceBackend) -> None:
        answered: list[str] = []

        async def ask() -> None:
            answered.append((await backend.complete(_QUESTION)).text)

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)

        assert len(answered) == 20

    async def test_complete_cancelled_at_any_checkpoint_can_be_called_again(self, backend: InferenceBackend) -> None:
        async def scenario() -> None:
            await backend.complete(_QUESTION)

        async def check() -> None:
            assert (await backend.complete(_QUESTION)).text

        assert await sweep_cancellation(scenario, check) > 0

    async def test_stream_pieces_put_together_are_the_text_of_the_completion(self, backend: InferenceBackend) -> None:
        reader = _Reader()

        completion = await stream_through(backend, _QUESTION, reader.deliver)

        assert completion.text
        assert "".join(reader.pieces) == completion.text
        assert completion.model

    async def test_stream_when_json_is_asked_for_gives_a_json_object(self, backend: InferenceBackend) -> None:
        reader, parameters = _Reader(), Parameters(response_format=ResponseFormat.JSON)

        await stream_through(backend, replace(_QUESTION, parameters=parameters), reader.deliver)

        assert isinstance(json.loads("".join(reader.pieces)), dict)

    @pytest.mark.parametrize("prompt", list(_HOSTILE.values()), ids=list(_HOSTILE))
    async def test_stream_any_prompt_answers_or_raises_a_backend_error(
        self, backend: InferenceBackend, prompt: Prompt
    ) -> None:
        reader = _Reader()

        with contextlib.suppress(BackendError):
            assert (await stream_through(backend, prompt, reader.deliver)).text == "".join(reader.pieces)

    async def test_stream_to_a_slow_reader_waits_for_it_before_the_next_piece(self, backend: InferenceBackend) -> None:
        reader = _Reader(pause_s=0.01)

        completion = await stream_through(backend, _QUESTION, reader.deliver)

        assert "".join(reader.pieces) == completion.text
        assert reader.most_at_once == 1

    async def test_stream_error_of_the_reader_passes_through_as_the_same_object(
        self, backend: InferenceBackend
    ) -> None:
        error = _ReaderGoneError()

        async def deliver(_: str) -> None:
            raise error

        with pytest.raises(_ReaderGoneError) as caught:
            await stream_through(backend, _QUESTION, deliver)

        assert caught.value is error

    async def test_stream_many_at_once_are_all_answered_without_mixing(self, backend: InferenceBackend) -> None:
        ends: list[bool] = []

        async def ask() -> None:
            reader = _Reader(pause_s=0.001)
            completion: Completion = await stream_through(backend, _QUESTION, reader.deliver)
            ends.append("".join(reader.pieces) == completion.text)

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)

        assert ends == [True] * 20

    async def test_stream_cancelled_at_any_checkpoint_delivers_no_more_and_can_be_called_again(
        self, backend: InferenceBackend
    ) -> None:
        readers: list[_Reader] = []

        async def scenario() -> None:
            readers.append(_Reader(pause_s=0.001))
            await stream_through(backend, _QUESTION, readers[-1].deliver)

        async def check() -> None:
            begun = [reader.begun for reader in readers]
            assert (await stream_through(backend, _QUESTION, _Reader().deliver)).text
            assert [reader.begun for reader in readers] == begun

        assert await sweep_cancellation(scenario, check) > 0


class _ReaderGoneError(Exception):
    """Stands for whatever may become of a reader."""


class _Reader:
    """Keeps the pieces, and sees whether two are ever handed over at once."""

    def __init__(self, *, pause_s: float = 0.0) -> None:
        self._pause_s = pause_s
        self._at_once = 0
        self.pieces: list[str] = []
        self.begun = 0
        self.most_at_once = 0

    async def deliver(self, piece: str) -> None:
        self.begun += 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await anyio.sleep(self._pause_s)
        finally:
            self._at_once -= 1
        self.pieces.append(piece)
