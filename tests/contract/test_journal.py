from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.adapters.memory.journal import MemoryJournal
from holdfast.adapters.sqlite.journal import SqliteJournal
from holdfast.ports.journal import BatchLedger
from holdfast.testing.contracts.journal import JournalContract


class TestMemoryJournal(JournalContract):
    @pytest.fixture(autouse=True)
    def _fresh(self) -> None:
        self.journal = MemoryJournal()

    def open_ledger(self) -> BatchLedger:
        return self.journal

    def open_backup(self, backup: str) -> BatchLedger:
        return self.journal.backup(backup)


@pytest.mark.real_time
class TestSqliteJournal(JournalContract):
    @pytest.fixture(autouse=True)
    def _fresh(self, tmp_path: Path) -> None:
        self.path = tmp_path / "new" / "journal.sqlite3"

    def open_ledger(self) -> BatchLedger:
        return SqliteJournal(self.path)

    def open_backup(self, backup: str) -> BatchLedger:
        return SqliteJournal(Path(backup))
