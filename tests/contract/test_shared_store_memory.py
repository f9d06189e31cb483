"""The contract of shared stores, held by the one in memory."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

import pytest

from holdfast.adapters.memory import MemoryStore
from holdfast.ports.shared_store import SharedStore
from holdfast.testing import ManualClock
from holdfast.testing.contracts import SharedStoreContract


class TestMemoryStore(SharedStoreContract):
    @pytest.fixture(autouse=True)
    def _make(self) -> None:
        self.store = MemoryStore(clock=ManualClock())

    def open_store(self) -> AbstractAsyncContextManager[SharedStore]:
        return nullcontext(self.store)

    async def lose_everything(self) -> None:
        self.store.lose()
