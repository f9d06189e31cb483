"""The contract of a store that processes share, held by SQLite."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from holdfast.adapters.sqlite.shared_store import SqliteStore
from holdfast.adapters.system.clock import SystemClock
from holdfast.ports.shared_store import SharedStore
from holdfast.testing.contracts.shared_store import SharedStoreContract


@pytest.mark.real_time
class TestSqliteStore(SharedStoreContract):
    @pytest.fixture(autouse=True)
    def _fresh(self, tmp_path: Path) -> None:
        self.path = tmp_path / "new" / "shared.sqlite3"

    def open_store(self) -> AbstractAsyncContextManager[SharedStore]:
        # Eight ask at once here, each of whom waits for all those before it.
        return SqliteStore(self.path, clock=SystemClock(), busy_timeout_s=10.0)

    async def lose_everything(self) -> None:
        for name in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + name).unlink(missing_ok=True)
