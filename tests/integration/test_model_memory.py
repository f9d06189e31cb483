"""Memory that models really hold, seen to come back to the machine."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from holdfast.adapters.inference.scripted import Fault, ScriptedBackend, in_turn
from holdfast.adapters.inference.scripted_model import ScriptedModelLoader
from holdfast.adapters.inference.threaded_model import ThreadedModelLoader
from holdfast.adapters.system.clock import SystemClock
from holdfast.adapters.system.memory import SystemMemory
from holdfast.domain.host_guard import HostGuard, HostGuardConfig
from holdfast.domain.model_slot import ModelSlotConfig, ModelSlots
from holdfast.domain.slotted_backend import SlottedBackend
from holdfast.ports.errors import BackendUnavailableError, HostMemoryError
from holdfast.ports.inference import Completion, InferenceBackend, Prompt

STATM = Path("/proc/self/statm")
SIZE_BYTES = 128 * 1024 * 1024

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.real_time,
    pytest.mark.slow,
    pytest.mark.skipif(not STATM.exists(), reason="only Linux tells what a process holds"),
]


def held_bytes() -> int:
    return int(STATM.read_text().split()[1]) * resource.getpagesize()


def scripted(name: str, size_bytes: int, fault: Exception | None = None) -> ScriptedModelLoader:
    clock = SystemClock()
    backend = (
        ScriptedBackend.repeating(name, "yes", clock=clock)
        if fault is None
        else ScriptedBackend(name, in_turn(Fault(error=fault)), clock=clock)
    )
    return ScriptedModelLoader(name, backend, size_bytes=size_bytes, clock=clock, holds_memory=True)


def slots() -> ModelSlots:
    guard = HostGuard(SystemMemory(), HostGuardConfig(reserve_bytes=0))
    return ModelSlots(ModelSlotConfig(settle_timeout_s=1.0), guard=guard, clock=SystemClock())


class Cyclic:
    """Holds memory, and itself."""

    def __init__(self) -> None:
        self.weights = bytearray(SIZE_BYTES)
        self.itself = self

    async def complete(self, prompt: Prompt) -> Completion:
        return Completion(text="yes", model="cyclic")


async def ask(opened: ModelSlots, loader: ScriptedModelLoader | ThreadedModelLoader) -> int:
    """Ask the model; return what the process holds while it is loaded."""
    await SlottedBackend(loader, opened).complete(Prompt(messages=()))
    return held_bytes()


async def test_memory_of_a_model_is_back_when_the_next_one_is_loaded() -> None:
    before_bytes = held_bytes()
    async with slots() as opened:
        with_large_bytes = await ask(opened, scripted("large", SIZE_BYTES))
        with_small_bytes = await ask(opened, scripted("small", 1024))

    assert with_large_bytes - before_bytes > 0.9 * SIZE_BYTES
    assert with_large_bytes - with_small_bytes > 0.9 * SIZE_BYTES


async def test_memory_of_a_model_that_refers_to_itself_is_back_after_the_collection() -> None:
    def load() -> InferenceBackend:
        return Cyclic()

    async with slots() as opened:
        with_large_bytes = await ask(opened, ThreadedModelLoader("cyclic", size_bytes=SIZE_BYTES, load=load))
        with_small_bytes = await ask(opened, scripted("small", 1024))

    assert with_large_bytes - with_small_bytes > 0.9 * SIZE_BYTES


async def test_memory_of_a_model_is_back_though_its_error_is_kept() -> None:
    failing = scripted("large", SIZE_BYTES, fault=BackendUnavailableError("went away", backend="large"))
    async with slots() as opened:
        with pytest.raises(BackendUnavailableError) as kept:
            await ask(opened, failing)
        with_large_bytes = held_bytes()
        with_small_bytes = await ask(opened, scripted("small", 1024))

    assert with_large_bytes - with_small_bytes > 0.9 * SIZE_BYTES
    assert kept.value.backend == "large"


async def test_memory_of_the_last_model_is_back_when_the_slots_are_closed() -> None:
    async with slots() as opened:
        with_large_bytes = await ask(opened, scripted("large", SIZE_BYTES))

    assert with_large_bytes - held_bytes() > 0.9 * SIZE_BYTES


async def test_model_larger_than_this_machine_is_refused() -> None:
    async with slots() as opened:
        with pytest.raises(HostMemoryError) as caught:
            await ask(opened, scripted("huge", 2**60))

    assert 0 < caught.value.available_bytes < caught.value.needed_bytes
