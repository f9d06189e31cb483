from __future__ import annotations

import anyio
import pytest

from holdfast.domain.flight import Flight
from tests.fakes.deduplication import KEY

pytestmark = pytest.mark.anyio


async def test_wait_ended_of_a_flight_that_has_ended_is_a_checkpoint_all_the_same() -> None:
    flight = Flight[str](KEY)
    flight.succeed("answer")

    with anyio.CancelScope() as scope:
        scope.cancel()
        await flight.wait_ended()

    assert scope.cancelled_caught
    assert flight.result() == "answer"
