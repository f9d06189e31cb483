"""Files in this process's memory.

Responsibility: `FileWriter` without a disk, for tests.
Guarantees: those of the port, as long as the process lives.
Not responsible for: folders; every path exists as soon as it is written.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from pathlib import Path

from holdfast.ports.files import FileWriter

__all__ = ["MemoryFiles"]


class MemoryFiles:
    """Keeps each file's content under its path.

    Attributes:
        contents: what has been written; put a content there to have an old one.
    """

    def __init__(self) -> None:
        self.contents: dict[Path, bytes] = {}

    async def replace(self, path: Path, content: AsyncIterable[bytes]) -> None:
        """Give `path` this content."""
        self.contents[path] = b"".join([chunk async for chunk in content])


_: type[FileWriter] = MemoryFiles
