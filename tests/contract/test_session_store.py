from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

import pytest

from holdfast.adapters.memory.sessions import MemorySessions
from holdfast.adapters.sqlite.sessions import SqliteSessions
from holdfast.ports.clock import Clock
from holdfast.ports.session import SessionStore
from holdfast.testing.contracts.session_store import SessionStoreContract


class TestMemorySessions(SessionStoreContract):
    def open_store(self, clock: Clock) -> AbstractAsyncContextManager[SessionStore]:
        return nullcontext(MemorySessions(clock=clock))


@pytest.mark.real_time
class TestSqliteSessions(SessionStoreContract):
    @pytest.fixture(autouse=True)
    def _fresh(self, tmp_path: Path) -> None:
        self.path = tmp_path / "new" / "sessions.sqlite3"

    def open_store(self, clock: Clock) -> AbstractAsyncContextManager[SessionStore]:
        return SqliteSessions(self.path, clock=clock)
