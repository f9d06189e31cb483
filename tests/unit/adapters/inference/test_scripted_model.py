from __future__ import annotations

import anyio
import pytest

from holdfast.adapters.inference.scripted import ScriptedBackend
from holdfast.adapters.inference.scripted_model import ScriptedModelLoader
from holdfast.ports.errors import BackendUnavailableError
from holdfast.ports.inference import Prompt
from holdfast.testing import VirtualClock

pytestmark = pytest.mark.anyio

PROMPT = Prompt(messages=())


def loader(*, delay_s: float = 0.0) -> ScriptedModelLoader:
    clock = VirtualClock()
    backend = ScriptedBackend.repeating("scripted", "yes", clock=clock)
    return ScriptedModelLoader("scripted", backend, size_bytes=1000, clock=clock, delay_s=delay_s)


async def test_load_takes_its_delay_and_answers_as_the_backend_does() -> None:
    began_s = anyio.current_time()
    backend = await loader(delay_s=5.0).load()

    assert anyio.current_time() - began_s == pytest.approx(5.0)
    assert (await backend.complete(PROMPT)).text == "yes"


async def test_load_with_a_fault_raises_a_copy_after_the_delay_and_counts_nothing() -> None:
    scripted = loader(delay_s=5.0)
    scripted.fault = BackendUnavailableError("no such file", backend="scripted")
    began_s = anyio.current_time()
    with pytest.raises(BackendUnavailableError, match="no such file") as caught:
        await scripted.load()

    assert caught.value is not scripted.fault
    assert anyio.current_time() - began_s == pytest.approx(5.0)
    assert scripted.loads == 0


async def test_load_after_the_fault_is_mended_succeeds() -> None:
    scripted = loader()
    scripted.fault = BackendUnavailableError("no such file", backend="scripted")
    with pytest.raises(BackendUnavailableError):
        await scripted.load()
    scripted.fault = None
    await scripted.unload(await scripted.load())

    assert (scripted.loads, scripted.unloads) == (1, 1)
