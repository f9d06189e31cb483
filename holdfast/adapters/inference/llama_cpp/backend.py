"""Answers of a model that is in the memory of this process.

Responsibility: `StreamingBackend` over one loaded model of llama-cpp-python.
Guarantees: the event loop never computes: each token is made in a worker thread, and handed on before the next one; one
    call at a time, the others wait in line; a call that is cancelled frees the model as soon as the token at hand is
    made, and where the processor computes, in the midst of it; a model that was closed is never touched again.
Not responsible for: whether it is in memory: see `holdfast.adapters.inference.llama_cpp.loader`; tools, which it knows
    nothing of.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

import anyio
import anyio.lowlevel
from anyio.from_thread import check_cancelled
from anyio.to_thread import run_sync

from holdfast.adapters.inference.llama_cpp.driver import Llama
from holdfast.adapters.inference.text_prompt import refuse_calls_of_tools, system_text
from holdfast.ports.errors import BackendError, BackendRequestError, BackendUnavailableError
from holdfast.ports.inference import (
    Completion,
    Deliver,
    FinishReason,
    Message,
    Parameters,
    Prompt,
    ResponseFormat,
    Role,
    StreamingBackend,
    Usage,
)

__all__ = ["LlamaCppBackend"]

T = TypeVar("T")

_LOOK_EVERY_S: Final = 0.005

_LAST_STEP_S: Final = 30.0
"""What a token may still take when the model is closed; unmeasured."""

_ENDINGS: Final = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class LlamaCppBackend:
    """Asks the model; any number of calls at once, which it answers one after the other.

    Args:
        name: what errors call it.
        model: what completions call it.
        load: returns the model and what has to live as long; given what says, in the thread that computes, whether it
            does so for nothing. Called at once, so make this in a worker thread.

    Raises:
        Exception: as `load` does.
    """

    def __init__(self, name: str, *, model: str, load: Callable[[Callable[[], bool]], tuple[Llama, object]]) -> None:
        self._name = name
        self._model = model
        self._turn = anyio.Lock()
        self._is_closing = False
        self._is_left = False
        self._opened: _Opened | None = _Opened(*load(self._is_unwanted))

    def close(self) -> None:
        """Free the model as soon as the token at hand is made; in a worker thread.

        Raises:
            BackendUnavailableError: that takes too long; the model stays in memory.
        """
        self._is_closing = True
        opened, self._opened = self._opened, None
        if opened is None:
            return
        try:
            opened.free(timeout_s=_LAST_STEP_S)
        except queue.Empty:
            raise BackendUnavailableError(
                f"still computes {_LAST_STEP_S:g} s after it was asked to end, so it is not freed", backend=self._name
            ) from None

    async def complete(self, prompt: Prompt) -> Completion:
        """Return the whole answer.

        Raises:
            BackendRequestError: the prompt does not fit into the context, or asks for what the model cannot do.
            BackendUnavailableError: the model is closed, or computing failed.
        """
        return await self.stream(prompt, _drop)

    async def stream(self, prompt: Prompt, deliver: Deliver) -> Completion:
        """Hand the answer over token by token, and return the whole of it.

        The tokens that it counts include the mark of the end.

        Raises:
            Exception: as `complete`, and whatever `deliver` raises.
        """
        asked = self._asked(prompt)
        async with self._turn:
            opened = self._opened
            if opened is None:
                raise self._unloaded()
            try:
                return await self._answer(opened, asked, deliver)
            finally:
                opened.end()

    async def _answer(self, opened: _Opened, asked: Mapping[str, Any], deliver: Deliver) -> Completion:
        texts: list[str] = []
        ending: str | None = None
        await self._step(opened, lambda: opened.begin(asked))
        while (chunk := await self._step(opened, opened.next)) is not None:
            choice = chunk["choices"][0]
            ending = choice["finish_reason"] or ending
            if piece := choice["delta"].get("content"):
                texts.append(piece)
                await deliver(piece)
        return Completion(
            text="".join(texts),
            model=self._model,
            usage=Usage(input_tokens=opened.input_tokens, output_tokens=opened.output_tokens),
            finish_reason=_ENDINGS.get(ending or ""),
        )

    async def _step(self, opened: _Opened, step: Callable[[], T]) -> T:
        try:
            return await self._computed(opened, step)
        except queue.Empty:
            raise self._unloaded() from None
        except ValueError as error:
            raise BackendRequestError(f"cannot be asked this: {error}", backend=self._name) from error
        except Exception as error:
            await anyio.lowlevel.checkpoint_if_cancelled()  # which is then why it failed
            raise BackendUnavailableError(f"failed with {type(error).__name__}", backend=self._name) from error

    async def _computed(self, opened: _Opened, step: Callable[[], T]) -> T:
        try:
            # With a limiter of its own: whatever fills the common one must not hold up a model that computes.
            return await run_sync(lambda: opened.alone(step), limiter=anyio.CapacityLimiter(1))
        except anyio.get_cancelled_exc_class():
            # AnyIO has waited for the thread; asyncio itself (`asyncio.timeout`) has not.
            while opened.is_computing:
                self._is_left = True
                with suppress(anyio.get_cancelled_exc_class()), anyio.CancelScope(shield=True):
                    await anyio.sleep(_LOOK_EVERY_S)
            self._is_left = False
            raise

    def _asked(self, prompt: Prompt) -> dict[str, Any]:
        refuse_calls_of_tools(prompt, backend=self._name)
        try:
            return {"messages": _told(prompt.messages)} | _sampling(prompt.parameters)
        except (ValueError, RecursionError) as error:
            raise BackendRequestError(
                "cannot hold its answer to a schema that is no JSON", backend=self._name
            ) from error

    def _is_unwanted(self) -> bool:
        if self._is_closing or self._is_left:
            return True
        try:
            check_cancelled()
        except BaseException:  # noqa: BLE001 - C calls this; the task that waits for the step raises the cancellation
            return True
        return False

    def _unloaded(self) -> BackendError:
        return BackendUnavailableError("its model is not in memory any more", backend=self._name)


class _Opened:
    """A model in memory, and the answer at hand; each step alone, in a worker thread."""

    def __init__(self, llama: Llama, kept: object) -> None:
        self._llama = llama
        self._kept: object = kept
        self._generate = llama.generate
        llama.generate = self._counted
        self._free = queue.SimpleQueue[None]()
        self._free.put(None)
        self._chunks: Iterator[Mapping[str, Any]] | None = None
        self.input_tokens = 0
        self.output_tokens = 0
        self.is_computing = False

    def alone(self, step: Callable[[], T]) -> T:
        """Return what `step` returns, or raise `queue.Empty` if the model is being freed."""
        self._free.get_nowait()
        self.is_computing = True
        try:
            return step()
        finally:
            self.is_computing = False
            self._free.put(None)

    def free(self, *, timeout_s: float) -> None:
        """Free the model after the step at hand, or raise `queue.Empty`."""
        self._free.get(timeout=timeout_s)
        self._chunks = None
        self._llama.close()
        self._kept = None

    def begin(self, asked: Mapping[str, Any]) -> None:
        """Begin an answer."""
        self.input_tokens = self.output_tokens = 0
        self._chunks = iter(self._llama.create_chat_completion(**asked, stream=True))

    def next(self) -> Mapping[str, Any] | None:
        """Return the next chunk of it, or None at its end."""
        assert self._chunks is not None, "no answer was begun"  # noqa: S101 - `begin` comes first, under the same lock
        chunk = next(self._chunks, None)
        if chunk is None:
            self._chunks = None
        return chunk

    def end(self) -> None:
        """Forget an answer that did not come to its end."""
        if self._chunks is None:
            return
        self._chunks = None
        with suppress(queue.Empty):  # it is being freed
            self.alone(self._llama.reset)  # what an aborted computation left in the context is not to be built on

    def _counted(self, tokens: Any, *arguments: Any, **options: Any) -> Iterator[int]:  # noqa: ANN401 - the driver's own
        self.input_tokens = len(tokens)
        for token in self._generate(tokens, *arguments, **options):
            self.output_tokens += 1
            yield token


async def _drop(_: str) -> None:
    """Take a piece that nobody reads yet."""


def _told(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    # As one, and in front: the chat templates of many models take the instructions in no other place.
    instructions = system_text(messages)
    told = [{"role": message.role.value, "content": message.content} for message in messages]
    spoken = [turn for turn in told if turn["role"] != Role.SYSTEM]
    return [{"role": Role.SYSTEM.value, "content": instructions}, *spoken] if instructions else spoken


def _sampling(parameters: Parameters) -> dict[str, Any]:
    given: dict[str, Any] = {
        "temperature": parameters.temperature,
        "top_p": parameters.top_p,
        "max_tokens": parameters.max_tokens,
        "seed": parameters.seed,
        "stop": list(parameters.stop) or None,
    }
    sampling = {name: value for name, value in given.items() if value is not None}
    if parameters.response_format is ResponseFormat.JSON:
        schema = {} if parameters.json_schema is None else {"schema": json.loads(parameters.json_schema)}
        sampling["response_format"] = {"type": "json_object"} | schema
    return sampling


_: type[StreamingBackend] = LlamaCppBackend
