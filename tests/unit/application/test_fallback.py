"""Falling back from one backend to the next, at the edges that `test_orchestrator` does not reach."""

from __future__ import annotations

import pytest

from holdfast.adapters.inference import Answer, Fault, ScriptedBackend, in_turn
from holdfast.application.settings import Settings
from holdfast.ports.errors import BackendUnavailableError
from holdfast.testing import VirtualClock
from tests.fakes.service import ONCE, ask, opened

pytestmark = pytest.mark.anyio


async def test_submit_failure_with_no_time_left_asks_no_other_backend() -> None:
    late = Fault(error=BackendUnavailableError("too late", backend="0"), delay_s=4.9995)
    first = ScriptedBackend("0", in_turn(late), clock=VirtualClock())
    second = ScriptedBackend("1", in_turn(Answer(text="never asked")), clock=VirtualClock())

    async with opened({"0": first, "1": second}, Settings(guard=ONCE)) as service:
        with pytest.raises(BackendUnavailableError, match="too late"):
            await service.submit(ask(timeout_s=5.0))

    assert (first.calls, second.calls) == (1, 0)
