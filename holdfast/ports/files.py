"""Writing a file so that nobody ever sees half of it.

Responsibility: the replacement of one file's whole content.
Guarantees: a reader finds the old content or the new, also after a crash.
Not responsible for: appending, and files that several writers share.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from pathlib import Path
from typing import Protocol

__all__ = ["FileWriter"]


class FileWriter(Protocol):
    """Replaces files.

    Atomicity: all of the content or nothing. Ordering: of two replacements of one file at once, either may come last.
    Idempotency: replacing again is safe. Cancellation: the old content or the new is there, and nothing else is left
    behind. Errors: `OSError`, and whatever the content raises.
    """

    async def replace(self, path: Path, content: AsyncIterable[bytes]) -> None:
        """Give `path` this content, durably; missing folders are made.

        Args:
            path: the file; a symbolic link is followed.
            content: its bytes in pieces. It is iterated again from its start when the write has to be repeated.
        """
        ...
