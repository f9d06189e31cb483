"""The contract of shared answers, held by SQLite."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from holdfast.adapters.sqlite.answers import SqliteAnswers
from holdfast.adapters.sqlite.shared_store import SqliteStore
from holdfast.ports.answer_store import AnswerStore
from holdfast.testing import ManualClock
from holdfast.testing.contracts.answer_store import AnswerStoreContract


@pytest.mark.real_time
class TestSqliteAnswers(AnswerStoreContract):
    @pytest.fixture(autouse=True)
    def _fresh(self, tmp_path: Path) -> None:
        self.path = tmp_path / "new" / "shared.sqlite3"

    def open_store(self, clock: ManualClock) -> AbstractAsyncContextManager[AnswerStore]:
        return self._open(clock)

    @asynccontextmanager
    async def _open(self, clock: ManualClock) -> AsyncGenerator[AnswerStore]:
        async with SqliteStore(self.path, clock=clock) as store:
            yield SqliteAnswers(store)
