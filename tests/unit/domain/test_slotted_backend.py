from __future__ import annotations

import gc
import weakref
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from holdfast.domain.host_guard import HostGuard, HostGuardConfig
from holdfast.domain.model_slot import ModelSlots
from holdfast.domain.slotted_backend import SlottedBackend
from holdfast.ports.errors import BackendUnavailableError, HostMemoryError
from holdfast.ports.inference import Completion, Deliver, InferenceBackend, Message, Prompt, Role, StreamingBackend
from holdfast.testing import VirtualClock
from holdfast.testing.contracts.inference_backend import InferenceBackendContract
from tests.fakes.model import FakeLoader, FakeModel, Machine

pytestmark = pytest.mark.anyio

PROMPT = Prompt(messages=(Message(role=Role.USER, content="what is the answer?"),))


class Failing:
    """Fails with an error that has a cause and a context, deep in its own frames."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error or BackendUnavailableError("went away", backend="a")

    async def complete(self, prompt: Prompt) -> Completion:
        try:
            await self._fail()
        except OSError as error:
            raise self._error from error
        raise AssertionError("it fails")

    async def _fail(self) -> None:
        await anyio.lowlevel.checkpoint()
        raise OSError("the library's own")


class Slow:
    """Takes a second for an answer."""

    async def complete(self, prompt: Prompt) -> Completion:
        await anyio.sleep(1.0)
        return Completion(text="a", model="slow")


class Spelling:
    """Streams its answer letter by letter."""

    async def complete(self, prompt: Prompt) -> Completion:
        return Completion(text="42", model="spelling")

    async def stream(self, prompt: Prompt, deliver: Deliver) -> Completion:
        for letter in "42":
            await deliver(letter)
        return Completion(text="42", model="spelling")


class Loader(FakeLoader):
    """Loads what it is told to make, and remembers it weakly."""

    def __init__(self, name: str, make: Callable[[], InferenceBackend]) -> None:
        super().__init__(name)
        self._make = make
        self.made: list[weakref.ref[InferenceBackend]] = []

    async def load(self) -> InferenceBackend:
        await anyio.sleep(1.0)
        self.loads += 1
        backend = self._make()
        self.made.append(weakref.ref(backend))
        return backend

    async def unload(self, backend: InferenceBackend) -> None:
        self.unloads += 1


def slots_on(machine: Machine) -> ModelSlots:
    guard = HostGuard(machine, HostGuardConfig(reserve_bytes=0))
    return ModelSlots(guard=guard, clock=VirtualClock(), collect=lambda: None)


async def test_complete_loads_the_model_and_uses_it_as_long_as_the_call_goes_on() -> None:
    loader = Loader("a", Slow)
    async with slots_on(loader.machine) as slots:
        backend = SlottedBackend(loader, slots)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(backend.complete, PROMPT)
            await anyio.sleep(0.5)
            assert slots.statistics().waiting == 1
            await anyio.sleep(1.0)
            assert slots.statistics().using == 1
        assert (await backend.complete(PROMPT)).text == "a"
        now = slots.statistics()

    assert (now.granted, now.using, now.loads) == (2, 0, 1)


async def test_complete_of_a_model_that_does_not_fit_is_refused() -> None:
    machine = Machine(total_bytes=9)
    async with slots_on(machine) as slots:
        with pytest.raises(HostMemoryError):
            await SlottedBackend(FakeLoader("a", size_bytes=10, machine=machine), slots).complete(PROMPT)


@pytest.mark.parametrize("ask", ["complete", "stream"])
async def test_error_that_somebody_keeps_does_not_keep_the_model_in_memory(ask: str) -> None:
    loader = Loader("a", Failing)
    async with slots_on(loader.machine) as slots:
        backend = SlottedBackend(loader, slots)

        async def deliver(_: str) -> None: ...

        with pytest.raises(BackendUnavailableError) as caught:
            await (backend.complete(PROMPT) if ask == "complete" else backend.stream(PROMPT, deliver))
        await SlottedBackend(FakeLoader("b"), slots).complete(PROMPT)
        gc.collect()

        assert loader.made[0]() is None
        assert isinstance(caught.value.__cause__, OSError)
        assert any(note.startswith("raised in complete (test_slotted_backend.py") for note in caught.value.__notes__)
        assert any("raised in _fail" in note for note in caught.value.__cause__.__notes__)


async def test_error_that_is_raised_again_and_again_is_noted_once() -> None:
    loader = Loader("a", lambda: Failing(error))
    error = BackendUnavailableError("went away", backend="a")
    async with slots_on(loader.machine) as slots:
        backend = SlottedBackend(loader, slots)
        for _ in range(3):
            with pytest.raises(BackendUnavailableError):
                await backend.complete(PROMPT)

    assert len(error.__notes__) == 1


async def test_error_that_the_caller_was_handling_keeps_its_frames() -> None:
    loader = Loader("a", Failing)
    async with slots_on(loader.machine) as slots:
        try:
            raise KeyError("the caller's own")  # noqa: TRY301 - it has to be handled while the model is called
        except KeyError as error:
            handled = error
            with pytest.raises(BackendUnavailableError):
                await SlottedBackend(loader, slots).complete(PROMPT)

    assert handled.__traceback__ is not None
    assert not hasattr(handled, "__notes__")


async def test_error_that_is_its_own_context_ends_the_search() -> None:
    error = BackendUnavailableError("went round", backend="a")
    other = OSError("and round")
    error.__cause__, other.__context__ = other, error
    loader = FakeLoader("a")

    async def fail() -> None:
        raise error

    async with slots_on(loader.machine) as slots:
        async with slots.use(loader) as model:
            assert isinstance(model, FakeModel)
            model.on_complete = fail
        with pytest.raises(BackendUnavailableError) as caught:
            await SlottedBackend(loader, slots).complete(PROMPT)

    assert caught.value is error


async def pieces_of(backend: StreamingBackend) -> tuple[list[str], Completion]:
    pieces: list[str] = []

    async def deliver(piece: str) -> None:
        pieces.append(piece)

    return pieces, await backend.stream(PROMPT, deliver)


@pytest.mark.parametrize(
    ("make", "expected"), [(Spelling, ["4", "2"]), (lambda: FakeModel("42", 10), ["42"])], ids=["in pieces", "whole"]
)
async def test_stream_gives_the_pieces_that_the_model_makes_or_one(
    make: Callable[[], InferenceBackend], expected: list[str]
) -> None:
    loader = Loader("a", make)
    async with slots_on(loader.machine) as slots:
        pieces, completion = await pieces_of(SlottedBackend(loader, slots))

    assert (pieces, completion.text) == (expected, "42")


async def test_stream_cancelled_while_it_delivers_ends_the_use() -> None:
    loader = Loader("a", Spelling)
    async with slots_on(loader.machine) as slots:
        with anyio.move_on_after(2.0) as scope:

            def never(_: str) -> Awaitable[None]:
                return anyio.sleep_forever()

            await SlottedBackend(loader, slots).stream(PROMPT, never)

        assert scope.cancelled_caught
        assert slots.statistics().using == 0


class AnsweringInJson(FakeModel):
    async def complete(self, prompt: Prompt) -> Completion:
        return Completion(text="{}", model=self.name)


class TestSlottedBackend(InferenceBackendContract):
    @pytest.fixture
    async def backend(self) -> object:
        loader = Loader("a", lambda: AnsweringInJson("a", 10))
        async with slots_on(loader.machine) as slots:
            yield SlottedBackend(loader, slots)
