"""Files that somebody else may have put there.

Responsibility: open a regular file, and read a small one, so that no path can hang the process or fill its memory.
Guarantees: a FIFO, a device or a folder is refused and never waited for; what is checked is what is read; one byte more
    than allowed is read at most.
Not responsible for: what the content means, and who may write it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

__all__ = ["open_regular_file", "read_small_file"]


@contextmanager
def open_regular_file(path: Path, *, may_be_link: bool = True) -> Generator[FileIO]:
    """Open a file for reading, for the length of a ``with`` block.

    Raises:
        OSError: if it cannot be opened, is no regular file, or is a symbolic link where that may not be; `strerror`
            says so in words.
    """
    # O_NONBLOCK: opening a FIFO would otherwise wait for somebody to write to it.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if may_be_link else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP and not may_be_link:
            raise OSError(errno.ELOOP, "is a symbolic link; name the file itself") from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is no regular file")
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def read_small_file(file: FileIO, *, max_bytes: int) -> bytes:
    """Return all that is left in `file`.

    Raises:
        OSError: if it cannot be read, or holds more than `max_bytes`.
    """
    content = b""
    while chunk := file.read(max_bytes + 1 - len(content)):  # a read may stop short
        content += chunk
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"is longer than {max_bytes} bytes")
    return content
