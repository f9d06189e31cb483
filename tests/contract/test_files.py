from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.adapters.files.atomic_writer import AtomicFileWriter
from holdfast.adapters.memory.files import MemoryFiles
from holdfast.ports.files import FileWriter
from holdfast.testing import VirtualClock
from holdfast.testing.contracts.files import FileWriterContract


class TestMemoryFiles(FileWriterContract):
    @pytest.fixture(autouse=True)
    def _fresh(self) -> None:
        self.writer = MemoryFiles()

    def make_writer(self) -> FileWriter:
        return self.writer

    def files(self) -> dict[Path, bytes]:
        return self.writer.contents

    def folder(self) -> Path:
        return Path("memory")


@pytest.mark.real_time
class TestAtomicFileWriter(FileWriterContract):
    @pytest.fixture(autouse=True)
    def _fresh(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path

    def make_writer(self) -> FileWriter:
        return AtomicFileWriter(clock=VirtualClock(), notify=pytest.fail)

    def files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.tmp_path.rglob("*") if path.is_file()}

    def folder(self) -> Path:
        return self.tmp_path
