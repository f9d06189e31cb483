from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

import pytest

from holdfast.adapters.memory.answers import MemoryAnswers
from holdfast.ports.answer_store import AnswerClaim, AnswerStore
from holdfast.testing import ManualClock
from holdfast.testing.contracts.answer_store import AnswerStoreContract


class TestMemoryAnswers(AnswerStoreContract):
    histories = 500

    def open_store(self, clock: ManualClock) -> AbstractAsyncContextManager[AnswerStore]:
        return nullcontext(MemoryAnswers(clock=clock))


@pytest.mark.anyio
async def test_memory_of_what_has_ended_is_given_back() -> None:
    clock = ManualClock()
    answers = MemoryAnswers(clock=clock)
    for number in range(1000):
        await answers.claim(AnswerClaim(key=number.to_bytes(32), claimant="a", lease_s=1.0))
        clock.advance(0.1)

    assert len(answers) <= 64
