"""Settings that only requests show, and only where they differ from the defaults."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.adapters.inference.scripted import Hang, Pieces, ScriptedBackend, in_turn
from holdfast.application.container import Model
from holdfast.application.settings import Settings
from holdfast.ports.errors import StreamInterruptedError
from holdfast.ports.service import Disposition
from holdfast.testing import VirtualClock
from tests.fakes.model import FakeLoader
from tests.fakes.service import Answering, ask, opened

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("deduplication", "second"), [({}, Disposition.CACHED), ({"window_s": 0}, Disposition.CALLED)])
async def test_submit_again_within_the_window_that_is_set_calls_nothing(
    deduplication: dict[str, Any], second: Disposition
) -> None:
    async with opened({"a": Answering()}, Settings.model_validate({"deduplication": deduplication})) as service:
        await service.submit(ask())
        reply = await service.submit(ask())

    assert reply.disposition is second


@pytest.mark.parametrize("max_loaded", [1, 2])
async def test_submit_keeps_as_many_models_in_memory_as_are_set(max_loaded: int) -> None:
    settings = Settings.model_validate({"models": {"max_loaded": max_loaded}, "routing": {"strategy": "sticky"}})
    models = {name: Model(loader=FakeLoader(name), guard=settings.guard) for name in ("first", "second")}

    async with opened(models, settings) as service:
        asked = {(await service.submit(ask(tenant=f"tenant {number}"))).backend for number in range(8)}
        loaded = service.health().models.loaded

    assert asked == {"first", "second"}
    assert loaded == max_loaded


async def test_stream_that_pauses_for_longer_than_is_set_is_cut() -> None:
    clock = VirtualClock()
    settings = Settings.model_validate({"guard": {"stream_idle_timeout_s": 2}})
    backend = ScriptedBackend("a", in_turn(Pieces(pieces=("begun",), ending=Hang())), clock=clock)

    async with opened({"a": backend}, settings, clock=clock) as service:
        began_s = clock.monotonic_s()
        with pytest.raises(StreamInterruptedError):
            async with service.stream(ask()) as stream:
                await stream.reply()

        assert 2.0 <= clock.monotonic_s() - began_s <= 3.0
