from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from holdfast.adapters.memory.answers import MemoryAnswers
from holdfast.ports.answer_store import AnswerStore
from holdfast.testing import ManualClock
from holdfast.testing.contracts.answer_store import AnswerStoreContract


class TestMemoryAnswers(AnswerStoreContract):
    histories = 500

    def open_store(self, clock: ManualClock) -> AbstractAsyncContextManager[AnswerStore]:
        return nullcontext(MemoryAnswers(clock=clock))
